"""What a pool tells about its work: counts, where the workers' time went, and the slowest tasks; `tally` keeps it."""

from __future__ import annotations

from holdfast._records import NamedTuple

__all__ = ["Insights", "PoolStats", "SeatTimes", "SlowTask"]

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
