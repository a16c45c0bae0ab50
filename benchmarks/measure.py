"""How things are timed: calibrated loops, a pinned CPU, medians over rounds that take turns. Nothing is subtracted."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PART = 0.03  # seconds that one calibrated loop should take

Loop = Callable[[int], None]


def per_call(loop: Loop, *, part: float = PART) -> float:
    """Return nanoseconds for each turn of a loop: the best of three calibrated runs."""
    count = 32
    while (taken := timed(loop, count)) < part / 4:
        count *= 4
    count = max(1, int(count * part / taken))
    return min(timed(loop, count) for _ in range(3)) / count * 1e9


def timed(loop: Loop, count: int) -> float:
    """Return seconds that ``count`` turns take."""
    began = time.perf_counter()
    loop(count)
    return time.perf_counter() - began


def cpus() -> list[int]:
    """Return the CPUs this process may use."""
    return sorted(os.sched_getaffinity(0))


@contextmanager
def pinned(cpu: int | None = None) -> Iterator[None]:
    """Stay on one CPU (the last one unless named): no migrations within a measurement."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpus()[-1] if cpu is None else cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def end(pid: int) -> None:
    """Wait for a forked child.

    Raises:
        ChildProcessError: it did not end well.
    """
    _pid, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        message = f"a child ended with status {status}"
        raise ChildProcessError(message)


def child(work: Callable[[], None]) -> int:
    """Fork a child that does some work and ends; return its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  (the child must not return into its parent's code)
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid
