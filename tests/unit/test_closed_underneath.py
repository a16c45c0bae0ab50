"""What the user's code takes away: objects closed while a thread waits, descriptors closed by a daemon's recipe."""

import os
import subprocess
import sys
import textwrap
import threading

import pytest

import holdfast
from holdfast import errors


def python(program):
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


WAITS = {
    "Lock": (holdfast.Lock, type(holdfast.Lock()).acquire, lambda lock: lock.acquire(timeout=0.3)),
    "RLock": (holdfast.RLock, type(holdfast.RLock()).acquire, lambda lock: lock.acquire(timeout=0.3)),
    "Semaphore": (holdfast.Semaphore, type(holdfast.Semaphore()).acquire, lambda lock: lock.acquire(timeout=0.3)),
    "Event": (holdfast.Event, repr, lambda event: event.wait(timeout=0.3)),
}


@pytest.mark.parametrize("kind", WAITS)
def test_object_closed_while_a_thread_waits_keeps_its_slot_until_then(kind):
    make, hold, wait = WAITS[kind]
    thing, outcome, waiting = make(), [], threading.Event()
    hold(thing)

    def waiter():
        waiting.set()
        try:
            outcome.append(wait(thing))
        except errors.ClosedError as error:
            outcome.append(error)

    thread = threading.Thread(target=waiter)
    thread.start()
    waiting.wait()
    thing.close()
    others = [make() for _ in range(10)]
    thread.join()
    assert outcome[0] is False or isinstance(outcome[0], errors.ClosedError)
    assert all(not other.stats().holders for other in others)


def test_arena_grows_after_all_descriptors_were_closed_and_touches_no_other_file():
    python(
        """
        import os, tempfile, holdfast
        first = holdfast.Lock()
        os.closerange(3, 200)
        files = [tempfile.TemporaryFile() for _ in range(20)]
        locks = [holdfast.Lock() for _ in range(3000)]
        assert all(os.fstat(file.fileno()).st_size == 0 for file in files)
        if os.fork() == 0:
            assert all(os.fstat(file.fileno()).st_size == 0 for file in files)
            with locks[2999], first:
                os._exit(0)
        assert os.wait()[1] == 0
        """
    )


def close_and_return(value):
    os.closerange(3, 200)
    return value


def test_result_of_a_process_that_closed_all_descriptors_is_lost_and_said_so():
    process = holdfast.get_context("fork").Process(target=close_and_return, args=(5,))
    process.start()
    with pytest.raises(errors.ResultLost, match=r"HF303.*left no result"):
        process.result(60)
    process.close()


def test_lock_made_by_the_first_child_outlives_it():
    python(
        """
        import holdfast
        if __name__ == "__main__":
            reader, writer = holdfast.Pipe(duplex=False)
            process = holdfast.get_context("fork").Process(target=lambda: writer.send(holdfast.Lock()))
            process.start()
            process.join()
            with reader.recv():
                pass
        """
    )


def test_condition_with_300_waiters_notify_wakes_exactly_one():
    changed, woken, waiting = holdfast.Condition(), [], []

    def wait():
        with changed:
            waiting.append(1)
            if changed.wait(timeout=30):
                woken.append(1)

    threads = [threading.Thread(target=wait) for _ in range(300)]
    for thread in threads:
        thread.start()
    while True:
        with changed:
            if len(waiting) == 300:
                changed.notify(7)
                break
    while len(woken) < 7:
        pass
    with changed:
        assert len(woken) == 7
        changed.notify_all()
    for thread in threads:
        thread.join()
    assert len(woken) == 300


@pytest.mark.parametrize("name", ["", 5, True, b"x", "a\0b", "\ud800"])
def test_name_that_is_no_name_is_refused(name):
    with pytest.raises(errors.BadArgument, match="HF112"):
        holdfast.Lock(name)


def test_named_object_with_other_parameters_is_refused():
    semaphore, barrier = holdfast.Semaphore(7, name="test-seven"), holdfast.Barrier(3, name="test-three")
    for other in (lambda: holdfast.Semaphore(3, name="test-seven"), lambda: holdfast.Barrier(4, name="test-three")):
        with pytest.raises(errors.NameClash, match="HF111"):
            other()
    assert (semaphore.get_value(), barrier.parties) == (7, 3)


@pytest.mark.parametrize("stranger", [5, threading.Lock(), holdfast.RWLock()])
def test_all_of_something_that_is_no_holdfast_lock_is_refused(stranger):
    with pytest.raises(errors.BadArgument, match="HF112"):
        holdfast.all_of(holdfast.Lock(), stranger)


def test_acquire_takes_blocking_as_the_proxies_call_it():
    lock = holdfast.Lock()
    assert lock.acquire(blocking=False)
    assert not lock.acquire(blocking=False)
    lock.release()
