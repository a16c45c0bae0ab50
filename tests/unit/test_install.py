"""install(): an unmodified program runs on holdfast's primitives, in its children too; and the package's names."""

import multiprocessing
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import holdfast

KINDS = ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event")

UNMODIFIED = """
    import multiprocessing, sys
    from multiprocessing import Barrier, Lock, Process, Queue, Value, get_context
    from concurrent.futures import ProcessPoolExecutor
    import multiprocessing.synchronize

    module_level = Lock()

    def kinds(*objects):
        assert isinstance(module_level, multiprocessing.synchronize.Lock)
        return [type(each).__module__.partition(".")[0] for each in (module_level, Lock(), *objects)]

    def work(queue, *objects):
        queue.put((kinds(*objects), multiprocessing.get_start_method()))

    def nested(queue, *objects):
        inner = Process(target=work, args=(queue, *objects))
        inner.start()
        inner.join()

    if __name__ == "__main__":
        method = sys.argv[1]
        multiprocessing.set_start_method(method, force=True)
        makers = [getattr(multiprocessing, kind) for kind in {kinds!r}]
        objects = [make() for make in makers] + [Barrier(2)]
        queue = Queue()
        for target in (work, nested):
            process = Process(target=target, args=(queue, *objects))
            process.start()
            found, where = queue.get()
            process.join()
            assert (set(found), where, process.exitcode) == ({{"holdfast"}}, method, 0), (found, where)
        with ProcessPoolExecutor(1) as executor:
            assert set(executor.submit(kinds, *objects).result()) == {{"holdfast"}}
        with multiprocessing.Pool(1) as pool:
            assert set(pool.apply(kinds, objects)) == {{"holdfast"}}
        with multiprocessing.Manager() as manager:
            assert set(kinds(*(getattr(manager, kind)() for kind in {kinds!r}))) == {{"holdfast"}}
        counter = Value("i", 0)
        with counter.get_lock():
            counter.value += 1
        print("all well")
"""


@pytest.fixture
def installed():
    holdfast.install()
    yield
    holdfast.uninstall()


def snapshot():
    """Everything that install() may touch."""
    import multiprocessing.managers
    import multiprocessing.shared_memory
    import multiprocessing.sharedctypes
    import multiprocessing.synchronize

    modules = (
        multiprocessing.synchronize,
        multiprocessing.sharedctypes,
        multiprocessing.shared_memory,
        multiprocessing.managers,
        multiprocessing.context,
        multiprocessing.process,
    )
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            found[module.__name__, name] = value
            if isinstance(value, type) and value.__module__ == module.__name__:
                found.update({(module.__name__, name, key): inner for key, inner in vars(value).items()})
    return {key: value for key, value in found.items() if not key[-1].startswith("__") or key[-1] == "__init__"}


@pytest.mark.watchdog(120)
def test_unmodified_program_runs_on_holdfast(start_method, tmp_path):
    path = tmp_path / "unmodified.py"
    path.write_text(textwrap.dedent(UNMODIFIED.format(kinds=KINDS)))
    command = [sys.executable, "-m", "holdfast", "run", str(path), start_method]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "all well\n", "")


def test_install_after_names_were_imported_still_counts(start_method, tmp_path):
    path = tmp_path / "late.py"
    text = """
        import sys
        from multiprocessing import Lock, get_context

        def kind(lock):
            sys.exit(0 if type(lock).__module__.startswith("holdfast") else 1)

        if __name__ == "__main__":
            import holdfast
            holdfast.install()
            process = get_context(sys.argv[1]).Process(target=kind, args=(Lock(),))
            process.start()
            process.join()
            sys.exit(process.exitcode)
    """
    path.write_text(textwrap.dedent(text))
    assert subprocess.run([sys.executable, str(path), start_method], check=False).returncode == 0


