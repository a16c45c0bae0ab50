"""Tasks resumed by the callback that reads the helper's news: nothing a task can see differs from any other wake."""

import asyncio
import contextvars
import os
import threading

import pytest
from aio_support import in_line

import holdfast

SEEN = contextvars.ContextVar("seen", default="nobody's")


async def elsewhere(function, *args):
    """Call a function in another thread, so that the loop hears of it by the helper only; the loop goes on."""
    await asyncio.to_thread(function, *args)


def desk_of(shared):
    """The desk at which tasks of the running loop wait for an object."""
    from holdfast._desks import this_loops

    desk = this_loops()
    assert any(line._object is shared for line in desk.lines.values())
    return desk


def test_async_task_resumed_by_news_has_its_own_context_and_is_the_current_task():
    async def main():
        queue, seen = holdfast.Queue(), []

        async def getter(name):
            SEEN.set(name)
            await queue.get_async()
            seen.append((SEEN.get(), asyncio.current_task().get_name()))

        tasks = [asyncio.create_task(getter(name), name=name) for name in "abc"]
        await in_line(queue, 3)
        for number in range(3):
            await elsewhere(queue.put, number)
        await asyncio.gather(*tasks)
        assert seen == [(name, name) for name in "abc"]
        assert SEEN.get() == "nobody's"

    asyncio.run(main())


def test_async_tasks_resumed_by_news_go_on_in_the_order_they_came():
    async def main():
        event, order = holdfast.Event(), []

        async def waiter(number):
            await event.wait_async()
            order.append(number)

        tasks = [asyncio.create_task(waiter(number)) for number in range(50)]
        await in_line(event, 50)
        await elsewhere(event.set)
        await asyncio.gather(*tasks)
        assert order == list(range(50))

    asyncio.run(main())


def test_async_news_read_inside_a_task_resumes_no_other_task_in_it():
    async def main():
        queue, steps = holdfast.Queue(), []

        async def getter():
            steps.append(await queue.get_async())

        task = asyncio.create_task(getter())
        await in_line(queue)
        desk = desk_of(queue)
        desk.loop.remove_reader(desk.fd)
        queue.put("item")
        while not task._fut_waiter.done():
            desk.news()  # as a loop does that is run inside a task
        assert steps == []
        await task
        assert steps == ["item"]

    asyncio.run(main())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_async_task_resumed_by_news_ends_the_loop_others_are_still_woken(error):
    loop = asyncio.new_event_loop()
    event, woken = holdfast.Event(), []

    async def ends():
        await event.wait_async()
        raise error

    async def goes_on():
        woken.append(await event.wait_async())

    async def main():
        tasks = [loop.create_task(ends()), *(loop.create_task(goes_on()) for _ in range(3))]
        await in_line(event, 4)
        setter = threading.Thread(target=event.set)
        setter.start()
        try:
            await asyncio.gather(*tasks[1:])
        finally:
            setter.join()

    waiting = loop.create_task(main())
    with pytest.raises(error):
        loop.run_until_complete(waiting)
    loop.run_until_complete(waiting)
    loop.close()
    assert woken == [True] * 3


def test_async_task_resumed_by_news_forks_both_processes_go_on():
    async def main():
        queue = holdfast.Queue()

        async def getter():
            await queue.get_async()
            pid = os.fork()
            if pid == 0:
                queue.put("from the child")
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            return await queue.get_async()

        task = asyncio.create_task(getter())
        await in_line(queue)
        putter = holdfast.get_context("fork").Process(target=queue.put, args=("item",))
        putter.start()
        assert await task == "from the child"
        putter.join()

    asyncio.run(main())


def test_async_task_resumed_by_news_and_cancelled_by_the_one_before_has_taken_nothing():
    async def main():
        event, queue = holdfast.Event(), holdfast.Queue()
        tasks, got = [], []

        async def canceller():
            await event.wait_async()
            tasks[1].cancel()

        async def cancelled():
            await event.wait_async()
            got.append(await queue.get_async())

        tasks += [asyncio.create_task(canceller()), asyncio.create_task(cancelled())]
        await in_line(event, 2)
        queue.put("item")
        await elsewhere(event.set)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert tasks[1].cancelled()
        assert got == []
        assert queue.get() == "item"

    asyncio.run(main())


def test_async_desk_is_closed_after_the_step_of_a_task_resumed_by_news():
    async def main():
        queue = holdfast.Queue()
        task = asyncio.create_task(queue.get_async())
        await in_line(queue)
        desk = desk_of(queue)
        await elsewhere(queue.put, "item")
        assert await task == "item"
        while not desk.closed:
            await asyncio.sleep(0)
        assert desk.lines == {}

    asyncio.run(main())
