"""PAINS rows 14 and 15: what becomes of a process is told; a fork beside threads does not hang, nor pass in silence."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from support import METHODS, run_code

import holdfast
from holdfast import errors

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

pytestmark = pytest.mark.filterwarnings("ignore::holdfast.errors.ForkWithThreadsWarning")


def add(left: int, right: int) -> int:
    """Give a value back."""
    return left + right


def fail(text: str) -> None:
    """Raise in the child."""
    raise LookupError(text)


def die(how: int) -> None:
    """Be killed by a signal."""
    faulthandler.disable()  # a wanted SIGSEGV needs no page of stacks
    os.kill(os.getpid(), how)


def leave(code: int) -> None:
    """End without a word."""
    os._exit(code)


def unpicklable() -> object:
    """Return what cannot be sent."""
    return lambda: None


def stay(conn: Connection) -> None:
    """Live until the pipe closes."""
    conn.poll(None)


def started(method: str, target: object, *arguments: object) -> holdfast.Process:
    """Start a process with a start method."""
    process: holdfast.Process = holdfast.get_context(method).Process(target=target, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize("method", METHODS)
def test_result_of_a_function_that_returned_is_its_value(method: str) -> None:
    """Row 14."""
    assert started(method, add, 2, 3).result(60) == 5


@pytest.mark.parametrize("method", METHODS)
def test_result_of_a_function_that_raised_is_its_exception_with_remote_traceback(method: str) -> None:
    """The exception keeps its type; the remote traceback names the function that raised."""
    process = started(method, fail, "no such key")
    with pytest.raises(LookupError, match="no such key") as caught:
        process.result(60)
    causes = [caught.value.__cause__, *getattr(caught.value, "__notes__", ())]
    assert any("in fail" in str(cause) for cause in causes)
    assert process.exitcode == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_result_of_a_killed_process_names_pid_and_signal(method: str, number: signal.Signals) -> None:
    """Death shows as "killed by SIGKILL"."""
    process = started(method, die, int(number))
    with pytest.raises(errors.WorkerDied, match=number.name) as caught:
        process.result(60)
    assert str(process.pid) in str(caught.value)
    assert caught.value.pid == process.pid
    assert caught.value.exitcode == -number


def test_result_of_a_process_that_left_names_the_exit_code() -> None:
    """``os._exit`` in the child is told as such."""
    with pytest.raises(errors.WorkerDied, match="7"):
        started("fork", leave, 7).result(60)


def test_result_that_cannot_be_pickled_is_reported_as_lost() -> None:
    """The caller is not left waiting."""
    with pytest.raises(errors.ResultLost):
        started("fork", unpicklable).result(60)


def test_result_of_a_running_process_with_timeout_raises_result_timeout() -> None:
    """The process goes on; its result can be asked for again."""
    here, there = holdfast.Pipe()
    process = started("fork", stay, there)
    there.close()
    with pytest.raises(errors.ResultTimeout):
        process.result(0.01)
    here.close()
    process.kill()
    process.join()


def acquire_and_tell(lock: Any, conn: Connection) -> None:
    """Acquire in the forked child."""
    conn.send("asking")
    conn.send(lock.acquire(timeout=60))
    lock.release()


def test_fork_while_a_thread_holds_a_lock_child_gets_it_after_the_release() -> None:
    """Row 15: the lock is shared, so the thread's release in the parent opens it for the child."""
    lock = holdfast.Lock()
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            let_go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    here, there = holdfast.Pipe()
    process = started("fork", acquire_and_tell, lock, there)
    assert here.recv() == "asking"
    let_go.set()
    assert here.poll(60)
    assert here.recv() is True
    process.join()
    thread.join()


@pytest.mark.filterwarnings("default")
def test_fork_beside_threads_warns_and_names_them() -> None:
    """Row 15: visible, and with the names."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait, args=(60,), name="the-cache-refresher")
    thread.start()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        process = started("fork", add, 1, 1)
    process.join()
    done.set()
    thread.join()
    texts = [str(warning.message) for warning in seen if issubclass(warning.category, errors.ForkWithThreadsWarning)]
    assert len(texts) == 1
    assert "the-cache-refresher" in texts[0]


def test_fork_without_threads_does_not_warn() -> None:
    """No false alarm, in a fresh interpreter."""
    code = "import holdfast as h; p = h.get_context('fork').Process(target=int); p.start(); p.join(); print(p.exitcode)"
    assert run_code(code) == (0, "0", "")
