"""What locks and queues cost on this machine: a small comparison of those that are installed.

Contenders take turns in rounds, and the median counts, so that a busy moment of the machine does not choose the winner.
Ratios of one run can be compared; single figures, and other machines, cannot. Each contender does the same work: for
locks, taking and giving back a free one; for queues, numbers from one process to another, and a number there and back.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["Row", "describe", "locks", "queues"]

_PART = 0.02  # seconds that one measurement takes, about
_context = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Row:
    """One figure: whose, of what, in which unit, and what one should know."""

    name: str
    work: str
    figure: float
    unit: str
    note: str


@dataclass(frozen=True)
class _Lock:
    """A lock to be measured: its name, how to make it, and what becomes of it when its holder is killed."""

    name: str
    make: Callable[[], Any]
    killed: str


def _manager(module: str) -> Any:  # noqa: ANN401 - a manager
    from importlib import import_module  # noqa: PLC0415 - what is compared is imported when it is needed

    manager: Any = import_module(module).SyncManager(ctx=_context)
    manager.start()
    return manager


def _holdfast_lock() -> Any:  # noqa: ANN401 - a lock
    from holdfast.synchronize import Lock  # noqa: PLC0415 - as above

    return Lock()


def _thread_lock() -> Any:  # noqa: ANN401 - as above
    import threading  # noqa: PLC0415 - as above

    return threading.Lock()


def _file_lock(folder: str) -> Any:  # noqa: ANN401 - as above
    import filelock  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - as above

    return filelock.FileLock(os.path.join(folder, "lock"))  # noqa: PTH118 - one path


def _lock_contenders(folder: str, managers: list[Any]) -> Iterator[_Lock]:
    """All locks that are installed."""
    for module, killed in (("holdfast.managers", "next one is told"), ("multiprocessing.managers", "hangs")):
        managers.append(_manager(module))
        package = module.partition(".")[0]
        yield _Lock(f"{package}.Manager().Lock()", managers[-1].Lock, killed)
    yield _Lock("holdfast.Lock", _holdfast_lock, "next one is told")
    yield _Lock("multiprocessing.Lock", _context.Lock, "hangs")
    yield _Lock("threading.Lock", _thread_lock, "(one process only)")
    yield _Lock("filelock.FileLock", lambda: _file_lock(folder), "free, nobody is told")


def locks(rounds: int) -> list[Row]:
    """Measure locks.

    Args:
        rounds: how often each is measured.

    Returns:
        Nanoseconds of taking and giving back, the fastest first.
    """
    import tempfile  # noqa: PLC0415 - as above

    managers: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            found: dict[_Lock, list[float]] = {}
            for each in _lock_contenders(folder, managers):
                try:
                    each.make()
                except ImportError:  # not installed
                    continue
                found[each] = []
            for _ in range(rounds):
                for each, figures in found.items():
                    figures.append(_alone(each.make) * 1e9)
        finally:
            for manager in managers:
                manager.shutdown()
    rows = [
        Row(each.name, "taken and given back", statistics.median(figures), "ns", each.killed)
        for each, figures in found.items()
    ]
    return sorted(rows, key=lambda row: row.figure)


def _alone(make: Callable[[], Any]) -> float:
    """What a fresh process measures: there the interpreter has not yet adapted the loop to another contender."""
    receives, sends = os.pipe()
    process: Any = _context.Process(target=lambda: os.write(sends, repr(_pair(make())).encode()))
    process.start()
    os.close(sends)
    with open(receives, encoding="ascii") as answer:  # noqa: PTH123 - a descriptor
        figure = float(answer.read())
    process.join()
    return figure


def _pair(lock: Any) -> float:  # noqa: ANN401 - as above
    """Seconds of one acquire() and release()."""
    acquire, release = lock.acquire, lock.release

    def turns(count: int) -> float:
        began = perf_counter()
        for _ in range(count):
            acquire()
            release()
        return perf_counter() - began

    count = 10
    while turns(count) < _PART / 4:
        count *= 4
    return min(turns(count) for _ in range(3)) / count


@dataclass(frozen=True)
class _Channel:
    """Something between two processes: how to make one, and its two functions."""

    name: str
    make: Callable[[], tuple[Callable[[Any], Any], Callable[[], Any]]]
    note: str


def _of_queue(make: Callable[[], Any]) -> Callable[[], tuple[Callable[[Any], Any], Callable[[], Any]]]:
    def both() -> tuple[Callable[[Any], Any], Callable[[], Any]]:
        queue = make()
        return queue.put, queue.get

    return both


def _of_pipe(make: Callable[..., Any]) -> Callable[[], tuple[Callable[[Any], Any], Callable[[], Any]]]:
    def both() -> tuple[Callable[[Any], Any], Callable[[], Any]]:
        receives, sends = make(False)
        return sends.send, receives.recv

    return both


def _channels(managers: list[Any]) -> list[_Channel]:
    """All queues and pipes that are compared."""
    from holdfast.pipes import Pipe  # noqa: PLC0415 - as above
    from holdfast.queues import Queue  # noqa: PLC0415 - as above

    managers.append(_manager("multiprocessing.managers"))
    return [
        _Channel("holdfast.Queue", _of_queue(Queue), "any number of processes; outlives its producer"),
        _Channel("holdfast.Pipe", _of_pipe(Pipe), "two processes; can be waited for with select"),
        _Channel("multiprocessing.Queue", _of_queue(_context.Queue), "any number; a killed reader may block all"),
        _Channel("multiprocessing.SimpleQueue", _of_queue(_context.SimpleQueue), "any number; likewise"),
        _Channel("multiprocessing.Pipe", _of_pipe(_context.Pipe), "two processes"),
        _Channel("multiprocessing.Manager().Queue()", _of_queue(managers[-1].Queue), "any number; by way of a server"),
    ]


def queues(rounds: int) -> list[Row]:
    """Measure queues and pipes.

    Args:
        rounds: how often each is measured.

    Returns:
        Items a second from one process to another, the fastest first; then microseconds of a round trip.
    """
    managers: list[Any] = []
    try:
        channels = _channels(managers)
        rates: dict[_Channel, list[float]] = {each: [] for each in channels}
        trips: dict[_Channel, list[float]] = {each: [] for each in channels}
        for _ in range(rounds):
            for each in channels:
                trip = _round_trip(each)
                trips[each].append(trip * 1e6)
                rates[each].append(_rate(each, max(100, min(20_000, int(8 * _PART / trip)))))
    finally:
        for manager in managers:
            manager.shutdown()
    one_way = [Row(c.name, "one way", statistics.median(rates[c]), "items/s", c.note) for c in channels]
    there_and_back = [Row(c.name, "there and back", statistics.median(trips[c]), "us", c.note) for c in channels]
    one_way.sort(key=lambda row: -row.figure)
    return one_way + sorted(there_and_back, key=lambda row: row.figure)


def _rate(channel: _Channel, count: int) -> float:
    """Items a second, from the word to begin to the last that arrives."""
    put, get = channel.make()
    begins, begin = os.pipe()

    def produce() -> None:
        os.read(begins, 1)
        for number in range(count):
            put(number)

    process: Any = _context.Process(target=produce)
    process.start()
    began = perf_counter()
    os.write(begin, b"!")
    for _ in range(count):
        get()
    taken = perf_counter() - began
    process.join()
    os.close(begins)
    os.close(begin)
    return count / taken


def _round_trip(channel: _Channel) -> float:
    """Seconds of a number to another process and back."""
    trips = 200
    put, there = channel.make()
    back, get = channel.make()

    def echo() -> None:
        for _ in range(trips):
            back(there())

    process: Any = _context.Process(target=echo)
    process.start()
    put(0)
    get()
    began = perf_counter()
    for _ in range(trips - 1):
        put(0)
        get()
    taken = perf_counter() - began
    process.join()
    return taken / (trips - 1)


def describe() -> str:
    """Where this was measured, in one line."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f}"