def test_children_find_holdfast_where_only_the_path_of_this_process_knows_it(start_method, tmp_path):
    root = str(Path(holdfast.__file__).parents[1])
    path = tmp_path / "hidden.py"
    text = f"""
        import sys
        if __name__ == "__main__":
            sys.path.append({root!r})
            import holdfast
            process = holdfast.get_context(sys.argv[1]).Process(target=len, args=("abc",))
            process.start()
            assert process.result(60) == 3
    """
    path.write_text(textwrap.dedent(text))
    ended = subprocess.run([sys.executable, str(path), start_method], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_install_twice_and_uninstall_restores_everything():
    before = snapshot()
    holdfast.install()
    holdfast.install()
    assert snapshot() != before
    holdfast.uninstall()
    holdfast.uninstall()
    assert snapshot() == before


def test_importing_holdfast_replaces_nothing():
    program = """
        import multiprocessing.synchronize, multiprocessing.context, multiprocessing.process
        modules = multiprocessing.synchronize, multiprocessing.context, multiprocessing.process
        before = [dict(vars(module)) for module in modules]
        popen = vars(multiprocessing.context.ForkProcess)["_Popen"]
        import holdfast
        for name in holdfast.__all__:
            getattr(holdfast, name)
        assert [dict(vars(module)) for module in modules] == before
        assert vars(multiprocessing.context.ForkProcess)["_Popen"] is popen
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


@pytest.mark.usefixtures("installed")
def test_installed_primitives_are_instances_of_the_modules_classes():
    import multiprocessing.synchronize

    for kind in KINDS:
        assert isinstance(getattr(multiprocessing, kind)(), getattr(multiprocessing.synchronize, kind))


def test_every_public_name_of_multiprocessing_is_there():
    missing = [name for name in multiprocessing.__all__ if not hasattr(holdfast, name)]
    assert missing == []
    assert set(multiprocessing.__all__) <= set(holdfast.__all__)
    assert {"RWLock", "all_of", "install", "uninstall", "cpu_count", "WorkerDied"} <= set(holdfast.__all__)


def test_star_import_and_dir_work():
    names = {}
    exec("from holdfast import *", names)
    assert names["Process"] is holdfast.Process
    assert "Lock" in dir(holdfast)
    with pytest.raises(AttributeError, match="frobnicate"):
        _ = holdfast.frobnicate


@pytest.mark.parametrize(
    "name",
    [
        "connection",
        "context",
        "dummy",
        "forkserver",
        "heap",
        "managers",
        "pool",
        "popen_fork",
        "process",
        "queues",
        "reduction",
        "resource_tracker",
        "shared_memory",
        "sharedctypes",
        "spawn",
        "synchronize",
        "util",
    ],
)
def test_every_module_of_multiprocessing_is_reachable_both_ways(name):
    from importlib import import_module

    theirs, ours = import_module(f"multiprocessing.{name}"), import_module(f"holdfast.{name}")
    assert getattr(holdfast, name) is ours
    missing = [public for public in theirs.__all__ if not hasattr(ours, public)]
    assert missing == []


def test_install_is_a_function_and_a_module():
    program = (
        "import holdfast.install; holdfast.install(); assert holdfast.install.is_installed(); holdfast.uninstall()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_import_loads_multiprocessing_and_nothing_else():
    def loaded(names):
        program = f"import sys, {names}; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    assert loaded("holdfast") - loaded("multiprocessing, importlib") == {"holdfast"}


NAMED = """
import sys, holdfast
{named}

def report():
    print(*(name for name in {behind} if name in sys.modules), flush=True)

if __name__ == "__main__":
    report()
    child = holdfast.get_context("spawn").Process(target=report)
    child.start()
    child.join()
"""


def _loaded(path, named, behind):
    """Which modules of some a program has, and a child of it."""
    path.write_text(NAMED.format(named=named, behind=behind))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("Pool", "holdfast.crew.crew holdfast.pool"),
        ("ProcessExecutor", "holdfast.crew.crew holdfast.executor_crew"),
        ("map", "holdfast.crew.crew holdfast.parallel.warm_pools"),
        ("Lock", ""),
    ],
)
def test_name_loads_what_is_behind_it_but_not_in_children(name, behind, tmp_path):
    modules = ("holdfast.crew.crew", "holdfast.executor_crew", "holdfast.parallel.warm_pools", "holdfast.pool")
    assert _loaded(tmp_path / "program.py", f"from holdfast import {name}", modules) == f"{behind}\n\n"


@pytest.mark.parametrize(
    "named",
    [
        "holdfast.get_context('forkserver')",
        "if __name__ == '__main__': holdfast.set_start_method('forkserver')",
    ],
)
def test_start_method_that_is_named_is_loaded_but_not_in_children(named, tmp_path):
    module = "holdfast.popen_served"
    assert _loaded(tmp_path / "program.py", named, (module,)) == f"{module}\n\n"


INSTANCES = """
import multiprocessing as mp, holdfast
from multiprocessing.queues import JoinableQueue, Queue, SimpleQueue
before = Queue
holdfast.install()
assert isinstance(mp.Queue(), Queue) and isinstance(mp.JoinableQueue(), JoinableQueue)
assert isinstance(mp.JoinableQueue(), Queue) and isinstance(mp.SimpleQueue(), SimpleQueue)
assert not isinstance(mp.SimpleQueue(), Queue) and not isinstance(mp.Queue(), JoinableQueue)
class Own(Queue):
    pass
assert not isinstance(mp.Queue(), Own) and isinstance(Own(ctx=mp.get_context()), Queue)
queue = mp.Queue()
assert isinstance(queue, holdfast.queues.Queue) and type(queue) is holdfast.queues.Queue
holdfast.uninstall()
assert not isinstance(queue, Queue) and isinstance(mp.Queue(), Queue)
print("well")
"""


def test_install_queues_are_instances_of_the_standard_librarys_classes():
    done = subprocess.run([sys.executable, "-c", INSTANCES], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr
