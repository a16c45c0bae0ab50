"""Scenarios of queues: messages a second, round trips, and how soon a sleeping consumer has its message.

    parent ──fork──> consumers: waiting, get ... end, when
           ──fork──> producers: ready, go!, when, put ... done, leave!

    waiting, ready, done: pipes to the parent; go, leave: from the parent; a byte for each child

The clock runs from the first put to the last get; all are forked and all consumers wait before it starts.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import signal
import statistics
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import rivals_queue as rivals
from measure import child, cpus, end
from rivals_queue import Channel, Kind
from scenarios_two import shared_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scenarios_one import Result

SPAN = 0.4  # seconds that one calibrated run should take
CALIBRATIONS = 5
SETTLE = 0.02  # seconds in which waiting consumers go to sleep; not part of any measurement
LONGEST = 60  # seconds after which a child is ended: a queue that hangs must not hang the benchmarks
WAKE_UPS = 200
PAUSE = 0.002  # seconds between two wake-ups


def small_int() -> int:
    """Five bytes when pickled."""
    return 7


def small_dict() -> dict[str, Any]:
    """About a hundred bytes when pickled."""
    return {"id": 123_456, "name": "worker-17", "done": True, "values": [1.5, 2.5, 3.5], "note": "a few words of text"}


def noise(size: int) -> bytes:
    """The same bytes in every process."""
    return random.Random(size).randbytes(size)


def array() -> Any:
    """A million floats: 8 MiB."""
    import numpy as np

    return np.arange(1024 * 1024, dtype=np.float64)


INTS = Kind("ints", small_int, len(pickle.dumps(7)))
DICTS = Kind("dicts", small_dict, len(pickle.dumps(small_dict())))
MIDDLE = Kind("10 KB bytes", lambda: noise(10_000), 10_000, bound=128, trial=500)
BIG = Kind("1 MiB bytes", lambda: noise(1 << 20), 1 << 20, bound=8, trial=100)
ARRAYS = Kind("8 MiB arrays", array, 8 << 20, bound=8, trial=30)


class Pipes:
    """Pipes with a byte for each event; a wait ends with an error when all that could write have ended."""

    def __init__(self, *, threads: bool) -> None:
        self.waiting, self.ready, self.done = os.pipe(), os.pipe(), os.pipe()
        self.go, self.leave = os.pipe(), os.pipe()
        self.threads = threads
        self.open = {*self.waiting, *self.ready, *self.done, *self.go, *self.leave}

    def forked(self, *pipes: tuple[int, int]) -> None:
        """Close the writing ends in the parent: from now on they are the children's alone."""
        if not self.threads:
            for _reading, writing in pipes:
                os.close(writing)
                self.open.remove(writing)

    def wait(self, pipe: tuple[int, int], count: int) -> None:
        """Wait for so many bytes.

        Raises:
            ChildProcessError: no child is left that could write them.
        """
        while count:
            found = len(os.read(pipe[0], count))
            if found == 0:
                message = "a child ended too early"
                raise ChildProcessError(message)
            count -= found

    def close(self) -> None:
        """Close all that is open."""
        for one in self.open:
            os.close(one)


def started(work: Callable[[], None], *, threads: bool) -> Callable[[], None]:
    """Run work in a forked child, or a thread; return what waits for its end."""
    if threads:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread.join

    def limited() -> None:
        signal.alarm(LONGEST)
        work()

    pid = child(limited)
    return lambda: end(pid)


def once(channel: Channel, kind: Kind, count: int, producers: int, consumers: int, *, compare: bool = False) -> float:
    """Return messages a second when every producer puts ``count`` of them.

    Raises:
        ChildProcessError: not all of them arrived, or not as they were.
    """
    words = shared_words(producers + 2 * consumers)
    pipes = Pipes(threads=channel.threads)

    def produce(index: int) -> None:
        loop = channel.producing(kind, count)
        os.write(pipes.ready[1], b"r")
        os.read(pipes.go[0], 1)
        words[16 * index] = time.perf_counter_ns()
        loop()
        if not channel.threads:
            channel.flush()
        os.write(pipes.done[1], b"d")
        os.read(
            pipes.leave[0], 1
        )  # what a socket of ours has sent is lost when it is closed before the other side has it

    def consume(index: int) -> None:
        loop = channel.comparing(kind, index) if compare else channel.consuming(index)
        os.write(pipes.waiting[1], b"w")
        words[16 * (producers + consumers + index)] = loop()
        words[16 * (producers + index)] = time.perf_counter_ns()

    try:
        joins = [started(partial(consume, index), threads=channel.threads) for index in range(consumers)]
        pipes.forked(pipes.waiting)
        pipes.wait(pipes.waiting, consumers)
        joins += [started(partial(produce, index), threads=channel.threads) for index in range(producers)]
        pipes.forked(pipes.ready, pipes.done)
        pipes.wait(pipes.ready, producers)
        time.sleep(SETTLE)
        os.write(pipes.go[1], b"g" * producers)
        pipes.wait(pipes.done, producers)
        channel.end(consumers)
        for join in joins[:consumers]:
            join()
        os.write(pipes.leave[1], b"l" * producers)
        for join in joins[consumers:]:
            join()
    finally:
        pipes.close()
    arrived = sum(words[16 * (producers + consumers + index)] for index in range(consumers))
    if arrived != count * producers:
        message = f"{arrived} of {count * producers} messages arrived"
        raise ChildProcessError(message)
    began = min(words[16 * index] for index in range(producers))
    ended = max(words[16 * (producers + index)] for index in range(consumers))
    return count * producers / (ended - began) * 1e9


