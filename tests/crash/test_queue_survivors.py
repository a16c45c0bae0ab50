"""Those who come after a killed reader, writer or holder of a view; and what else a hostile user found."""

from __future__ import annotations

import asyncio
import copyreg
import os
import signal
from multiprocessing import reduction
from typing import TYPE_CHECKING

import pytest
from support import run_code
from test_bad_days import can_mount, mounted

import holdfast
from holdfast import pipes
from holdfast.errors import ArenaFull

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
HUGE = 96 * MIB


def kill_inside(side: int, queue: holdfast.Queue, work: Callable[[], object]) -> None:
    """Kill a child while it is inside one side of a queue; a child that was too fast is followed by another."""
    while True:
        pid = os.fork()
        if pid == 0:
            work()
            os._exit(0)
        while queue._holders()[side] != pid and os.waitpid(pid, os.WNOHANG) == (0, 0):
            pass
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        if queue._holders()[side] == pid:
            return
        if side == 0 and not queue.qsize():
            queue.put(bytes(HUGE))


def test_queue_reader_killed_inside_next_task_gets_the_item() -> None:
    queue = holdfast.Queue()
    queue.put(bytes(HUGE))
    kill_inside(0, queue, queue.get)
    assert asyncio.run(queue.get_async()) == bytes(HUGE)


def test_queue_reader_killed_inside_while_a_task_waits_the_task_gets_the_item() -> None:
    queue = holdfast.Queue()

    async def main() -> bytes:
        waits = asyncio.create_task(queue.get_async())
        await asyncio.sleep(0)
        queue.put(bytes(HUGE))
        got: bytes = await waits
        return got

    for _ in range(3):
        queue.put(bytes(HUGE))
        kill_inside(0, queue, queue.get)
        assert queue.get(timeout=60) == bytes(HUGE)
        assert asyncio.run(main()) == bytes(HUGE)


def test_queue_writer_killed_inside_next_task_puts_its_item() -> None:
    queue = holdfast.Queue(1000)
    many = [b"x" * 30_000] * 900
    kill_inside(1, queue, lambda: [queue.put_many(many, timeout=0) for _ in range(1000)])
    while not queue.empty():
        queue.get_many(1000)
    asyncio.run(queue.put_async("a task's"))
    assert queue.get(timeout=60) == "a task's"


class Registered:
    """A class whose reducer is registered late."""


def test_queue_reducer_registered_after_the_first_put_counts() -> None:
    queue = holdfast.Queue()
    queue.put({"anything": 1})
    queue.get()
    try:
        for word in ("first", "second"):
            reduction.register(Registered, lambda _, word=word: (str, (word,)))
            queue.put([Registered()])
            assert queue.get() == [word]
        del reduction.ForkingPickler._extra_reducers[Registered]
        copyreg.pickle(Registered, lambda _: (str, ("copyreg",)))
        queue.put([Registered()])
        assert queue.get() == ["copyreg"]
    finally:
        reduction.ForkingPickler._extra_reducers.pop(Registered, None)
        copyreg.dispatch_table.pop(Registered, None)


def test_queue_first_pipe_made_after_a_put_goes_through_it() -> None:
    queue = holdfast.Queue()
    queue.put({"anything": 1})
    queue.get()
    reading, writing = holdfast.Pipe()
    queue.put(writing)
    with queue.get() as again, reading, writing:
        again.send("through it")
        assert reading.recv() == "through it"


def test_queue_put_many_that_fails_half_way_says_how_many_are_in() -> None:
    queue = holdfast.Queue(3)

    def shut_down_once_full() -> None:
        while not queue.full():
            pass
        queue.shutdown()
        os._exit(0)

    pid = os.fork()
    if pid == 0:
        shut_down_once_full()
    with pytest.raises(holdfast.ShutDown) as caught:
        queue.put_many(range(10))
    os.waitpid(pid, 0)
    assert caught.value.accepted == 3  # type: ignore[attr-defined]


def test_pipe_without_shared_memory_sends_through_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def _pack(self, *_: object) -> None:
            msg = "no space"
            raise ArenaFull(msg)

    reading, writing = holdfast.Pipe()
    monkeypatch.setattr(writing, "_parcel", Full())
    with reading, writing:
        writing.send([b"x" * 1000])
        assert reading.recv() == [b"x" * 1000]
    assert ArenaFull.code == pipes._FULL


HOLDERS_OF_VIEWS = """
import os, sys, holdfast
queue = holdfast.Queue()
for end in ("exit", "_exit", "kill"):
    queue.put(bytes(40 << 20))
    def hold():
        global view
        view = queue.get(copy=False)
        if end == "_exit":
            os._exit(0)
        if end == "kill":
            os.kill(os.getpid(), 9)
    child = holdfast.Process(target=hold)
    child.start()
    child.join()
queue.put(bytes(40 << 20))
print(queue.qsize())
"""


def test_queue_views_of_ended_processes_make_room_for_the_next_put(tmp_path: Path) -> None:
    home = tmp_path / "arenas"
    home.mkdir(mode=0o700)
    if not can_mount(home):
        pytest.skip("this user may not mount a file system")
    before = mounted(home, "size=64m,mode=700")
    code, out, err = run_code(HOLDERS_OF_VIEWS, environment={"HOLDFAST_DIR": str(home)}, before=before)
    assert (code, out) == (0, "1"), err
