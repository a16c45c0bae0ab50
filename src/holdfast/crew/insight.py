"""What a pool tells about its work: counts, where the workers' time went, and the slowest tasks.

Counts are kept by the parent as results come in. Times are read from the workers' ledgers when somebody asks; those of
a worker that has ended are added to its seat's.
"""

from __future__ import annotations

import time

from holdfast._records import NamedTuple
from holdfast.crew import deaths, timesheet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from holdfast.crew.plan import Batch

__all__ = ["Insight", "Insights", "PoolStats", "SeatTimes", "SlowTask"]

_SLOWEST = 5
_HEADS = ("seat", "pid", "workers", "tasks", "starting", "waiting", "working", "sending")


class PoolStats(NamedTuple):
    """A pool or an executor at one moment; counts are of tasks, from its start on, unless said otherwise.

    Attributes:
        workers: that there are now.
        waiting: accepted, and not being worked on.
        running: being worked on: one a worker that has something to do.
        done: with a result.
        failed: that raised, could not be pickled, were stopped, or died with their worker.
        retried: runs of tasks that failed and were given again, for ``retries=``.
        deaths: workers that ended before they were told to; those that were stopped to stop a task, too.
    """

    workers: int
    waiting: int
    running: int
    done: int
    failed: int
    retried: int
    deaths: int


class SeatTimes(NamedTuple):
    """The time of all workers that had one seat, in seconds.

    Attributes:
        seat: from 0; None in the sum of all.
        pid: of the worker that has it, or had it last; None in the sum.
        workers: how many have had it: one, and one more for each that was replaced.
        tasks: that they have brought to an end.
        starting: until they were ready, with the initializer.
        waiting: for tasks.
        working: on tasks; with unpickling their arguments and pickling their results.
        sending: results; for threads: in callbacks.
    """

    seat: int | None
    pid: int | None
    workers: int
    tasks: int
    starting: float
    waiting: float
    working: float
    sending: float


class SlowTask(NamedTuple):
    """One of the slowest tasks.

    Attributes:
        seconds: how long it took.
        function: its name.
        task: its number within its call.
        arguments: shortened.
    """

    seconds: float
    function: str
    task: int
    arguments: str


class Insights(NamedTuple):
    """Where the workers' time went; ``str()`` makes a table of it.

    Attributes:
        seats: one a seat, in order.
        slowest: at most five, the slowest one first.
    """

    seats: tuple[SeatTimes, ...]
    slowest: tuple[SlowTask, ...]

    @property
    def total(self) -> SeatTimes:
        """The sum of all seats."""
        sums = [sum(column) for column in list(zip(*self.seats, strict=True))[2:]] or [0] * 6
        return SeatTimes(None, None, int(sums[0]), int(sums[1]), *sums[2:])

    def __str__(self) -> str:
        rows = [_HEADS, *(_cells(seat) for seat in self.seats), _cells(self.total), _shares(self.total)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
        if self.slowest:
            lines.append("slowest tasks")
        width = max((len(f"{each.seconds:.3f}") for each in self.slowest), default=0)
        lines += [f"{seconds:{width}.3f} s  task {task}: {name}{args}" for seconds, name, task, args in self.slowest]
        return "\n".join(lines)


def _cells(row: SeatTimes) -> tuple[str, ...]:
    seat = "all" if row.seat is None else str(row.seat)
    pid = "" if row.pid is None else str(row.pid)
    return (seat, pid, str(row.workers), str(row.tasks), *(f"{each:.3f} s" for each in row[4:]))


def _shares(total: SeatTimes) -> tuple[str, ...]:
    whole = sum(total[4:]) or 1.0
    return ("", "", "", "", *(f"{each / whole:.0%}" for each in total[4:]))


class _Seat:
    """What is known of the workers that had a seat."""

    __slots__ = ("pid", "sums", "tasks", "workers")

    def __init__(self) -> None:
        self.pid = self.workers = self.tasks = 0
        self.sums: tuple[float, ...] = (0.0,) * 4  # of those that have ended

    def times(self, seat: int, now: tuple[float, ...] | None) -> SeatTimes:
        starting, waiting, working, sending = _added(self.sums, now)
        return SeatTimes(seat, self.pid, self.workers, self.tasks, starting, waiting, working, sending)


def _added(one: tuple[float, ...], other: tuple[float, ...] | None) -> tuple[float, ...]:
    return one if other is None else tuple(map(sum, zip(one, other, strict=True)))


class Insight:
    """The parent's notes, under the crew's lock."""

    def __init__(self) -> None:
        self.done = self.failed = self.retried = self.deaths = 0
        self._seats: dict[int, _Seat] = {}
        self._slowest: list[SlowTask] = []
        self.floor = -1.0  # seconds that a task must have taken to be among the slowest

    def started(self, seat: int, pid: int) -> None:
        """Note that a worker was started."""
        entry = self._seats.setdefault(seat, _Seat())
        entry.pid, entry.workers = pid, entry.workers + 1

    def took(self, seat: int, count: int) -> None:
        """Note that so many results have come, as successes for the moment (see `failing`)."""
        self.done += count
        self._seats[seat].tasks += count

    def failing(self, *, again: bool) -> None:
        """Note that one of those results was an exception; `again`: its task is given again."""
        self.done -= 1
        if again:
            self.retried += 1
        else:
            self.failed += 1

    def lost(self, *, again: bool) -> None:
        """Note that a task failed that brought no result; `again`: it is given again."""
        if again:
            self.retried += 1
        else:
            self.failed += 1

    def ended(self, seat: int, words: Sequence[int], *, in_order: bool) -> None:
        """Note that a worker has ended, and keep its sums."""
        entry = self._seats[seat]
        entry.sums = _added(entry.sums, timesheet.read(words, time.monotonic_ns()))
        if not in_order:
            self.deaths += 1

    def note(self, batch: Batch, at: int, longest: float) -> None:
        """Note a task that took long; not under the lock, since it calls the ``repr`` of arguments.

        Args:
            batch: that it is in.
            at: where.
            longest: its seconds.
        """
        job = batch.job
        arguments = deaths.shown_call(job.call, batch.values[at])
        slow = SlowTask(longest, job.name, job.number(batch.start + at), arguments)
        self._slowest = sorted([*self._slowest, slow], key=_seconds, reverse=True)[:_SLOWEST]
        if len(self._slowest) == _SLOWEST:
            self.floor = self._slowest[-1].seconds

    def insights(self, present: Iterable[tuple[int, Any]]) -> Insights:
        """All of it.

        Args:
            present: seats that are taken, with the words of the workers' ledgers.
        """
        now = time.monotonic_ns()
        live = {seat: timesheet.read(words, now) for seat, words in present}
        seats = sorted(self._seats.items())
        return Insights(tuple(entry.times(seat, live.get(seat)) for seat, entry in seats), tuple(self._slowest))


def _seconds(task: SlowTask) -> float:
    return task.seconds
