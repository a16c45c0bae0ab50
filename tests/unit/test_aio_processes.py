"""Tasks and other processes want the same: a thousand tasks, killed holders, plain releases elsewhere, forks."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import anyio
import pytest
from aio_support import in_line, until, until_helper_runs

import holdfast
from holdfast import _core, errors

TASKS, PASSES = 1000, 3


def add(lock, total, times):
    """Add under a lock in a way that loses counts without it."""
    for _ in range(times):
        with lock:
            total.value = total.value + 1


def hold(lock, conn):
    """Hold a lock until told otherwise, or killed."""
    lock.acquire()
    conn.send("held")
    conn.recv()
    lock.release()


def wait(lock, conn):
    """Wait for a lock; tell of it."""
    conn.send("waiting")
    lock.acquire()
    conn.send("got it")
    lock.release()


def start(context, target, *args):
    here, there = context.Pipe()
    process = context.Process(target=target, args=(*args, there))
    process.start()
    there.close()
    return process, here


def test_async_lock_thousand_tasks_and_three_processes_lose_no_count(context, run):
    lock, total = context.Lock(), context.RawValue("q", 0)
    others = [context.Process(target=add, args=(lock, total, 2000)) for _ in range(3)]

    async def task():
        for _ in range(PASSES):
            async with lock:
                seen = total.value
                await anyio.lowlevel.checkpoint()
                total.value = seen + 1

    async def main():
        async with anyio.create_task_group() as group:
            for _ in range(TASKS):
                group.start_soon(task)

    for other in others:
        other.start()
    run(main)
    for other in others:
        other.join()
    assert total.value == TASKS * PASSES + 3 * 2000


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore"])
def test_async_lock_holder_of_another_process_killed_task_gets_it_and_is_told(kind, context, run):
    lock = getattr(context, kind)()
    process, conn = start(context, hold, lock)
    assert conn.recv() == "held"

    async def main():
        async with anyio.create_task_group() as group:
            got = []

            async def waiter():
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    assert await lock.acquire_async()
                got.append((lock.owner_died, [str(each.message) for each in told]))
                lock.release()

            group.start_soon(waiter)
            await in_line(lock)
            os.kill(process.pid, signal.SIGKILL)
        [(died, told)] = got
        assert died
        assert len(told) == 1
        assert str(process.pid) in told[0]

    run(main)
    process.join()
    conn.close()


def test_async_rwlock_writer_of_another_process_killed_reader_and_writer_get_in(context, run):
    lock = context.RWLock()
    process, conn = start(context, hold, lock.write())
    assert conn.recv() == "held"

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(lock.read().acquire_async)
            await in_line(lock)
            os.kill(process.pid, signal.SIGKILL)
            with pytest.warns(errors.OwnerDiedWarning):
                await until(lambda: lock.readers)
        lock._release_read()
        assert await lock.write().acquire_async(timeout=0)
        lock.write().release()

    run(main)
    process.join()
    conn.close()


def test_async_barrier_party_of_another_process_killed_breaks_it(context, run):
    barrier = context.Barrier(3)
    process, conn = start(context, barrier_party, barrier)
    assert conn.recv() == "coming"

    async def main():
        async with anyio.create_task_group() as group:
            broken = []

            async def party():
                try:
                    await barrier.wait_async()
                except errors.BarrierBroken:
                    broken.append(1)

            group.start_soon(party)
            await until(lambda: barrier.n_waiting == 2)
            os.kill(process.pid, signal.SIGKILL)
        assert broken == [1]

    run(main)
    process.join()
    conn.close()


def barrier_party(barrier, conn):
    """Come to a barrier that never opens."""
    conn.send("coming")
    barrier.wait()


def loop_of_waiters(locks, conn):
    """A process whose tasks wait for several locks at once, until it is killed."""

    async def main():
        waiting = [asyncio.create_task(lock.acquire_async()) for lock in locks]
        for lock in locks:
            await in_line(lock)
        conn.send("waiting")
        await asyncio.gather(*waiting)

    asyncio.run(main())


def test_async_waiters_killed_with_their_helper_blocking_waiters_behind_them_go_on(context):
    locks = [context.Lock() for _ in range(3)]
    for lock in locks:
        lock.acquire()
    process, conn = start(context, loop_of_waiters, locks)
    assert conn.recv() == "waiting"
    waiters = [start(context, wait, lock) for lock in locks]
    for _, said in waiters:
        assert said.recv() == "waiting"
    for lock in locks:
        while len(lock.stats().waiters) < 1:
            time.sleep(0.005)
    process.kill()
    process.join()
    for lock in locks:
        lock.release()
    for waiter, said in waiters:
        assert said.recv() == "got it"
        waiter.join()
        said.close()
    conn.close()


def test_async_helper_starts_when_a_task_waits_and_ends_when_idle(run):
    until_helper_runs(wanted=False)

    async def main():
        lock = holdfast.Lock()
        async with lock, anyio.create_task_group() as group:
            assert not _core.helper_runs()
            group.start_soon(lock.acquire_async, 0.01)
            await in_line(lock)
            assert _core.helper_runs()

    run(main)
    until_helper_runs(wanted=False)


def test_async_helper_is_no_thread_of_python_and_a_fork_does_not_name_it(run):
    async def main():
        lock = holdfast.Lock()
        async with lock, anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def waiter():
                with scope:
                    await lock.acquire_async()

            group.start_soon(waiter)
            await in_line(lock)
            assert "holdfast" not in " ".join(thread.name for thread in threading.enumerate())
            with warnings.catch_warnings():
                warnings.simplefilter("error", errors.ForkWithThreadsWarning)
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
            os.waitpid(pid, 0)
            scope.cancel()

    run(main)


def test_async_idle_helper_is_gone_when_a_process_forks():
    program = """
