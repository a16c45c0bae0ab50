"""Scenarios of pools: trivial tasks, tasks of a millisecond, tasks with big arrays, and the time to a first result.

The pools are warm: each has done some tasks before the clock starts, but for the scenarios of cold ones. All results
are compared with what they must be, outside of the clock.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import rivals_pool as rivals
from measure import child, end
from rivals_pool import WORKERS, Rival, same
from scenarios_queue import forgiven

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scenarios_one import Result

TRIVIAL = 20_000
SPAN = 0.5  # seconds for the runs of a short call, of which the median counts
RUNS = 25  # of those at most
LONG, MILLISECOND = 2_000, 0.001
TRIAL = 500  # tasks of a millisecond with which a chunk size is tried
CHUNKS = (1, 5, 25, 125)
ARRAYS, FLOATS = 200, 128 * 1024  # 1 MiB each
ARRAY_CHUNKS = (1, 4, 25, 100)
COLD = 5  # starts of each pool a round
LONGEST = 60  # seconds after which a rival's process is ended: a pool that hangs must not hang the benchmarks
WARM, PAUSE = 50, 0.01  # single calls, and the seconds between them in which the workers go to sleep


def spin(_: int) -> None:
    """A millisecond of this thread's processor time: what others take meanwhile does not count."""
    until = time.thread_time() + MILLISECOND
    while time.thread_time() < until:
        pass


def nap(_: int) -> None:
    """A millisecond, and however long the kernel takes to notice that it is over."""
    time.sleep(MILLISECOND)


def plus_one(array: Any) -> Any:
    """An array in, another one out."""
    return array + 1


def each(names: list[str], measure: Callable[[str, Rival], Iterator[Result]]) -> Iterator[Result]:
    """Measure one rival after the other, each in a forked process of its own: no threads or hooks of others are there.

    One that breaks down is left out, with its traceback on stderr.
    """
    for name in rivals.available(names):
        reading, writing = os.pipe()

        def work(name: str = name, writing: int = writing) -> None:
            signal.alarm(LONGEST)
            rival = rivals.make(name)
            try:
                for result in measure(name, rival):
                    os.write(writing, json.dumps(result).encode() + b"\n")
            finally:
                rival.close()

        try:
            with forgiven(name):
                end(child(work))
            os.set_blocking(reading, False)  # workers of one that broke down may still hold the other end
            with suppress(BlockingIOError):
                for line in os.read(reading, 65_536).splitlines():
                    who, figure = json.loads(line)
                    yield who, figure
        finally:
            os.close(reading)
            os.close(writing)


def timed(call: Callable[[], Any], check: Callable[[Any], object]) -> float:
    """Return the seconds of a call and check what it returned."""
    gc.collect()
    began = time.perf_counter()
    found = call()
    taken = time.perf_counter() - began
    check(found)
    return taken


def trivial(call: Callable[[Callable[[int], int], range], list[int]]) -> float:
    """Return the median of the seconds of a call with trivial tasks: of one run if it is long, of many if short."""

    def check(found: list[int]) -> None:
        assert sorted(found) == list(range(TRIVIAL))

    call(same, range(100))
    found: list[float] = []
    while sum(found) < SPAN and len(found) < RUNS:
        found.append(timed(lambda: call(same, range(TRIVIAL)), check))
    return statistics.median(found)


def nothing(found: Any) -> None:
    """See that tasks that return nothing did so."""
    assert set(found) == {None}


def mapped() -> Iterator[Result]:
    """Microseconds a task, in one ``map`` with default settings."""

    def measure(name: str, rival: Rival) -> Iterator[Result]:
        yield name, trivial(rival.map) / TRIVIAL * 1e6

    return each([*rivals.MINE, *rivals.RIVALS, rivals.THREADS], measure)


def submitted() -> Iterator[Result]:
    """Tasks a second that are handed over one by one."""

    def measure(name: str, rival: Rival) -> Iterator[Result]:
        yield name, TRIVIAL / trivial(rival.submit)

    names = [*rivals.MINE, *rivals.RIVALS, rivals.THREADS]
    return each([name for name in names if name not in (rivals.ONE_LINE, rivals.JOBLIB)], measure)


def unordered() -> Iterator[Result]:
    """Tasks a second through ``imap_unordered`` in chunks of one."""

    def measure(name: str, rival: Rival) -> Iterator[Result]:
        yield name, TRIVIAL / trivial(rival.unordered)

    return each([rivals.OURS, rivals.STANDARD, rivals.MPIRE, rivals.BILLIARD, rivals.THREADS], measure)


