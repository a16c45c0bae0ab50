"""Awaitable events, conditions, barriers and readers-writer locks, on asyncio and on trio."""

import threading

import anyio
import pytest
from aio_support import in_a_thread, in_line, until
from anyio.lowlevel import checkpoint

import holdfast
from holdfast import errors


def test_async_event_set_wakes_every_task(run):
    async def main():
        event, woken = holdfast.Event(), []

        async def waiter():
            woken.append(await event.wait_async())

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(waiter)
            await in_line(event, 100)
            event.set()
        assert woken == [True] * 100
        assert await event.wait_async(timeout=0)

    run(main)


def test_async_event_set_and_cleared_at_once_still_wakes_those_who_waited(run):
    async def main():
        event, woken = holdfast.Event(), []

        async def waiter():
            woken.append(await event.wait_async())

        async with anyio.create_task_group() as group:
            for round_ in range(1, 20):
                group.start_soon(waiter)
                await in_line(event)
                event.set()
                event.clear()
                await until(lambda wanted=round_: len(woken) == wanted)
        assert all(woken)

    run(main)


def test_async_event_never_set_times_out(run):
    async def main():
        event = holdfast.Event()
        assert await event.wait_async(timeout=0) is False
        assert await event.wait_async(timeout=0.02) is False

    run(main)


def test_async_condition_notified_in_order_and_with_the_lock_held(run):
    async def main():
        condition, woken = holdfast.Condition(), []

        async def waiter(number):
            async with condition:
                entered.append(number)
                assert await condition.wait_async() is True
                woken.append(number)

        async with anyio.create_task_group() as group:
            entered = []
            for number in range(30):
                group.start_soon(waiter, number)
                await until(lambda wanted=number: len(entered) > wanted)
            async with condition:
                condition.notify(10)
            await until(lambda: len(woken) == 10)
            assert sorted(woken) == list(range(10))
            async with condition:
                condition.notify_all()
        assert len(woken) == 30

    run(main)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_async_condition_over_each_lock_notified_by_a_thread(run, kind):
    async def main():
        condition, ready = holdfast.Condition(getattr(holdfast, kind)()), []

        def notifier():
            with condition:
                ready.append(1)
                condition.notify()

        async with condition:
            thread = threading.Thread(target=notifier)
            thread.start()
            assert await condition.wait_for_async(lambda: ready) == [1]
        thread.join()

    run(main)


def test_async_condition_of_many_more_waiters_than_one_sleep_can_watch_all_notified(run):
    async def main():
        condition, entered, woken = holdfast.Condition(), [], []

        async def waiter():
            async with condition:
                entered.append(1)
                woken.append(await condition.wait_async())

        async with anyio.create_task_group() as group:
            for _ in range(300):
                group.start_soon(waiter)
            await until(lambda: len(entered) == 300)
            async with condition:
                condition.notify_all()
        assert woken == [True] * 300

    run(main)


def test_async_condition_timeout_passes_lock_is_held_again(run):
    async def main():
        condition = holdfast.Condition()
        async with condition:
            assert await condition.wait_async(timeout=0.01) is False
            assert await condition.wait_for_async(lambda: False, timeout=0.01) is False
            assert condition._lock._is_mine()
        assert condition._waiting() == 0

    run(main)


def test_async_condition_lock_not_held_by_the_task_refused(run):
    async def main():
        condition = holdfast.Condition()

        async def stranger():
            with pytest.raises(AssertionError):
                await condition.wait_async()

        await stranger()
        async with condition, anyio.create_task_group() as group:
            group.start_soon(stranger)

    run(main)


def test_async_condition_waiter_cancelled_has_the_lock_and_passes_its_notification_on(run):
    async def main():
        condition, entered, woken, held = holdfast.Condition(), [], [], []

        async def first(scope):
            with scope:
                async with condition:
                    entered.append(1)
                    try:
                        await condition.wait_async()
                    finally:
                        held.append(condition._lock._is_mine())

        async def second():
            async with condition:
                entered.append(2)
                woken.append(await condition.wait_async())

        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()
            group.start_soon(first, scope)
            await until(lambda: entered == [1])
            group.start_soon(second)
            await until(lambda: entered == [1, 2])
            async with condition:
                condition.notify()
                scope.cancel()
        assert (held, woken) == ([True], [True])

    run(main)


def test_async_barrier_all_come_each_has_an_index_and_the_action_ran_once(run):
    async def main():
        ran, indices = [], []
        barrier = holdfast.Barrier(8, action=lambda: ran.append(1))

        async def party():
            indices.extend([await barrier.wait_async() for _ in range(20)])

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(party)
        assert len(ran) == 20
        assert sorted(indices) == sorted(list(range(8)) * 20)

    run(main)


def test_async_barrier_party_cancelled_breaks_it_for_the_others(run):
    async def main():
        barrier, broken = holdfast.Barrier(3), []

        async def party(scope):
            with scope:
                try:
                    await barrier.wait_async()
                except errors.BarrierBroken:
                    broken.append(1)

        async with anyio.create_task_group() as group:
            scopes = [anyio.CancelScope(), anyio.CancelScope()]
            for scope in scopes:
                group.start_soon(party, scope)
            await until(lambda: barrier.n_waiting == 2)
            scopes[0].cancel()
        assert broken == [1]
        assert barrier.broken
        barrier.reset()
        assert barrier.n_waiting == 0

    run(main)


def test_async_barrier_timeout_passes_breaks_it(run):
    async def main():
        barrier = holdfast.Barrier(2)
        with pytest.raises(errors.BarrierBroken, match="time was over"):
            await barrier.wait_async(timeout=0.02)
        assert barrier.broken

    run(main)


def test_async_rwlock_readers_share_writers_are_alone(run):
    async def main():
        lock, reading, writing, most = holdfast.RWLock(), [0], [0], [0]

        async def reader():
            async with lock.read():
                assert not writing[0]
                reading[0] += 1
                most[0] = max(most[0], reading[0])
                await checkpoint()
                reading[0] -= 1

        async def writer():
            async with lock.write():
                assert not writing[0]
                assert not reading[0]
                writing[0] += 1
                await checkpoint()
                writing[0] -= 1

        async with anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(writer if number % 7 == 0 else reader)
        assert most[0] > 1
        assert lock.readers == 0

    run(main)


def test_async_rwlock_writer_waits_new_readers_stay_out_a_reader_may_read_again(run):
    async def main():
        lock, order = holdfast.RWLock(), []

        async def writer():
            async with lock.write():
                order.append("write")

        async def newcomer():
            async with lock.read():
                order.append("read")

        async with anyio.create_task_group() as group, lock.read():
            group.start_soon(writer)
            await in_line(lock)
            group.start_soon(newcomer)
            await in_line(lock, 2)
            async with lock.read():
                order.append("again")
        assert order == ["again", "write", "read"]

    run(main)


def test_async_rwlock_writer_cancelled_or_late_lets_readers_in(run):
    async def main():
        lock = holdfast.RWLock()
        async with lock.read(), anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def writer():
                with scope:
                    await lock.write().acquire_async()

            group.start_soon(writer)
            await in_line(lock)
            scope.cancel()
        async with lock.read():
            assert await lock.write().acquire_async(timeout=0.02) is False
            assert in_a_thread(lock.read().acquire)
        lock._release_read()
        assert await lock.write().acquire_async(timeout=0)
        lock.write().release()

    run(main)
