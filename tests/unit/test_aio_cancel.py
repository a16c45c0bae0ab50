"""Cancelled tasks lose neither lock nor permit, nor the place of others: thousands of random cancellations."""

import asyncio
import random

import anyio
import pytest
from aio_support import in_line

import holdfast

CANCELLATIONS = 10_000


def contend(lock, stop, passes):
    """Another process that wants the same lock all the time."""
    while not stop.is_set():
        with lock:
            passes.value += 1


async def storm(thing, rng, inside, most):
    """Start tasks and cancel them at random moments until so many were cancelled in the middle of it."""
    cancelled = 0

    async def worker(naps):
        nonlocal cancelled
        try:
            async with thing:
                inside[0] += 1
                assert inside[0] <= most
                try:
                    for _ in range(naps):
                        await asyncio.sleep(0)
                finally:
                    inside[0] -= 1
        except asyncio.CancelledError:
            cancelled += 1
            raise

    tasks = []
    while cancelled < CANCELLATIONS:
        tasks += [asyncio.create_task(worker(rng.randrange(3))) for _ in range(100)]
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        for task in rng.sample(tasks, len(tasks) * 2 // 3):
            task.cancel()
        await asyncio.sleep(0)
        tasks = [task for task in tasks if not task.done()]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
    return cancelled


@pytest.mark.parametrize(("kind", "most"), [("Lock", 1), ("RLock", 1), ("Semaphore", 3), ("Condition", 1)])
def test_async_cancelled_at_random_ten_thousand_times_nothing_is_lost(kind, most):
    context = holdfast.get_context("fork")
    thing = holdfast.Semaphore(most) if kind == "Semaphore" else getattr(holdfast, kind)()
    inside = [0]
    with_others = kind in ("Lock", "RLock")
    stop, passes = holdfast.Event(), holdfast.RawValue("q", 0)
    others = [context.Process(target=contend, args=(thing, stop, passes)) for _ in range(2 if with_others else 0)]
    for other in others:
        other.start()
    cancelled = asyncio.run(storm(thing, random.Random(7), inside, most))
    stop.set()
    for other in others:
        other.join()
        assert other.exitcode == 0
    assert cancelled >= CANCELLATIONS
    assert inside == [0]
    for _ in range(most):
        assert thing.acquire(timeout=30)
    assert not thing.acquire(False) or kind in ("RLock", "Condition")
    assert not getattr(thing, "_lock", thing)._waited_for()


def test_async_task_cancelled_after_it_was_told_passes_the_wake_on():
    async def main():
        lock = holdfast.Lock()
        async with lock:
            first = asyncio.create_task(lock.acquire_async())
            await in_line(lock)
            second = asyncio.create_task(lock.acquire_async())
            await in_line(lock, 2)
        first.cancel()  # in the same step as the release that told it
        assert await second
        assert first.cancelled()
        lock.release()

    asyncio.run(main())


def test_async_told_and_cancelled_in_the_same_step_next_one_gets_it(run):
    async def main():
        lock, got = holdfast.Lock(), []

        async def first(scope):
            with scope:
                async with lock:
                    got.append("first")

        async def second():
            async with lock:
                got.append("second")

        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()
            async with lock:
                group.start_soon(first, scope)
                await in_line(lock)
                group.start_soon(second)
                await in_line(lock, 2)
            scope.cancel()
        assert got[-1] == "second"

    run(main)


def test_async_timeouts_at_the_moment_of_the_release_lose_nothing(run):
    async def main():
        lock, outcomes = holdfast.Lock(), []

        async def waiter():
            got = await lock.acquire_async(timeout=0.001)
            if got:
                lock.release()
            outcomes.append(got)

        for _ in range(100):
            async with anyio.create_task_group() as group, lock:
                for _ in range(5):
                    group.start_soon(waiter)
                await anyio.sleep(0.001)
        assert len(outcomes) == 500
        assert lock.acquire(timeout=30)

    run(main)
