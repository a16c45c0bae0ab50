"""`async with` and `acquire_async()` of the locks, on asyncio and on trio."""

import asyncio
import subprocess
import sys
import threading

import anyio
import pytest
from aio_support import in_a_thread, in_line
from anyio.lowlevel import checkpoint

import holdfast
from holdfast import errors

KINDS = ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"]


def make(kind):
    return getattr(holdfast, kind)()


@pytest.mark.parametrize("kind", KINDS)
def test_async_lock_free_taken_and_given_back(run, kind):
    async def main():
        lock = make(kind)
        async with lock as answer:
            assert answer is True
            assert in_a_thread(lock.acquire, False) is False
        assert await lock.acquire_async() is True
        lock.release()
        assert lock.acquire(False)
        lock.release()

    run(main)


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore"])
def test_async_lock_uncontended_starts_no_helper_and_imports_no_asyncio(kind):
    program = f"""
import sys, threading, holdfast
from holdfast import _core

def drive(awaitable):
    try:
        awaitable.__await__().__next__()
    except StopIteration as done:
        return done.value

lock = holdfast.{kind}()
if "{kind}" != "RLock":  # its owner is a task
    assert drive(lock.acquire_async()) is True
    assert drive(lock.__aexit__(None, None, None)) is None
assert not _core.helper_runs()
assert not {{"asyncio", "trio", "anyio", "holdfast.aio"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_async_lock_held_by_a_task_others_wait_in_order(run, kind):
    async def main():
        lock, order, inside = make(kind), [], []

        async def worker(number):
            async with lock:
                assert not inside
                inside.append(number)
                await checkpoint()
                order.append(inside.pop())

        async with anyio.create_task_group() as group, lock:
            for number in range(50):
                group.start_soon(worker, number)
                await in_line(getattr(lock, "_lock", lock), number + 1)
        assert order == list(range(50))

    run(main)


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore"])
def test_async_lock_released_by_a_plain_release_of_another_thread_wakes_the_task(run, kind):
    async def main():
        lock, held, let_go = make(kind), threading.Event(), threading.Event()

        def holder():
            with lock:
                held.set()
                let_go.wait()

        thread = threading.Thread(target=holder)
        thread.start()
        held.wait()
        async with anyio.create_task_group() as group:
            group.start_soon(lock.acquire_async)
            await in_line(lock)
            let_go.set()
        lock.release()
        thread.join()

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_async_lock_timeout_passes_returns_false_and_leaves_nothing(run, kind):
    async def main():
        lock = make(kind)
        async with anyio.create_task_group() as group, lock:
            found = []

            async def late():
                found.extend([await lock.acquire_async(timeout=0.02), await lock.acquire_async(timeout=0)])

            group.start_soon(late)
            while len(found) < 2:
                await anyio.sleep(0.005)
        assert found == [False, False]
        async with lock:
            pass

    run(main)


def test_async_lock_bad_timeouts_refused(run):
    async def main():
        lock = holdfast.Lock()
        with pytest.raises(errors.BadTimeout):
            await lock.acquire_async(timeout=-1)
        with pytest.raises(errors.BadTimeout):
            await lock.acquire_async(timeout=float("nan"))
        with pytest.raises(errors.BadTimeout):
            await holdfast.Event().wait_async(timeout=-1)

    run(main)


def test_async_lock_waited_for_newcomers_go_to_the_end(run):
    async def main():
        lock, order = holdfast.Lock(), []

        async def worker(name):
            async with lock:
                order.append(name)

        async with anyio.create_task_group() as group:
            async with lock:
                group.start_soon(worker, "first")
                await in_line(lock)
            await worker("newcomer")
        assert order == ["first", "newcomer"]

    run(main)


def test_async_rlock_task_takes_it_again_other_task_waits(run):
    async def main():
        lock, order = holdfast.RLock(), []

        async def other():
            async with lock:
                order.append("other")

        async with anyio.create_task_group() as group, lock:
            group.start_soon(other)
            await in_line(lock)
            async with lock:
                order.append("again")
            await checkpoint()
            order.append("still")
        assert order == ["again", "still", "other"]

    run(main)


def test_async_rlock_held_by_a_blocking_acquire_of_the_thread_refused(run):
    async def main():
        lock = holdfast.RLock()
        with lock, pytest.raises(errors.NotOwner):
            await lock.acquire_async()
        async with lock:
            pass

    run(main)


def test_async_semaphore_permits_all_given_out_to_waiting_tasks(run):
    async def main():
        slots, inside, most = holdfast.Semaphore(3), [0], [0]

        async def worker():
            async with slots:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                await checkpoint()
                await checkpoint()
                inside[0] -= 1

        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(worker)
        assert most == [3]
        assert slots.get_value() == 3

    run(main)


def test_async_semaphore_many_releases_at_once_wake_as_many_tasks(run):
    async def main():
        slots, got = holdfast.Semaphore(0), []

        async def worker():
            got.append(await slots.acquire_async())

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(worker)
            await in_line(slots, 20)
            for _ in range(20):
                slots.release()
        assert got == [True] * 20

    run(main)


def test_async_lock_closed_while_a_task_waits_raises_in_the_task(run):
    async def main():
        lock = holdfast.Lock()
        twin = type(lock)._like(lock)
        seen = []

        async def waiter():
            try:
                await lock.acquire_async()
            except errors.ClosedError as error:
                seen.append(error)

        async with anyio.create_task_group() as group:
            twin.acquire()
            group.start_soon(waiter)
            await in_line(lock)
            lock.close()
            twin.release()
        assert len(seen) == 1
        async with twin:
            pass

    run(main)


def test_async_lock_place_taken_is_the_users_line(run):
    async def main():
        lock = holdfast.Lock()

        async def waiter():
            async with lock:
                assert __file__ in lock.stats().where

        async with anyio.create_task_group() as group, lock:
            assert __file__ in lock.stats().where
            group.start_soon(waiter)
            await in_line(lock)

    run(main)


def test_async_lock_without_event_loop_says_so():
    lock = holdfast.Lock()
    lock.acquire()
    with pytest.raises(RuntimeError, match="event loop"):
        lock.acquire_async().send(None)
    lock.release()


def test_async_lock_loop_closed_with_tasks_still_waiting_leaves_nothing_behind():
    lock = holdfast.Lock()
    lock.acquire()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending!" is what is done here
    task = loop.create_task(lock.acquire_async())
    loop.run_until_complete(asyncio.sleep(0))
    assert lock._waited_for()
    loop.close()
    del loop, task
    import gc

    gc.collect()
    assert not lock._waited_for()
    lock.release()
    assert lock.acquire(timeout=5)
