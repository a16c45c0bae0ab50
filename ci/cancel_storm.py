"""Kill storm over an executor whose tasks are cancelled and run out of time meanwhile.

    python ci/cancel_storm.py [TASKS] [SEED]

Three workers run small tasks, some a little longer, that travel many in a batch. A random worker is killed every 20 ms,
now and then a task is cancelled, waiting or running; with an odd seed a task that takes longer than 0.2 s is stopped.
Every task must have a result, a ``WorkerDied``, a ``TaskTimeout``, or be cancelled; none may run twice. Exit code:
0, or 1 if something is wrong.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import wait
from contextlib import suppress
from typing import TYPE_CHECKING

import holdfast
from holdfast.errors import TaskTimeout, WorkerDied
from holdfast.futures import ProcessExecutor

if TYPE_CHECKING:
    from concurrent.futures import Future

PERIOD = 0.02  # seconds between two kills
LIMIT = 0.2  # seconds of a task, with an odd seed
LONGEST = 300  # seconds for everything

runs = holdfast.RawArray("B", 1 << 20)


def task(index: int, seconds: float) -> int:
    """Note that it runs, and take some time."""
    runs[index] += 1
    if seconds:
        time.sleep(seconds)
    return index


def kill_now_and_then(executor: ProcessExecutor, over: threading.Event) -> None:
    """Kill a random worker every period until it is over."""
    while not over.wait(PERIOD):
        pids = [pid for pid in executor._processes if pid]  # noqa: SLF001 - the victims
        if pids:
            with suppress(OSError):
                os.kill(random.choice(pids), random.choice([signal.SIGKILL, signal.SIGTERM]))


def duration() -> float:
    """Seconds of a task: most are tiny, one in two thousand runs out of time."""
    return random.choices([0, 0.001, 0.02, 0.5], [97, 2.5, 0.45, 0.05])[0]


def submit(executor: ProcessExecutor, tasks: int) -> list[Future[int]]:
    """Submit them, and cancel one now and then."""
    futures: list[Future[int]] = []
    for index in range(tasks):
        futures.append(executor.submit(task, index, duration()))
        if index % 100 == 0:
            random.choice(futures[-400:]).cancel()
    return futures


def outcome(index: int, future: Future[int]) -> str:
    """What became of a task, "wrong: ..." if that may not be."""
    if not future.done():
        return "wrong: not done"
    if runs[index] > 1:
        return "wrong: ran twice"
    if future.cancelled():
        return "cancelled"
    error = future.exception()
    if error is None:
        return "done" if future.result() == index and runs[index] == 1 else "wrong: did not run"
    known = [kind.__name__ for kind in (WorkerDied, TaskTimeout) if isinstance(error, kind)]
    return known[0] if known else f"wrong: {error!r}"


def main() -> int:
    """Run it once."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    random.seed(seed)
    over = threading.Event()
    timeout = LIMIT if seed % 2 else None
    with ProcessExecutor(3, holdfast.get_context("fork"), timeout=timeout) as executor:
        killer = threading.Thread(target=kill_now_and_then, args=(executor, over))
        killer.start()
        futures = submit(executor, tasks)
        wait(futures, LONGEST)
        over.set()
        killer.join()
        counts = Counter(outcome(index, future) for index, future in enumerate(futures))
        deaths = executor.stats().deaths
    print(f"seed {seed}: {deaths} deaths, {dict(counts)}")
    return int(any(name.startswith("wrong") for name in counts))


if __name__ == "__main__":
    sys.exit(main())
