"""Who is given what, and when: the part of a crew that hands batches out and takes back what waits in vain.

A caller's thread changes what there is to do within `Giving._change`: under the lock, out of reach of a Ctrl-C, and at
the end the pump is woken if it now has to look around sooner than it meant to.

A worker is stuck while the task that it runs takes long. What waits behind that task, in its queue or unclaimed in the
batch, is taken back: at once if somebody is idle, else after a moment; nothing new is given to the worker meanwhile::

    given ─▶ begun ─▶ claims nothing more for `OVERDUE` ─▶ stuck: what it has not claimed ─▶ again ─▶ others
                            ▲                                │
                            └──────── a result comes ────────┘
"""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from functools import partial

from holdfast import _core
from holdfast.crew import TERMINATED, cargo, ledger, worker
from holdfast.crew.endings import Doom, failing, shielded, terminated
from holdfast.crew.interrupts import HeldBack

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections import deque
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from holdfast.crew.plan import Batch, Hand, Plan, Trade
    from holdfast.crew.staff import Staff
    from holdfast.crew.tally import Tally

    Calls = list[Callable[[], object]]

__all__ = ["OVERDUE", "STUCK", "Giving"]

_LOOK_AGAIN = 5.0  # seconds after which the pump looks around without being told
# Seconds after which what waits behind a task may go to an idle worker, and results behind it are looked for.
STUCK = 0.005
OVERDUE = 0.05  # seconds after which a worker would have sent results by itself, if no long task kept it
_SELDOM = 0.25  # seconds between looks for a stuck worker where nobody waits for single results


class _Change:
    """The lock; what is put into the list is called after it is given back. An interrupt waits until then."""

    __slots__ = ("_calls", "_crew", "_held")

    def __init__(self, crew: Giving) -> None:
        self._crew, self._held = crew, HeldBack()
        self._calls: Calls = []

    def __enter__(self) -> Calls:
        self._held.__enter__()
        self._crew.lock.acquire()
        return self._calls

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        crew = self._crew
        try:
            try:
                must_wake = crew._must_wake()  # noqa: SLF001 - of this module
            finally:
                crew.lock.release()
            if must_wake:
                crew.wake()
            for call in self._calls:
                shielded(call)
        finally:
            self._held.__exit__(kind, value, traceback)