import asyncio, os, holdfast
from holdfast import _core

async def main():
    lock = holdfast.Lock()
    async with lock:
        assert not await lock.acquire_async(timeout=0.01)

asyncio.run(main())
assert _core.helper_runs()
if os.fork() == 0:
    assert len(os.listdir("/proc/self/task")) == 1
    os._exit(0)
assert os.wait()[1] == 0
assert not _core.helper_runs()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def child_of_a_waiting_loop(lock, other):
    """Wait for locks in a child of a process whose tasks wait for them."""

    async def main():
        assert not lock._waited_for()
        assert not _core.helper_runs()
        assert await lock.acquire_async(timeout=0.02) is False
        async with other:
            waiting = asyncio.create_task(other.acquire_async())
            while not other._waited_for():
                await asyncio.sleep(0)
        assert await waiting

    asyncio.run(main())


def test_async_child_forked_while_tasks_wait_starts_afresh(run):
    context = holdfast.get_context("fork")

    async def main():
        lock, got = holdfast.Lock(), []

        async def waiter():
            async with lock:
                got.append(1)

        async with anyio.create_task_group() as group, lock:
            for _ in range(3):
                group.start_soon(waiter)
            await in_line(lock, 3)
            child = context.Process(target=child_of_a_waiting_loop, args=(lock, holdfast.Lock()))
            child.start()
            child.join()  # the loop may stand still meanwhile
            assert child.exitcode == 0
        assert got == [1] * 3

    run(main)


def open_descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_async_waits_leave_no_descriptors_and_no_slots(run):
    async def main():
        for _ in range(20):
            lock = holdfast.Lock()
            async with lock:
                assert not await lock.acquire_async(timeout=0.001)

    run(main)
    until_helper_runs(wanted=False)
    before = open_descriptors(), _core.arena_stats()["slots_used"]
    run(main)
    until_helper_runs(wanted=False)
    assert (open_descriptors(), _core.arena_stats()["slots_used"]) == before


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_program_ends_while_the_helper_still_runs(backend):
    program = f"""
import anyio, holdfast

async def main():
    lock = holdfast.Lock()
    async with lock:
        await lock.acquire_async(timeout=0.01)

anyio.run(main, backend="{backend}")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_async_loops_of_two_threads_share_a_lock():
    lock, total = holdfast.Lock(), [0]

    async def main():
        async def task():
            for _ in range(20):
                async with lock:
                    seen = total[0]
                    await asyncio.sleep(0)
                    total[0] = seen + 1

        await asyncio.gather(*(task() for _ in range(50)))

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total == [2000]
