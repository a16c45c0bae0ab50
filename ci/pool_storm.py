"""Kill storm over pools and executors: 20,000 tasks; with fork, a random worker is killed every 50 ms.

    python ci/pool_storm.py [TASKS] [START_METHOD] [FRONT] [CHUNK]

Every task must have a result or a ``WorkerDied`` that names it, and none may run twice: each counts its runs in shared
memory. Of a ``map``, which has one error for all its tasks, the count alone tells. Exit code: 0 all well, 1 not.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import holdfast
from holdfast.errors import WorkerDied
from holdfast.futures import ProcessExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PERIODS = {"fork": 0.05, "spawn": 0.4, "forkserver": 0.15}  # seconds between two kills: some workers must get to start
WORKERS = 4
BIG, EVERY = 1 << 20, 40  # bytes in the result of one task in so many
PIECE = 500  # tasks of one map()
FRONTS = {"imap": (1, 50), "imap_unordered": (1, 50), "map": (1, 25), "submit": (1,)}  # and chunks

Outcome = tuple[int, bool]  # a task's number, and whether it has a result


def task(argument: tuple[Any, int, float]) -> tuple[int, bytes]:
    """Note that it runs, work a little, and return its number; now and then with what takes long to send."""
    runs, index, seconds = argument
    runs[index] += 1  # nobody else has this element
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return index, payload(index)


def payload(index: int) -> bytes:
    """What comes with a result."""
    return bytes([index % 256]) * (BIG if index % EVERY == 0 else 0)


@contextmanager
def killing(period: float, pids: Callable[[], list[int | None]]) -> Iterator[Counter[str]]:
    """Kill a random worker every period; yields the count."""
    over, kills = threading.Event(), Counter[str]()

    def kill() -> None:
        while not over.wait(period):
            with suppress(IndexError, OSError):
                os.kill(random.choice([pid for pid in pids() if pid is not None]), signal.SIGKILL)
                kills["killed"] += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield kills
    finally:
        over.set()
        killer.join()


def outcome_of(get: Callable[[], tuple[int, bytes]], index: int | None) -> Outcome:
    """Get a result; `index` is its task's number, if that is known beforehand. A wrong one is nobody's: -1."""
    try:
        found, rest = get()
    except WorkerDied as error:
        dead = error.task if error.task is not None else -1
        return (dead if index is None or index == dead else -1), False
    return (found if (index is None or index == found) and rest == payload(found) else -1), True


def by_iterator(results: Any, tasks: int, *, ordered: bool) -> Iterator[Outcome]:
    """What came of each task of an iterator."""
    for index in range(tasks):
        yield outcome_of(results.next, index if ordered else None)


def by_maps(pool: Any, arguments: list[Any], chunk: int) -> Iterator[Outcome]:
    """What came of each task of several maps; of one with an error, as its tasks' counts say."""
    starts = range(0, len(arguments), PIECE)
    results = [pool.map_async(task, arguments[start : start + PIECE], chunk) for start in starts]
    for start, result in zip(starts, results, strict=True):
        piece = range(start, min(start + PIECE, len(arguments)))
        try:
            found = result.get()
        except WorkerDied as error:
            dead = error.task
            yield from ((index, index - start != dead) for index in piece)
        else:
            yield from (outcome_of(partial(tuple, each), index) for index, each in zip(piece, found, strict=True))


def outcomes(front: str, context: Any, arguments: list[Any], chunk: int) -> tuple[list[Outcome], int]:
    """Do all tasks by a front under fire; what came of each, and the number of kills."""
    tasks, period = len(arguments), PERIODS[context.get_start_method()]
    if front == "submit":
        with ProcessExecutor(WORKERS, context) as executor, killing(period, lambda: list(executor._processes)) as kills:  # noqa: SLF001 - the victims
            futures = [executor.submit(task, argument) for argument in arguments]
            found = [outcome_of(future.result, index) for index, future in enumerate(futures)]
        return found, kills["killed"]
    with context.Pool(WORKERS) as pool, killing(period, lambda: [each.pid for each in pool._pool]) as kills:  # noqa: SLF001 - as above
        if front == "map":
            found = list(by_maps(pool, arguments, chunk))
        else:
            results = getattr(pool, front)(task, iter(arguments), chunk)
            found = list(by_iterator(results, tasks, ordered=front == "imap"))
    return found, kills["killed"]


def storm(tasks: int, method: str, front: str, chunk: int) -> int:
    """Run a storm; return how many tasks are neither done nor known to be lost, or ran twice."""
    context = holdfast.get_context(method)
    runs = context.RawArray("b", tasks)
    found, kills = outcomes(front, context, [(runs, i, random.random() / 2000) for i in range(tasks)], chunk)
    done = {index for index, success in found if success}
    died = {index for index, success in found if not success}
    twice = sum(1 for count in runs if count > 1)
    idle = sum(1 for index in done if runs[index] != 1)
    missing = tasks - len(done | died - {-1}) + len(done & died)
    lost = max(0, idle - kills) if front == "map" else idle  # a map tells one of its tasks that died
    told = f"{len(done)} done, {len(died)} died, {missing} unknown, {twice} twice, {idle} done without a run"
    print(f"{method} {front}, chunks of {chunk}: {tasks} tasks, {kills} kills: {told}", flush=True)
    return missing + twice + lost


def main() -> int:
    """Run the command."""
    given = sys.argv[1:]
    tasks = int(given[0]) if given else 20_000
    methods = given[1:2] or ["fork", "spawn", "forkserver"]
    fronts = {name: FRONTS[name] for name in given[2:3]} or FRONTS
    chunks = [int(chunk) for chunk in given[3:4]]
    bad = [
        storm(tasks, method, front, chunk)
        for method in methods
        for front, usual in fronts.items()
        for chunk in chunks or usual
    ]
    return 1 if sum(bad) else 0


if __name__ == "__main__":
    sys.exit(main())