def rate(name: str, kind: Kind, producers: int = 1, consumers: int = 1) -> float:
    """Return messages a second of a rival, of the first run that takes at least half of ``SPAN``.

    A first run compares what arrives. How many messages the next one has follows from the one before: short runs are
    slow where memory is new, so that it takes several to come to the length.
    """
    found = once(rivals.make(name, kind, producers, consumers), kind, kind.trial, producers, consumers, compare=True)
    for _ in range(CALIBRATIONS):
        count = max(kind.trial, int(found * SPAN / producers))
        if name.endswith("many"):
            count = (count + 99) // 100 * 100
        found = once(rivals.make(name, kind, producers, consumers), kind, count, producers, consumers)
        if count * producers / found >= SPAN / 2:
            break
    return found


@contextmanager
def forgiven(name: str) -> Iterator[None]:
    """Go on with the next rival when one has broken down, with a word on stderr."""
    try:
        yield
    except (ChildProcessError, BrokenPipeError) as problem:
        print(f"failed: {name} ({problem})", file=sys.stderr)


def throughput(names: list[str], kind: Kind, producers: int = 1, consumers: int = 1) -> Callable[[], Iterator[Result]]:
    """Return the scenario of so many producers and consumers of one kind of message."""

    def scenario() -> Iterator[Result]:
        if kind is ARRAYS:
            try:
                array()
            except ImportError as problem:
                print(f"left out: arrays ({problem})", file=sys.stderr)
                return
        for name in rivals.available(names, kind):
            with forgiven(name):
                yield name, rate(name, kind, producers, consumers)

    return scenario


def crowd() -> Iterator[Result]:
    """Eight producers and eight consumers of ints, and ours with two and two to compare with."""
    yield from throughput([rivals.OURS, rivals.STANDARD], INTS, 8, 8)()
    yield f"{rivals.OURS}, 2 + 2", rate(rivals.OURS, INTS, 2, 2)


def trips(name: str, where: str) -> float:
    """Return round trips of an int a second, with one queue for each direction."""
    allowed = cpus()
    here, there = {
        "same core": ({allowed[-1]}, {allowed[-1]}),
        "two cores": ({allowed[-1]}, {allowed[0]}),
        "not pinned": (set(allowed), set(allowed)),
    }[where]
    out, back = rivals.make(name, INTS), rivals.make(name, INTS)

    def answer() -> None:
        if not out.threads:
            os.sched_setaffinity(0, there)
        put, get = back.sender(), out.receiver()
        while (item := get()) is not None:
            put(item)
        back.flush()

    join = started(answer, threads=out.threads)
    os.sched_setaffinity(0, here)
    try:
        put, get = out.sender(), back.receiver()

        def loop(count: int) -> float:
            began = time.perf_counter()
            for _ in range(count):
                put(7)
                get()
            return count / (time.perf_counter() - began)

        put(8)
        answered = get()
        if name != rivals.RING and answered != 8:
            message = f"{answered!r} came back"
            raise ChildProcessError(message)
        found = loop(max(500, int(loop(500) * SPAN)))
        put(None)
        out.flush()
    finally:
        os.sched_setaffinity(0, set(allowed))
    join()
    for channel in (out, back):
        channel.end(0)
    return found


def round_trips(names: list[str], where: str) -> Callable[[], Iterator[Result]]:
    """Return the scenario of round trips: both on one core, on two, or where the kernel puts them."""

    def scenario() -> Iterator[Result]:
        for name in rivals.available(names, INTS):
            with forgiven(name):
                yield name, trips(name, where)

    return scenario


def blocking(queue: Any, note: Callable[[int], None]) -> None:
    """A consumer that sleeps in ``get()``."""
    for _ in range(WAKE_UPS):
        note(queue.get())


def awaiting(queue: Any, note: Callable[[int], None]) -> None:
    """A consumer that awaits ``get_async()``."""

    async def consume() -> None:
        for _ in range(WAKE_UPS):
            note(await queue.get_async())

    asyncio.run(consume())


def in_a_thread(queue: Any, note: Callable[[int], None]) -> None:
    """A consumer that awaits ``get()`` in a thread: what asyncio programs do with multiprocessing's queues."""

    async def consume() -> None:
        for _ in range(WAKE_UPS):
            note(await asyncio.to_thread(queue.get))

    asyncio.run(consume())


def wake_up(channel: Channel, consume: Callable[[Any, Callable[[int], None]], None]) -> float:
    """Return the median of microseconds from just before ``put()`` to the return of the sleeping consumer's get."""
    words = shared_words(1)

    def work() -> None:
        taken: list[int] = []
        consume(channel.queue, lambda sent: taken.append(time.perf_counter_ns() - sent))
        words[0] = int(statistics.median(taken[WAKE_UPS // 10 :]))

    join = started(work, threads=False)
    put = channel.sender()
    for _ in range(WAKE_UPS):
        time.sleep(PAUSE)
        put(time.perf_counter_ns())
    channel.flush()
    join()
    return words[0] / 1e3


def wake_ups() -> Iterator[Result]:
    """``get_async()`` against a blocking ``get()``, ours and multiprocessing's."""
    for who, name, consume in (
        ("holdfast.Queue.get", rivals.OURS, blocking),
        ("holdfast.Queue.get_async", rivals.OURS, awaiting),
        ("multiprocessing.Queue.get", rivals.STANDARD, blocking),
        ("multiprocessing.Queue.get in a thread", rivals.STANDARD, in_a_thread),
    ):
        with forgiven(who):
            yield who, wake_up(rivals.make(name, INTS), consume)
