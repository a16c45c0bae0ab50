"""Processes: results, ends, orphans, and the warning about threads."""

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import pytest

import holdfast
from holdfast import errors, forks, outcome

PARENT_ENDS = 2.0  # seconds in which nothing of a killed parent may be left: the promise


class NeedsTwo(Exception):
    """Pickles, but cannot be rebuilt."""

    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


def double(number):
    return number * 2


def nothing():
    pass


def fail():
    message = "no such customer"
    raise LookupError(message)


def fail_unrebuildable():
    raise NeedsTwo("first", "second")  # noqa: EM101 - two arguments are the point


def return_lambda():
    return lambda: None


def return_much(size):
    return b"x" * size


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code):
    sys.exit(code)


def wait_for_end():
    signal.pause()


def fork_inside_run():
    if os.fork() == 0:
        return "other process"
    os.wait()
    return "process"


def start_inner_with_self(process):
    inner = type(process)(target=double, args=(4,))
    inner.start()
    return inner.result(30)


class Subclass(holdfast.Process):
    def run(self):
        return f"run of {self.name}"


def started(context, target, *args, **options):
    process = context.Process(target=target, args=args, **options)
    process.start()
    return process


def test_result_of_a_value_is_the_value(context):
    assert started(context, double, 21).result(30) == 42


def test_result_asked_twice_is_the_same(context):
    process = started(context, return_much, 10)
    assert process.result(30) is process.result(30)


def test_result_of_nothing_is_none(context):
    process = started(context, nothing)
    assert process.result(30) is None
    assert process.exitcode == 0


def test_result_larger_than_any_pipe_does_not_block_the_child(context):
    process = started(context, return_much, 8 << 20)
    process.join(30)
    assert process.exitcode == 0
    assert len(process.result()) == 8 << 20


def test_result_of_an_exception_raises_it_with_the_remote_traceback(context):
    process = started(context, fail)
    with pytest.raises(LookupError, match="no such customer") as caught:
        process.result(30)
    assert isinstance(caught.value.__cause__, outcome.RemoteTraceback)
    assert "in fail" in str(caught.value.__cause__)
    assert "boarding" not in str(caught.value.__cause__)
    assert process.exitcode == 1


@pytest.mark.parametrize("method", ["fork", "spawn"])  # the forkserver has the stderr of the test that started it
def test_exception_in_a_process_is_printed_as_the_standard_library_does(method, capfd):
    process = started(holdfast.get_context(method), fail)
    process.join(30)
    printed = capfd.readouterr().err
    assert printed.startswith(f"Process {process.name}:\nTraceback (most recent call last):\n")
    assert "boarding.py" not in printed
    assert "LookupError: no such customer" in printed


def test_result_of_an_exception_that_cannot_be_rebuilt_names_type_and_text(context):
    with pytest.raises(errors.ResultLost, match=r"\[HF303\].*NeedsTwo: first") as caught:
        started(context, fail_unrebuildable).result(30)
    assert "in fail_unrebuildable" in str(caught.value)


def test_result_that_cannot_be_pickled_is_lost_with_its_type(context):
    process = started(context, return_lambda)
    with pytest.raises(errors.ResultLost, match=r"\[HF303\].*function"):
        process.result(30)
    assert process.exitcode == 0


def test_result_of_a_killed_process_names_the_signal(context):
    process = started(context, kill_myself)
    with pytest.raises(errors.WorkerDied, match=r"\[HF301\].*SIGKILL") as caught:
        process.result(30)
    assert (caught.value.pid, caught.value.exitcode) == (process.pid, -signal.SIGKILL)


@pytest.mark.parametrize("code", [0, 3])
def test_result_of_a_process_that_exits_is_none_or_its_code(context, code):
    process = started(context, leave, code)
    if code == 0:
        assert process.result(30) is None
    else:
        with pytest.raises(errors.WorkerDied, match="exit code 3"):
            process.result(30)


def test_result_of_a_running_process_times_out(context):
    process = started(context, wait_for_end)
    with pytest.raises(errors.ResultTimeout, match=r"\[HF302\]"):
        process.result(0.05)
    process.kill()
    with pytest.raises(errors.WorkerDied):
        process.result(30)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_result_with_a_bad_timeout_is_refused(timeout):
    with pytest.raises(errors.BadTimeout):
        holdfast.Process(target=nothing).result(timeout)


def test_result_before_start_is_an_assertion_error():
    with pytest.raises(AssertionError):
        holdfast.Process(target=nothing).result()


def test_result_after_close_is_a_value_error(context):
    process = started(context, nothing)
    process.join(30)
    process.close()
    with pytest.raises(ValueError, match="closed"):
        process.result()


def test_result_of_an_overridden_run_is_what_it_returns():
    process = Subclass(name="Clara")
    process.start()
    assert process.result(30) == "run of Clara"


def test_result_when_run_forks_is_that_of_the_process():
    assert started(holdfast.get_context("fork"), fork_inside_run).result(30) == "process"


def test_process_object_is_picklable_from_within_run():
    context = holdfast.get_context("spawn")
    process = context.Process(target=start_inner_with_self, args=(SelfSender(),))
    process.start()
    assert process.result(60) == 8


class SelfSender(holdfast.get_context("spawn").Process):
    """A process object that is passed to another process."""


def test_process_keeps_the_standard_contract(context):
    process = context.Process(target=wait_for_end, name="Anna", daemon=True)
    assert isinstance(process, multiprocessing.process.BaseProcess)
    assert (process.exitcode, process.pid, process.is_alive()) == (None, None, False)
    process.start()
    assert process in holdfast.active_children()
    assert process in multiprocessing.active_children()
    assert process.is_alive()
    assert multiprocessing.connection.wait([process.sentinel], 0) == []
    process.terminate()
    process.join(30)
    assert process.exitcode == -signal.SIGTERM
    assert "Anna" in repr(process)
    assert "stopped" in repr(process)


