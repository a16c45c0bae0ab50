"""The command line: how programs are run, and what is said about bad commands."""

import json
import signal
import subprocess
import sys
import zipfile

import pytest


def holdfast(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *words], text=True, capture_output=True, check=False, **options
    )


def python(*words, **options):
    return subprocess.run([sys.executable, *words], text=True, capture_output=True, check=False, **options)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "helper.py").write_text("word = 'found'\n")
    (tmp_path / "shows.py").write_text(
        "import sys, helper\n"
        "main = sys.modules['__main__']\n"
        "print(__name__, __file__, __spec__ and __spec__.name, __package__, sys.argv, sys.path[0], helper.word)\n"
        "own = ('main', 'sys', 'helper', 'own')\n"
        "print(main.__dict__ is globals(), sorted(set(globals()) - set(own)))\n"
        "print(type(__loader__).__name__, __cached__, __doc__, __builtins__.__name__)\n"
    )
    return tmp_path


@pytest.mark.parametrize("arguments", [[], ["a", "-m", "--help", "b c"]])
def test_run_of_a_file_sees_what_python_shows(folder, arguments):
    ours, theirs = (
        run("shows.py", *arguments, cwd=folder) for run in (lambda *w, **o: holdfast("run", *w, **o), python)
    )
    assert ours.stdout == theirs.stdout
    assert (ours.returncode, ours.stderr) == (0, "")


def test_run_of_a_file_elsewhere_finds_its_neighbours(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    path = str(folder / "shows.py")
    assert holdfast("run", path, cwd=elsewhere).stdout == python(path, cwd=elsewhere).stdout


def test_run_of_a_module_sees_what_python_shows(folder):
    ours, theirs = holdfast("run", "-m", "shows", "x", cwd=folder), python("-m", "shows", "x", cwd=folder)
    assert ours.stdout == theirs.stdout
    assert ours.returncode == 0


def test_run_of_a_folder_and_of_a_zip_file(folder):
    inner = folder / "app"
    inner.mkdir()
    (inner / "__main__.py").write_text("import sys; print(__name__, __file__, sys.argv, sys.path[0], __package__)\n")
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        archive.write(inner / "__main__.py", "__main__.py")
    for name in ("app", "app.zip"):
        assert holdfast("run", name, "x", cwd=folder).stdout == python(name, "x", cwd=folder).stdout


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    raise KeyError('boom')\nf()\n",
        "def f(:\n",
        "import sys\nsys.exit('a message')\n",
        "import sys\nsys.exit(7)\n",
        "raise SystemExit\n",
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('other') from error\n",
        "import sys\nsys.excepthook = lambda kind, error, tb: print('hook', kind, tb.tb_lineno)\n1 / 0\n",
        "import atexit\natexit.register(print, 'bye')\n1 / 0\n",
        "raise KeyboardInterrupt\n",
    ],
)
def test_run_ends_as_python_would(folder, text):
    (folder / "ends.py").write_text(text)
    ours, theirs = holdfast("run", "ends.py", cwd=folder), python("ends.py", cwd=folder)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    assert ours.stderr == theirs.stderr


def test_run_interrupted_by_ctrl_c_ends_by_that_signal(folder):
    (folder / "waits.py").write_text("import signal\nprint('ready', flush=True)\nsignal.pause()\n")
    command = [sys.executable, "-m", "holdfast", "run", "waits.py"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "holdfast" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "missing.py"], "'missing.py'"),
        (["run", "-m", "missing.module"], "'missing.module'"),
        (["run", "-m"], "name of a module"),
        (["run", "--fast", "x.py"], "'--fast'"),
        (["frobnicate"], "'frobnicate'"),
    ],
)
def test_bad_command_is_explained_with_exit_code_2(words, message, tmp_path):
    ended = holdfast(*words, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("holdfast: [HF508] ")
    assert message in ended.stderr
    assert ended.stdout == ""


def test_no_command_shows_the_usage_with_exit_code_2():
    ended = holdfast()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage:")


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["run", "-h"], ["explain", "-h"]])
def test_help_fits_a_screen(words):
    ended = holdfast(*words)
    assert ended.returncode == 0
    assert ended.stdout.startswith("usage:")
    assert len(ended.stdout.splitlines()) <= 24
    assert max(map(len, ended.stdout.splitlines())) <= 80


def test_version_is_that_of_the_package():
    from importlib.metadata import version

    assert holdfast("--version").stdout == f"holdfast {version('holdfast')}\n"


def test_help_imports_nothing_heavy():
    program = "import sys; from holdfast.cli import main; main(['-h']); print('holdfast.context' in sys.modules)"
    assert python("-c", program).stdout.splitlines()[-1] == "False"


def test_explain_prints_the_page_of_a_code():
    from holdfast.errors import explain

    assert holdfast("explain", "hf101").stdout.strip() == explain("HF101").strip()
    assert json.loads(holdfast("explain", "HF101", "--json").stdout) == {"code": "HF101", "page": explain("HF101")}


@pytest.mark.parametrize("words", [[], ["HF999"], ["HF101", "HF102"]])
def test_explain_without_one_known_code_is_misuse(words):
    ended = holdfast("explain", *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("holdfast: [HF508] ")


@pytest.mark.parametrize(("what", "names"), [("locks", "holdfast.Lock"), ("queues", "holdfast.Queue")])
def test_bench_one_round_has_ours_and_the_standard_ones(what, names):
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "bench", what, "--rounds", "1", "--json"], capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    assert {names, names.replace("holdfast", "multiprocessing")} <= {row["name"] for row in found["rows"]}
    assert all(row["figure"] > 0 for row in found["rows"])
    assert done.stderr == b""


@pytest.mark.parametrize("words", [[], ["threads"], ["locks", "--rounds"], ["locks", "--rounds", "0"]])
def test_bench_not_understood_is_misuse(words):
    done = subprocess.run([sys.executable, "-m", "holdfast", "bench", *words], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"[HF508]" in done.stderr