class Giving:
    """The half of `crew.Crew` that gives; see there for its attributes."""

    plan: Plan
    staff: Staff
    tally: Tally
    state: int
    broken: BaseException | None
    finished: bool
    lock: threading.RLock
    _inbox: deque[tuple[Trade, Any, Any]]
    _doomed: dict[int, Doom]
    _pause: float
    _until: float
    _results: Any

    def wake(self) -> None:
        """Have the pump look around."""
        with suppress(Exception):  # the queue is closed, or there is no memory: it looks by itself, later
            self._results.put(None)

    def _change(self) -> _Change:
        """A block under the lock, for a caller's thread; see above."""
        return _Change(self)

    def _must_wake(self) -> bool:
        """Whether the pump sleeps and now has to look around sooner than it means to; it is told once."""
        if self._until and time.monotonic() + self._patience() < self._until - 0.002:
            self._until = 0.0
            return True
        return False

    def _sort_inbox(self, calls: Calls) -> None:
        inbox, plan = self._inbox, self.plan
        while inbox:
            trade, slip, value = inbox.popleft()
            if self.broken is not None:
                calls.append(partial(slip.settle, self.broken, False))
            elif self.state == TERMINATED or self.finished:
                calls.append(partial(slip.settle, terminated(), False))
            else:
                plan.add_single(trade, slip, value)

    def _take_all_back(self, hand: Hand) -> None:
        """Take back what a worker has not begun."""
        self.plan.recalled(hand, self.staff.take_back(hand.number))
        batch = self._working(hand)
        if batch is not None and not self.plan.counted:
            found = self.staff.revoke(hand.number, batch.number)
            if found is not None:
                self.plan.revoked(hand, batch, *found)

    def _working(self, hand: Hand) -> Batch | None:
        """The batch that a worker has begun last; not the first one of its hand while results are on their way."""
        if not hand.batches:
            return None
        number = self.staff.words(hand.number)[ledger.BATCH]
        return next((batch for batch in hand.batches if batch.number == number), None)

    def _age(self, hand: Hand) -> float:
        """Seconds since what a worker runs began, as its ledger has it."""
        age: float = (time.monotonic_ns() - self.staff.words(hand.number)[ledger.BEGAN]) / 1e9
        return age

    def _wanted(self) -> int:
        """How many workers there should be."""
        raise NotImplementedError

    def _patience(self) -> float:
        """Seconds until the pump must look around by itself."""
        if self.staff.has_gone():  # its ring of the bell may have been taken with the results of another one
            return 0
        if self._doomed:
            return 0.05
        if len(self.plan.hands) < self._wanted():
            return 0 if not self.plan.hands else OVERDUE
        wait = _LOOK_AGAIN
        waiting = idle = False
        for hand in self.plan.hands.values():
            if not hand.batches:
                idle = True
                continue
            batch = hand.batches[0]
            several = batch.count - batch.done > 1
            behind = several or len(hand.batches) > 1
            waiting = waiting or behind or not hand.ready
            urgent = batch.job.urgent
            if (behind and not hand.stuck) or (several and urgent):
                wait = min(wait, max(self._pause, OVERDUE) if urgent else _SELDOM)
            if batch.job.timeout is not None:
                begun = self.staff.words(hand.number)[ledger.BATCH] == batch.number
                wait = min(wait, max(0.001, batch.job.timeout - self._age(hand)) if begun else 0.02)
        return min(wait, self._pause) if waiting and idle else wait

    def _hand_out(self, calls: Calls) -> None:
        """Give what there is room for; under the lock."""
        self._sort_inbox(calls)
        if self.state == TERMINATED or self.broken is not None:
            return
        plan = self.plan
        parcels: dict[int, list[Any]] = {}
        given: dict[int, tuple[Hand, Batch]] = {}  # and not sent
        try:
            while (gift := plan.give()) is not None:
                hand, batch = gift
                given[batch.number] = gift
                message = self._message(hand, batch, calls)
                if message is None:
                    del given[batch.number]
                    continue
                parcels.setdefault(hand.number, []).extend([message] if hand.open else [message, None])
                # While it is warm and before much memory is used; or it is waited for.
                if message[4] or len(hand.batches) == 1:
                    self._send(hand, parcels.pop(hand.number), given, calls)
            for number in list(parcels):
                self._send(plan.hands[number], parcels.pop(number), given, calls)
        except BaseException as error:
            self._take_from_the_plan(given, error, calls)
            calls.append(self.wake)  # there may be more to give
            if not isinstance(error, MemoryError):
                raise
        if plan.full or not plan.hands:
            return
        if self._inbox:  # filled before `full` was taken back
            self._hand_out(calls)
        elif plan.has_idle():
            self._spread(calls)

    def _take_from_the_plan(self, given: dict[int, tuple[Hand, Batch]], error: BaseException, calls: Calls) -> None:
        """Fail what was given and not sent: behind what it does not know, a worker's results count for nothing."""
        for hand, batch in given.values():
            if batch in hand.batches:
                self.plan.withdrawn(hand, batch)
            self._fail_batch(batch, error, calls)

    def _message(self, hand: Hand, batch: Batch, calls: Calls) -> tuple[Any, ...] | None:
        """A batch as a worker gets it; None if nothing of it can be sent."""
        job = batch.job
        values: Any = batch.values
        sealed = type(values) is not range and not _core._are_plain(values, job.call)  # noqa: SLF001 - the core's half of this
        if sealed:
            values = self._sealed(hand, batch, calls)
            if not values:
                return None
        else:
            values = cargo.packed(values)
        call = job.call | (0 if job.timeout is None else worker.STAMPED) | (worker.PATIENT if job.patient else 0)
        return batch.number, call, job.function, job.reference, sealed, values

    def _send(self, hand: Hand, messages: list[Any], given: dict[int, tuple[Hand, Batch]], calls: Calls) -> None:
        numbers = [message[0] for message in messages if message is not None]
        try:
            self.staff.give(hand.number, messages)
        except OSError as error:  # no shared memory; put_many is all or nothing then
            self._take_from_the_plan({number: given.pop(number) for number in numbers}, error, calls)
            return
        if len(hand.batches) == len(numbers):
            hand.heard = time.monotonic()  # nothing before that
        for number in numbers:
            del given[number]

    def _sealed(self, hand: Hand, batch: Batch, calls: Calls) -> list[Any]:
        """The arguments of a batch, sealed; what cannot be pickled fails, and the rest becomes several batches."""
        sealed, failures = cargo.seal_all(batch.values, self.plan.most_bytes(batch.job))
        if len(sealed) < batch.count:
            self.plan.shorten(batch, len(sealed))
        if not failures:
            return sealed
        self.plan.withdrawn(hand, batch)
        for index, error in failures:
            self.tally.lost(again=False)
            calls.append(failing(batch.job, batch.start + index, error))
        bad = {index for index, _ in failures}
        for good, run in itertools.groupby(range(batch.count), lambda index: index not in bad):
            if good:
                positions = list(run)
                piece = [batch.values[position] for position in positions]
                self.plan.again.append(self.plan.piece(batch.job, batch.start + positions[0], piece))
        return []

    def _fail_batch(self, batch: Batch, error: BaseException, calls: Calls) -> None:
        for position in range(batch.done, batch.count):
            self.tally.lost(again=False)
            calls.append(failing(batch.job, batch.start + position, error))

    def _spread(self, calls: Calls) -> None:
        """Take back what waits in vain: behind a long task, or for a worker that does not begin while one is idle."""
        now = time.monotonic()
        hands = self.plan.hands.values()
        idle = any(hand.open and not hand.batches for hand in hands)
        for hand in hands:
            batch = hand.batches[0] if hand.batches else None
            if batch is None:
                continue
            words = self.staff.words(hand.number)
            begun = words[ledger.BATCH] == batch.number
            if not begun:
                wanted = idle and now - hand.heard > (OVERDUE if hand.ready else STUCK)
            elif len(hand.batches) == 1 and batch.count - batch.done <= 1:
                continue
            else:
                claims = batch.number, ledger.claimed(words)
                if claims != hand.claims:
                    hand.claims, hand.since = claims, now
                left = (batch.job.cost or 0.0) * (batch.count - batch.done)
                hand.stuck = now - hand.since > OVERDUE
                wanted = hand.stuck or (idle and max(self._age(hand), left / 2) > STUCK)
            if wanted:
                self._take_all_back(hand)
                if self.plan.again:
                    self._hand_out(calls)
                    return