def test_many_processes_leave_no_descriptor(context):
    started(context, nothing).result(30)
    before = len(names("/proc/self/fd"))
    for _ in range(5):
        started(context, double, 1).result(30)
        started(context, nothing, daemon=True).join(30)
    assert len(names("/proc/self/fd")) <= before + 1


def test_start_method_is_one_fact_of_both_libraries():
    program = """
        import holdfast, multiprocessing
        holdfast.set_start_method("spawn")
        assert multiprocessing.get_start_method() == "spawn"
        multiprocessing.set_start_method("fork", force=True)
        assert holdfast.get_start_method() == "fork"
        assert type(holdfast.get_context()).__module__ == "holdfast.context"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


# The parent is killed. Every process writes a file named by its pid, then computes in C with the GIL held.


def busy(folder, inner=""):
    Path(folder, str(os.getpid())).touch()
    if inner:
        holdfast.get_context(inner).Process(target=busy, args=(folder,), daemon=True).start()
    while True:
        sum(range(10**10))


def linger(folder):
    Path(folder, f"lives-{os.getpid()}").touch()
    signal.pause()


def parent_of_many(method, folder):
    context = holdfast.get_context(method)
    context.Process(target=busy, args=(folder,), daemon=True).start()
    context.Process(target=linger, args=(folder,)).start()
    executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
    executor.submit(busy, folder, method)
    context.Pool(1).apply_async(busy, (folder,))
    signal.pause()


def names(folder):
    return [entry.name for entry in Path(folder).iterdir()]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_parent_killed_daemons_workers_and_grandchildren_end(start_method, tmp_path):
    program = f"import test_process; test_process.parent_of_many({start_method!r}, {str(tmp_path)!r})"
    command = f"import sys; sys.path[:0] = {sys.path!r}\nif __name__ == '__main__': {program}"
    parent = subprocess.Popen([sys.executable, "-c", command], stderr=subprocess.DEVNULL)
    while len(names(tmp_path)) < 5:
        assert parent.poll() is None
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    killed = time.monotonic()
    pids = [int(name) for name in names(tmp_path) if name.isdigit()]
    lives = [int(name.removeprefix("lives-")) for name in names(tmp_path) if not name.isdigit()]
    while any(map(is_running, pids)) and time.monotonic() - killed < PARENT_ENDS:
        time.sleep(0.005)
    still = [pid for pid in pids if is_running(pid)]
    assert [pid for pid in lives if is_running(pid)] == lives, "a process that is no daemon lives on, as documented"
    for pid in still + lives:
        os.kill(pid, signal.SIGKILL)
    assert (len(pids), still) == (4, [])


# Forking beside threads


@pytest.fixture
def thread():
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="heartbeat")
    thread.start()
    yield thread
    end.set()
    thread.join()


@pytest.mark.usefixtures("thread")
def test_fork_beside_a_thread_warns_and_names_it_once(monkeypatch):
    monkeypatch.setattr(forks, "_told", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            assert started(holdfast.get_context("fork"), double, 1).result(30) == 2
    told = [w for w in caught if issubclass(w.category, errors.ForkWithThreadsWarning)]
    assert len(told) == 1
    assert "heartbeat" in str(told[0].message)
    assert told[0].filename == __file__


@pytest.mark.usefixtures("thread")
def test_fork_beside_a_thread_with_warnings_as_errors_is_still_a_fork(monkeypatch, capsys):
    monkeypatch.setattr(forks, "_told", set())
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.ForkWithThreadsWarning)
        assert started(holdfast.get_context("fork"), double, 1).result(30) == 2
    assert "heartbeat" in capsys.readouterr().err


def test_fork_beside_the_librarys_own_threads_is_silent(monkeypatch):
    monkeypatch.setattr(forks, "_told", set())
    context = holdfast.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.ForkWithThreadsWarning)
        with context.Pool(2, maxtasksperchild=1) as pool:
            queue = context.Queue()
            queue.put(1)
            assert pool.map(double, range(6), chunksize=1) == [0, 2, 4, 6, 8, 10]
            assert forks.others() == []
            assert started(context, double, 1).result(30) == 2
            assert queue.get() == 1


def test_fork_refused_by_the_system_says_so():
    program = """
        import os, resource, sys
        import holdfast
        from unittest import mock
        arena = holdfast.Lock()  # the program's own descriptor
        before = len(os.listdir("/proc/self/fd"))
        with mock.patch("os.fork", side_effect=BlockingIOError(11, "Resource temporarily unavailable")):
            try:
                holdfast.get_context("fork").Process(target=print).start()
            except OSError as error:
                assert isinstance(error, holdfast.TooManyProcesses), error
                assert "[HF505]" in str(error) and error.errno == 11
        assert len(os.listdir("/proc/self/fd")) <= before, "descriptors are left"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


SERVER_OF_A_POOL = """
import holdfast, os, sys
with holdfast.get_context("forkserver").Pool(1) as pool:
    server = pool.apply(os.getppid)
sys.stdout.write(open(f"/proc/{server}/cmdline").read())
"""


def test_forkserver_started_for_a_pool_loads_what_workers_need():
    done = subprocess.run([sys.executable, "-c", SERVER_OF_A_POOL], capture_output=True, text=True, check=False)
    assert "holdfast.crew.worker" in done.stdout, done.stderr
