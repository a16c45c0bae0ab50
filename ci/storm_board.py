"""The kill storm's notice board: one anonymous shared mapping of 64-bit words that survives every worker.

    row of worker w:  the columns below, then INSIDE[lock] (0, or the number of the section w is in), then its latencies
    after the rows:    STOP, KILLED_AT[lock]

Every word has one writer: the worker of the row, or the supervisor. So no word needs an atomic operation.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

PID, STATE, PROTECTED, DOOMED, ERRORS, TIMEOUTS, FOREIGN, RECOVERED, OPERATIONS, REQUEST, SAMPLES, COLUMNS = range(12)
STARTING, RUNNING, WAITING, PARKED = range(4)
KEPT = 512  # samples of a worker between two collections
PF_EXITING = 0x4  # include/linux/sched.h: the process is past its last user instruction


class Board:
    """Words shared by the supervisor and its workers."""

    def __init__(self, workers: int, locks: int) -> None:
        self.workers, self.locks = workers, locks
        self.row = COLUMNS + locks + KEPT
        self.stop_at = workers * self.row
        self.killed_at = self.stop_at + 1
        self.words = memoryview(mmap.mmap(-1, (self.killed_at + locks) * 8)).cast("q")

    def get(self, worker: int, column: int) -> int:
        """Return a word of a worker's row."""
        return self.words[worker * self.row + column]

    def put(self, worker: int, column: int, value: int) -> None:
        """Set a word of a worker's row."""
        self.words[worker * self.row + column] = value

    def count(self, worker: int, column: int) -> None:
        """Add one to a word of the caller's own row."""
        self.words[worker * self.row + column] += 1

    def total(self, column: int) -> int:
        """Return the sum of a column."""
        return sum(self.get(worker, column) for worker in range(self.workers))

    @property
    def stop(self) -> bool:
        """Whether nobody may start anything new."""
        return self.words[self.stop_at] != 0

    @stop.setter
    def stop(self, value: bool) -> None:
        self.words[self.stop_at] = int(value)

    def inside(self, worker: int, lock: int) -> int:
        """Return the number of the section of ``lock`` that a worker is in; 0 outside, negative for a reader."""
        return self.words[worker * self.row + COLUMNS + lock]

    def enter(self, worker: int, lock: int, section: int) -> None:
        """Say that the caller is inside a section (0: outside again)."""
        self.words[worker * self.row + COLUMNS + lock] = section

    def clear(self, worker: int) -> None:
        """Forget a dead worker's sections, requests and state."""
        for column in (PROTECTED, DOOMED, REQUEST):
            self.put(worker, column, 0)
        self.put(worker, STATE, STARTING)
        for lock in range(self.locks):
            self.enter(worker, lock, 0)

    def sample(self, worker: int, nanoseconds: int) -> None:
        """Keep one latency of the caller."""
        number = self.get(worker, SAMPLES)
        if number < KEPT:
            self.words[worker * self.row + COLUMNS + self.locks + number] = nanoseconds
            self.put(worker, SAMPLES, number + 1)

    def collect(self, worker: int) -> list[int]:
        """Take a worker's latencies; call it only while that worker is parked or dead."""
        begin = worker * self.row + COLUMNS + self.locks
        found = list(self.words[begin : begin + self.get(worker, SAMPLES)])
        self.put(worker, SAMPLES, 0)
        return found

    def really_inside(self, worker: int, lock: int) -> int:
        """Return the section a worker is in if that worker can still run user code, else 0.

        The section is read before and after the look at the process: only who was inside all the while counts.
        """
        section = self.inside(worker, lock)
        if section == 0 or not can_run(self.get(worker, PID)):
            return 0
        return section if self.inside(worker, lock) == section else 0


def can_run(pid: int) -> bool:
    """Return whether a process exists and has not begun to exit."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and not int(fields[6]) & PF_EXITING


def fence() -> None:
    """Let this core's stores become visible before its next loads: a system call is more than enough."""
    os.sched_yield()
