"""Kill storm over a pool: 20,000 tasks, a random worker killed every 50 ms.

    python ci/pool_storm.py [TASKS] [START_METHOD] [CHUNK]

Every task must have a result or a ``WorkerDied``, and none may run twice. Exit code: 0 all well, 1 not.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import holdfast
from holdfast.errors import WorkerDied

PERIOD = 0.05  # seconds between two kills


def task(argument: tuple[Any, int, float]) -> int:
    """Note that it runs, and work a little."""
    runs, index, seconds = argument
    runs[index] += 1  # nobody else has this element
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return index


def kill_now_and_then(pool: Any, over: threading.Event, kills: Counter[str]) -> None:
    """Kill a random worker every period until it is over."""
    while not over.wait(PERIOD):
        with suppress(IndexError, OSError, AttributeError):
            os.kill(random.choice(pool._pool).pid, signal.SIGKILL)  # noqa: SLF001 - the victims
            kills["killed"] += 1


def storm(tasks: int, method: str, chunk: int) -> int:
    """Run the storm; return how many tasks are neither done nor known to be lost, or ran twice."""
    context = holdfast.get_context(method)
    runs = context.RawArray("b", tasks)
    over, kills, wrong = threading.Event(), Counter[str](), 0
    outcomes: Counter[str] = Counter()
    with context.Pool(4) as pool:
        killer = threading.Thread(target=kill_now_and_then, args=(pool, over, kills))
        killer.start()
        results = pool.imap(task, ((runs, index, random.random() / 2000) for index in range(tasks)), chunk)
        for index in range(tasks):
            try:
                found = next(results)
            except WorkerDied as error:
                outcomes["died"] += 1
                wrong += error.task != index
            else:
                outcomes["done"] += 1
                wrong += found != index or runs[index] != 1
        over.set()
        killer.join()
    twice = sum(1 for count in runs if count > 1)
    print(f"{method}: {tasks} tasks in chunks of {chunk}, {kills['killed']} kills, {dict(outcomes)}, twice {twice}")
    return wrong + twice + (outcomes["done"] + outcomes["died"] != tasks)


def main() -> int:
    """Run the command."""
    given = sys.argv[1:]
    tasks = int(given[0]) if given else 20_000
    methods = given[1:2] or ["fork", "spawn", "forkserver"]
    chunks = [int(given[2])] if len(given) > 2 else [1, 50]
    return 1 if sum(storm(tasks, method, chunk) for method in methods for chunk in chunks) else 0


if __name__ == "__main__":
    sys.exit(main())
