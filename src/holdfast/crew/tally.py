"""The parent's notes of a pool's work, of which `insight` is made when somebody asks.

Counts are kept by the parent as results come in. Times are read from the workers' ledgers when somebody asks; those of
a worker that has ended are added to its seat's.
"""

from __future__ import annotations

import time
from operator import itemgetter

from holdfast.crew import deaths, timesheet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from holdfast.crew.insight import Insights, PoolStats, SeatTimes
    from holdfast.crew.plan import Batch

__all__ = ["Tally"]

_SLOWEST = 5


class _Seat:
    """What is known of the workers that had a seat."""

    __slots__ = ("pid", "sums", "tasks", "workers")

    def __init__(self) -> None:
        self.pid = self.workers = self.tasks = 0
        self.sums: tuple[float, ...] = (0.0,) * 4  # of those that have ended

    def times(self, seat: int, now: tuple[float, ...] | None) -> SeatTimes:
        from holdfast.crew.insight import SeatTimes  # noqa: PLC0415 - few ask

        starting, waiting, working, sending = _added(self.sums, now)
        return SeatTimes(seat, self.pid, self.workers, self.tasks, starting, waiting, working, sending)


def _added(one: tuple[float, ...], other: tuple[float, ...] | None) -> tuple[float, ...]:
    return one if other is None else tuple(map(sum, zip(one, other, strict=True)))


class Tally:
    """The parent's notes, under the crew's lock."""

    def __init__(self) -> None:
        self.done = self.failed = self.retried = self.deaths = 0
        self._seats: dict[int, _Seat] = {}
        self._slowest: list[tuple[float, str, int, str]] = []  # as `insight.SlowTask`
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
        slow = (longest, job.name, job.number(batch.start + at), arguments)
        self._slowest = sorted([*self._slowest, slow], key=itemgetter(0), reverse=True)[:_SLOWEST]
        if len(self._slowest) == _SLOWEST:
            self.floor = self._slowest[-1][0]

    def stats(self, workers: int, running: int, outstanding: int) -> PoolStats:
        """Counts.

        Args:
            workers: that there are.
            running: of those, how many have something to do.
            outstanding: tasks that are accepted and not done.
        """
        from holdfast.crew.insight import PoolStats  # noqa: PLC0415 - few ask

        return PoolStats(workers, outstanding - running, running, self.done, self.failed, self.retried, self.deaths)

    def insights(self, present: Iterable[tuple[int, Any]]) -> Insights:
        """All of it.

        Args:
            present: seats that are taken, with the words of the workers' ledgers.
        """
        from holdfast.crew.insight import Insights, SlowTask  # noqa: PLC0415 - few ask

        now = time.monotonic_ns()
        live = {seat: timesheet.read(words, now) for seat, words in present}
        seats = sorted(self._seats.items())
        return Insights(
            tuple(entry.times(seat, live.get(seat)) for seat, entry in seats),
            tuple(SlowTask(*slow) for slow in self._slowest),
        )