def best_chunk(name: str, sizes: tuple[int, ...], seconds: Callable[[int], float]) -> int:
    """Return the chunk size with which a trial takes the least time, with a word on stderr."""
    taken = {size: seconds(size) for size in sizes}
    best = min(taken, key=lambda size: taken[size])
    print(f"{name}: best chunk size {best} of {sizes}", file=sys.stderr)
    return best


def milliseconds(work: Callable[[int], None]) -> Callable[[], Iterator[Result]]:
    """Return the scenario of tasks of a millisecond: the shortest possible time as a percentage of what it took."""

    def measure(name: str, rival: Rival) -> Iterator[Result]:
        def seconds(count: int, chunk: int | None) -> float:
            return timed(lambda: rival.map(work, range(count), chunk), nothing)

        ideal = LONG * MILLISECOND / WORKERS
        seconds(100, None)
        yield name, ideal / seconds(LONG, None) * 100
        if name in rivals.RIVALS:
            chunk = best_chunk(name, CHUNKS, lambda size: seconds(TRIAL, size))
            yield f"{name}, best chunk", ideal / seconds(LONG, chunk) * 100

    return lambda: each([*rivals.MINE, *rivals.RIVALS], measure)


def arrays() -> Iterator[Result]:
    """Tasks a second that take a megabyte and return one; the better of two runs."""
    try:
        import numpy as np
    except ImportError as problem:
        print(f"left out: arrays ({problem})", file=sys.stderr)
        return
    values = [np.full(FLOATS, number, dtype=np.float64) for number in range(ARRAYS)]

    def right(found: list[Any]) -> None:
        assert all((array == number + 1).all() for number, array in enumerate(found))

    def measure(name: str, rival: Rival) -> Iterator[Result]:
        def seconds(chunk: int | None) -> float:
            return min(timed(lambda: rival.map(plus_one, values, chunk), right) for _ in range(2))

        rival.map(plus_one, values[:8])
        yield name, ARRAYS / seconds(None)
        if name in rivals.RIVALS:
            yield f"{name}, best chunk", ARRAYS / seconds(best_chunk(name, ARRAY_CHUNKS, seconds))

    yield from each([*rivals.MINE, *rivals.RIVALS, rivals.THREADS], measure)


def cold(method: str, *, imported: bool) -> Callable[[], Iterator[Result]]:
    """Return the scenario of a first result, each in a new program.

    Milliseconds from making the pool, when its name was imported and a context of its start method asked for, or
    from that import. Packages differ in how much of their work they leave for the moment when a pool is made.
    """
    own = {rivals.LOKY, rivals.JOBLIB, rivals.ONE_LINE}  # these choose by themselves: one as fork, two much as spawn
    names = [name for name in [*rivals.MINE, *rivals.RIVALS] if name not in own]
    names += {"fork": [rivals.ONE_LINE], "spawn": [rivals.LOKY, rivals.JOBLIB]}.get(method, [])
    cached = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as for users

    def once(name: str) -> float:
        command = [sys.executable, rivals.__file__, name, method]
        done = subprocess.run(command, stdout=subprocess.PIPE, env=cached, check=False)
        if done.returncode != 0:
            message = f"exit code {done.returncode}"
            raise ChildProcessError(message)
        making, importing = map(float, done.stdout.split())
        return making if imported else importing

    def scenario() -> Iterator[Result]:
        found: dict[str, list[float]] = {}
        for name in rivals.available(names):
            with forgiven(name):
                once(name)  # the first one may have to compile
                found[name] = []
        for _ in range(COLD):
            for name, taken in found.items():
                taken.append(once(name))
        for name, taken in found.items():
            yield name, statistics.median(taken)

    return scenario


def warm() -> Iterator[Result]:
    """Microseconds of a single call, when the workers have been asleep."""

    def measure(name: str, rival: Rival) -> Iterator[Result]:
        taken = []
        for number in range(WARM):
            time.sleep(PAUSE)
            began = time.perf_counter()
            found = rival.submit(same, [number])
            taken.append(time.perf_counter() - began)
            assert found == [number]
        yield name, statistics.median(taken[WARM // 10 :]) * 1e6

    return each([*rivals.MINE, *rivals.RIVALS, rivals.THREADS], measure)
