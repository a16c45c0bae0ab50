"""PAINS row 22: asyncio with queues: the loop goes on while a call waits, cancelling loses nothing, programs end."""

from __future__ import annotations

import asyncio
import queue
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support import running

import holdfast

if TYPE_CHECKING:
    from asyncio import Task
    from pathlib import Path

TICKS = 200


async def loop_goes_on(waiting: Task[Any]) -> None:
    """Let the loop turn many times; the call must be waiting all the while."""
    for _ in range(TICKS):
        await asyncio.sleep(0)
    assert not waiting.done()


def relay(inbox: Any, outbox: Any) -> None:
    """The other process: send everything back until it is shut down."""
    for item in inbox:
        outbox.put(item)
    outbox.shutdown()


def test_async_get_waiting_for_another_process_loop_goes_on(context: Any) -> None:
    """Nothing comes before the loop has turned often."""
    there, back = context.Queue(), context.Queue()
    process = context.Process(target=relay, args=(there, back))
    process.start()

    async def main() -> list[Any]:
        waiting = asyncio.create_task(back.get_async())
        await loop_goes_on(waiting)
        await there.put_async("first")
        found = [await waiting]
        there.put_many(range(100))
        there.shutdown()
        return found + [item async for item in back]

    assert asyncio.run(main()) == ["first", *range(100)]
    process.join()
    process.close()


def test_async_put_waiting_for_room_loop_goes_on() -> None:
    """The room comes from the same loop."""
    box = holdfast.Queue(1)

    async def main() -> list[Any]:
        await box.put_async(1)
        waiting = asyncio.create_task(box.put_async(2))
        await loop_goes_on(waiting)
        first = await box.get_async()
        await waiting
        return [first, await box.get_async(timeout=60)]

    assert asyncio.run(main()) == [1, 2]


def test_async_calls_out_of_time_raise_full_and_empty() -> None:
    """As the blocking ones do."""

    async def main() -> None:
        box = holdfast.Queue(1)
        with pytest.raises(queue.Empty):
            await box.get_async(timeout=0.01)
        await box.put_async(1)
        with pytest.raises(queue.Full):
            await box.put_async(2, timeout=0.01)
        box.shutdown()
        assert await box.get_async() == 1
        with pytest.raises(holdfast.ShutDown):
            await box.get_async()
        with pytest.raises(holdfast.ShutDown):
            await box.put_async(3)

    asyncio.run(main())


def feed(box: Any, count: int) -> None:
    """Put numbers one by one."""
    for number in range(count):
        box.put(number)


def test_async_gets_cancelled_while_items_come_lose_nothing(context: Any) -> None:
    """Each item is somebody's result, or still in the queue."""
    box = context.Queue(3)
    process = context.Process(target=feed, args=(box, 500))
    process.start()

    async def main() -> list[int]:
        found: list[int] = []
        turn = 0
        while len(found) < 500:
            tasks = [asyncio.create_task(box.get_async()) for _ in range(3)]
            for _ in range(turn % 7):
                await asyncio.sleep(0)
            turn += 1
            for task in tasks if turn % 50 else ():
                task.cancel()
            results = await asyncio.gather(*(asyncio.wait_for(task, 60) for task in tasks), return_exceptions=True)
            found += [result for result in results if isinstance(result, int)]
            if len(found) > 490:  # the last ones without company: more tasks than items would wait for ever
                found += [await box.get_async(timeout=60) for _ in range(500 - len(found))]
        return found

    assert sorted(asyncio.run(main())) == list(range(500))
    process.join()
    process.close()
    assert box.empty()


def test_async_put_cancelled_while_full_is_in_or_not_and_queue_works() -> None:
    """A cancelled put added nothing if it was waiting."""
    box = holdfast.Queue(1)

    async def main() -> None:
        await box.put_async(1)
        for _ in range(50):
            waiting = asyncio.create_task(box.put_async("never"))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await box.get_async() == 1
        assert box.empty()
        await box.put_async(2)
        assert await box.get_async() == 2

    asyncio.run(main())


ENDS = """
import asyncio, sys, holdfast
box, lock = holdfast.Queue(), holdfast.Lock()
lock.acquire()
async def main():
    tasks = [asyncio.create_task(box.get_async()) for _ in range(3)]
    tasks.append(asyncio.create_task(lock.acquire_async()))
    for _ in range(20):
        await asyncio.sleep(0)
    print("waiting", flush=True)
    if sys.argv[1] == "interrupt":
        await asyncio.gather(*tasks)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
box.put("works")
print(box.get(), flush=True)
"""


@pytest.mark.parametrize("how", ["return", "interrupt"])
def test_async_program_with_waiting_calls_ends(how: str, tmp_path: Path) -> None:
    """Either main() returns while calls are waiting, or Ctrl-C comes."""
    home = tmp_path / "arenas"
    home.mkdir(mode=0o700)
    with running([sys.executable, "-c", ENDS, how], {"HOLDFAST_DIR": str(home)}) as program:
        assert program.line() == "waiting", program.finish()
        if how == "interrupt":
            program.process.send_signal(2)
        out, err = program.finish()
        assert out.split() == (["interrupted"] if how == "interrupt" else []) + ["works"], err
        assert program.process.returncode == 0, err
