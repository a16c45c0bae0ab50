"""What the user hears when a holder dies or a stranger releases, and a fork inside ``with lock:``."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from support import METHODS

import holdfast
from holdfast import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

KINDS = ("Lock", "RLock", "Semaphore", "BoundedSemaphore")


def hold(lock: Any, conn: Connection) -> None:
    """Hold the lock until killed."""
    lock.acquire()
    conn.send("held")
    conn.recv()


def release(lock: Any, conn: Connection) -> None:
    """Release somebody else's lock; report what came of it."""
    try:
        lock.release()
    except Exception as problem:
        conn.send(problem)
    else:
        conn.send(None)


def meet(method: str, target: Callable[..., None], lock: Any) -> tuple[holdfast.Process, object]:
    """Run the target in a child; return the child and the first thing it said."""
    context = holdfast.get_context(method)
    here, there = context.Pipe()
    process = context.Process(target=target, args=(lock, there))
    process.start()
    there.close()
    said = here.recv()
    here_keeper.append(here)
    return process, said


here_keeper: list[object] = []


@pytest.fixture(autouse=True)
def _close_pipes() -> object:
    """Close the parent's ends after each test."""
    yield
    while here_keeper:
        here_keeper.pop().close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_lock_holder_killed_next_acquire_warns_with_pid(kind: str, method: str) -> None:
    """Row 01 through the API."""
    lock = getattr(holdfast, kind)()
    process, _said = meet(method, hold, lock)
    process.kill()
    process.join()
    with pytest.warns(errors.OwnerDiedWarning, match=str(process.pid)):
        assert lock.acquire(timeout=30)
    lock.release()


def test_lock_holder_killed_owner_died_is_true_while_held() -> None:
    """Code that mends what the lock guards asks ``owner_died``."""
    lock = holdfast.Lock()
    process, _said = meet("fork", hold, lock)
    process.kill()
    process.join()
    with pytest.warns(errors.OwnerDiedWarning):
        lock.acquire()
    assert lock.owner_died
    lock.release()
    with lock:
        assert not lock.owner_died


def test_lock_holder_killed_with_raise_raises_owner_died() -> None:
    """``on_owner_death="raise"`` turns the warning into an error."""
    lock = holdfast.Lock(on_owner_death="raise")
    process, _said = meet("fork", hold, lock)
    process.kill()
    process.join()
    with pytest.raises(errors.OwnerDied) as caught:
        lock.acquire(timeout=30)
    assert caught.value.pid == process.pid


def test_lock_holder_thread_ended_another_thread_may_release() -> None:
    """As the standard library documents: the process lives, so the lock stays held until somebody releases it."""
    lock = holdfast.Lock()
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join()
    assert not lock.acquire(block=False)
    lock.release()
    assert lock.acquire(block=False)
    lock.release()


@pytest.mark.parametrize("method", METHODS)
def test_strict_lock_released_by_a_stranger_refuses_and_stays_held(method: str) -> None:
    """Row 23, ``strict=True``: the culprit gets the error, naming the holder."""
    lock = holdfast.Lock(strict=True)
    with lock:
        process, said = meet(method, release, lock)
        process.join()
        assert isinstance(said, errors.ForeignRelease)
        assert str(os.getpid()) in str(said)
        assert not meet_try(method, lock)


def attempt(lock: Any, conn: Connection) -> None:
    """Try to take the lock."""
    conn.send(lock.acquire(block=False))


def meet_try(method: str, lock: Any) -> bool:
    """Return whether another process could take the lock."""
    process, said = meet(method, attempt, lock)
    process.join()
    return bool(said)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_fork_inside_with_lock_child_way_out_does_not_open_it(kind: str) -> None:
    """The parent stays the holder; the child's way out of the block is reported."""
    lock = getattr(holdfast, kind)()
    read, write = os.pipe()
    child = -1
    try:
        with lock:
            child = os.fork()
            if child:
                os.close(write)
                told = os.read(read, 1)  # the child has left its block
                assert not meet_try("fork", lock)
    finally:
        if child == 0:
            os.write(write, b"x")
            os._exit(0)
    _pid, status = os.waitpid(child, 0)
    os.close(read)
    assert told == b"x"
    assert os.waitstatus_to_exitcode(status) == 0
    assert lock.acquire(block=False)
    lock.release()


def test_fork_inside_with_lock_child_is_warned() -> None:
    """The report is a ``ForkedReleaseWarning`` in the child."""
    lock = holdfast.Lock()
    read, write = os.pipe()
    with lock:
        child = os.fork()
        if child == 0:
            code = b"n"
            with suppress(BaseException):
                with pytest.warns(errors.ForkedReleaseWarning):
                    lock.__exit__(None, None, None)
                code = b"y"
            os.write(write, code)
            os._exit(0)
        os.waitpid(child, 0)
    assert os.read(read, 1) == b"y"
    os.close(read)
    os.close(write)


def test_lock_wait_interrupted_by_ctrl_c_raises_and_keeps_nothing() -> None:
    """Every wait can be interrupted; afterwards the lock works."""
    lock = holdfast.Lock()
    process, _said = meet("fork", hold, lock)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        lock.acquire()
    timer.join()
    process.kill()
    process.join()
    with pytest.warns(errors.OwnerDiedWarning):
        assert lock.acquire(timeout=30)
    lock.release()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [*KINDS, "Event", "Condition", "RWLock"])
def test_primitive_pickled_with_any_protocol_is_the_same_one(kind: str, protocol: int) -> None:
    """A handle is a name, not a copy."""
    original = getattr(holdfast, kind)()
    twin = pickle.loads(pickle.dumps(original, protocol))
    assert type(twin) is type(original)
    if kind == "Event":
        original.set()
        assert twin.is_set()
    elif kind == "RWLock":
        with original.write():
            assert not twin.write().acquire(block=False)
    else:
        original.acquire()
        assert kind in {"RLock", "Condition"} or not twin.acquire(False)
        original.release()
        assert twin.acquire(False)
        twin.release()
