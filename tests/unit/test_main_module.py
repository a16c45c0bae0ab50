"""The main module in children that do not share memory: as the standard library imports it, and with less."""

import py_compile
import runpy
import subprocess
import sys
import zipfile

import pytest

from holdfast.main_module import Runner

FILE = '''"""What the module says of itself."""
import sys

class Point:
    x: int = 3

argv = sys.argv[0]
as_module = sys.modules[__name__].__dict__ is globals()
notes = Point.__annotations__
where = (__name__, __file__, __package__, __spec__, __loader__, __doc__)
'''

PROGRAM = """
import sys
if {loads_typing}:
    import typing

def report(word):
    names = [name for name in ("pkgutil", "typing") if name in sys.modules]
    print(word, __name__, __file__ == sys.modules["__main__"].__file__, *names, flush=True)

if __name__ == "__main__":
    import holdfast
    for method in ("spawn", "forkserver"):
        process = holdfast.get_context(method).Process(target=report, args=(method,))
        process.start()
        process.join()
        assert process.exitcode == 0
"""

TASK = """
import sys, holdfast
{early}

def work(x):
    return x

if __name__ == "__main__":
    def late(x):
        return x
    with holdfast.get_context(sys.argv[1]).Pool(1) as pool:
        {use}
"""

FAILING = """
import sys, holdfast
if __name__ == "__mp_main__":
    raise LookupError("in the child")
if __name__ == "__main__":
    process = holdfast.get_context("spawn").Process(target=print)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


HELPER = """
import holdfast

def help():
    print("helped", flush=True)

def main():
    process = holdfast.get_context("spawn").Process(target=help)
    process.start()
    process.join()
"""


def _plain(names):
    """What can be compared of a module's names: classes are others each time it is run."""
    return {key: value for key, value in names.items() if key not in ("Point", "sys", "__builtins__")}


def _both(path):
    before = sys.argv[0], set(sys.modules)
    ours = Runner.run_path(str(path), run_name="__mp_main__")
    assert (sys.argv[0], set(sys.modules)) == before  # nothing is left of it
    return _plain(ours), _plain(runpy.run_path(str(path), run_name="__mp_main__"))


def _run(*command, **options):
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, timeout=60, **options
    )


def test_run_path_file_is_as_in_runpy(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(FILE)
    ours, theirs = _both(path)
    assert ours == theirs
    assert ours["argv"] == str(path)
    assert ours["as_module"]
    assert ours["notes"] == {"x": int}  # not a text: no future statement of ours is passed on


def test_run_path_encoding_is_the_files_own(tmp_path):
    path = tmp_path / "latin.py"
    path.write_bytes("# coding: latin-1\nword = 'Grüße'\n".encode("latin-1"))
    ours, theirs = _both(path)
    assert ours == theirs
    assert ours["word"] == "Grüße"


@pytest.mark.parametrize("kind", ["compiled", "archive", "directory"])
def test_run_path_other_than_source_is_left_to_runpy(kind, tmp_path):
    source = tmp_path / "__main__.py"
    source.write_text(FILE)
    path = tmp_path
    if kind == "compiled":
        path = tmp_path / "program.bin"
        py_compile.compile(str(source), cfile=str(path), doraise=True)
    elif kind == "archive":
        path = tmp_path / "program.pyz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(source, "__main__.py")
    ours, theirs = _both(path)
    for names in (ours, theirs):
        del names["where"]  # a loader is in it, another one each time
        del names["__loader__"], names["__spec__"]
    assert ours == theirs
    assert ours["argv"] == str(path)


def test_run_path_without_the_private_part_of_runpy_goes_its_way(monkeypatch):
    monkeypatch.delattr(runpy, "_run_module_code")
    asked = []
    monkeypatch.setattr(runpy, "run_path", lambda *arguments: asked.append(arguments) or {})
    assert Runner.run_path("program.py", run_name="__mp_main__") == {}
    assert asked == [("program.py", None, "__mp_main__")]


def test_run_path_errors_name_the_file(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def f(:\n")
    with pytest.raises(SyntaxError) as raised:
        Runner.run_path(str(path), run_name="__mp_main__")
    assert (raised.value.filename, raised.value.lineno) == (str(path), 1)
    with pytest.raises(FileNotFoundError):
        Runner.run_path(str(tmp_path / "missing.py"), run_name="__mp_main__")


@pytest.mark.parametrize("loads_typing", [False, True])
def test_children_load_nothing_for_a_plain_program(loads_typing, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(loads_typing=loads_typing))
    done = _run(path)
    names = " typing" if loads_typing else ""
    assert done.stdout == f"spawn __mp_main__ True{names}\nforkserver __mp_main__ True{names}\n", done.stderr


@pytest.mark.parametrize("relative", [False, True])
def test_children_find_the_program_from_elsewhere(relative, tmp_path):
    path = tmp_path / "program.py"
    path.write_text("import os; os.chdir('/')\n" + PROGRAM.format(loads_typing=False))
    done = _run(path.name if relative else path, cwd=tmp_path)
    assert done.stdout == "spawn __mp_main__ True\nforkserver __mp_main__ True\n", done.stderr


def test_children_of_a_module(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "program.py").write_text(PROGRAM.format(loads_typing=False))
    done = _run("-m", "package.program", cwd=tmp_path)
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["spawn", "__mp_main__", "True"],
        ["forkserver", "__mp_main__", "True"],
    ], done.stderr


def test_children_of_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "program.pyz", "w") as archive:
        archive.writestr("__main__.py", "print('run')\nimport helper\nif __name__ == '__main__':\n    helper.main()\n")
        archive.writestr("helper.py", HELPER)
    done = _run(tmp_path / "program.pyz")
    assert done.stdout == "run\nhelped\n", done.stderr


def test_children_failing_program_shows_where(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(FAILING)
    done = _run(path)
    assert f'File "{path}", line 4, in <module>' in done.stderr
    assert "LookupError: in the child" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("kind", ["package", "guarded"])
def test_task_that_is_not_in_the_childs_main_module_says_why(kind, method, tmp_path):
    use = "pool.map(work, [1])" if kind == "package" else "pool.apply(late, (1,))"
    path = tmp_path / "package" / "__main__.py"
    path.parent.mkdir()
    path.write_text(TASK.format(early="", use=use))
    start = ("-m", "package") if kind == "package" else (path,)
    done = _run(*start, method, cwd=tmp_path)
    assert "AttributeError: Can't get attribute" in done.stderr
    assert "Put what tasks use into a module of its own." in done.stderr


def test_task_that_was_defined_after_the_fork_says_why(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(TASK.format(early="", use="global newer\n        def newer(x): pass\n        pool.map(newer, [1])"))
    done = _run(path, "fork")
    assert "AttributeError: Can't get attribute" in done.stderr
    assert "have the program as it was then" in done.stderr


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_whose_main_module_fails_are_no_riddle(method, tmp_path):
    path = tmp_path / "program.py"
    early = "if __name__ != '__main__': raise ValueError('not here')"
    path.write_text(TASK.format(early=early, use="pool.map(work, [1])"))
    done = _run(path, method)
    assert "exit code 1; what they print says why, most often the program's main module failed in them" in done.stderr
    assert "ValueError: not here" in done.stderr
