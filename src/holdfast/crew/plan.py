"""Who does what: jobs, the batches they are cut into, and the hands that work on them. No input, no output, no clock.

A batch is a piece of a job. Its way::

    job ─cut─▶ given to a hand ─▶ begun ─▶ its results arrive, in order, in one message or several ─▶ done
                  │  ▲               ├─ the hand dies: what had finished is kept, what ran fails, the rest ─▶ again
                  │  │               └─ somebody is idle: what the hand has not claimed ─▶ again
                  └──┴─ recalled, or its hand dies before it has begun ─▶ again

Calls of one task each (``submit``, ``apply_async``) wait in a line of their own. While all hands are busy with small
ones, those of one function that stand one behind the other travel together, as a job (`Bundle`) of as many tasks.
"""

from __future__ import annotations

from collections import deque

from holdfast._records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

__all__ = ["UNDIVIDED", "Aftermath", "Batch", "Bundle", "Hand", "Job", "Plan", "Trade"]

# Bytes of arguments in a batch whose size is ours to choose: shared memory that was used a moment ago is still mapped
# and in the processor's cache; for much more of it pages must be found, which takes longer than to copy the data.
_HEAVY = 1 << 20
_AHEAD = 0.008  # seconds of work that a hand has waiting, at most
_DEEPEST = 64  # batches
_DEEPEST_OF_SINGLES = 8  # the same for single calls: what comes after those travels together
_WORTHWHILE = 0.002  # seconds of work in a bundle
UNDIVIDED = 0.0005  # seconds of work that are not divided between workers
_LARGEST = 50_000  # tasks in such a batch
_LARGEST_BUNDLE = 1024
_SHARES = 4  # batches for each hand of a job that is cut into shares
_MOST = (1 << 24) - 1  # tasks in any batch: what a claim has room for


class Line(deque["Any"]):
    """Arguments that come one by one; one thread may put them in while others take them out."""

    def take(self, count: int) -> list[Any]:
        """Take the first ones out."""
        return [self.popleft() for _ in range(min(count, len(self)))]


class Shelf:
    """Arguments that are all there: a list is cut out of them when it is needed, or out of a range a range.

    Args:
        values: a sequence that does not change.
    """

    __slots__ = ("_at", "_values")

    def __init__(self, values: Sequence[Any]) -> None:
        self._values, self._at = values, 0

    def __len__(self) -> int:
        return len(self._values) - self._at

    def take(self, count: int) -> Sequence[Any]:
        """Take the first ones out."""
        start = self._at
        self._at = min(start + count, len(self._values))
        taken = self._values[start : self._at]
        return taken if isinstance(taken, (list, range)) else list(taken)

    def extend(self, values: Iterable[Any]) -> None:
        """Nothing can be added: `values` is empty."""

    def clear(self) -> None:
        """Forget all."""
        self._values, self._at = (), 0


class Job:
    """Work of one call: one function, its arguments, and what becomes of the results.

    Args:
        function: sealed.
        reference: whether that is a mere reference.
        call: how arguments are passed: 0 as one, 1 as several, 2 as a pair of several and named ones.
        chunk: tasks in a batch, or more while they are small; 0: to be measured; negative: a share of what is left, as
            small as is worthwhile.
        timeout: seconds that a task may run.
        retries: how often a task that failed is run again.
        name: of the function, for messages.
    """

    waiting: Any = ()  # arguments not given to anybody yet: a Line or a Shelf
    ended = False  # no more arguments will come
    pulled = False  # arguments come only as results are used: none after the crew is closed
    given = 0
    credit: int | None = None  # how many more may be given before results are used; None: any number
    cost: float | None = None  # seconds a task, measured
    attempts: dict[int, int] | None = None
    share: int | None = None  # the first batch's size, of those that are cut into shares
    urgent = False  # somebody may wait for single results of it: they are looked for in the ledgers of the busy
    patient = False  # nobody uses results of it before all are there
    fixed = False  # batches are as large as `chunk` says
    worthwhile = 0.002  # seconds of work in a batch whose size is ours to choose, at most

    def __init__(
        self,
        function: Any,  # noqa: ANN401 - sealed
        reference: bool,
        call: int = 0,
        chunk: int = 1,
        timeout: float | None = None,
        retries: int = 0,
        name: str = "task",
    ) -> None:
        self.name = name
        self.function, self.reference, self.call, self.chunk = function, reference, call, chunk
        self.timeout, self.retries = timeout, retries

    def is_given(self) -> bool:
        """Whether all of it was given to workers."""
        return self.ended and not self.waiting

    def number(self, index: int) -> int:
        """What a task is called in messages."""
        return index

    def deliver(self, start: int, marks: bytes | None, values: list[Any]) -> None:
        """Take results in.

        Args:
            start: number of the first one's task.
            marks: one for each value, see `worker`; None if all are plain.
            values: the results.

        Raises:
            NotImplementedError: each kind of job has its own way.
        """
        raise NotImplementedError

    def fail(self, index: int, error: BaseException) -> None:
        """Take in how a task failed.

        Raises:
            NotImplementedError: as `deliver`.
        """
        raise NotImplementedError

    def end(self, error: BaseException) -> None:
        """Take in that nothing more will come, and why.

        Raises:
            NotImplementedError: as `deliver`.
        """
        raise NotImplementedError

    def cut(self, hands: int) -> Sequence[Any]:
        """Take arguments for the next batch."""
        waiting = self.waiting
        count = self._size(len(waiting), hands)
        if self.credit is not None:
            count = min(count, self.credit)
            self.credit -= count
        taken: Sequence[Any] = waiting.take(count)
        self.given += len(taken)
        return taken

    def _size(self, left: int, hands: int) -> int:
        if self.chunk > 0 and (self.fixed or self.cost is None):
            return min(self.chunk, _MOST)
        if self.cost is None:
            worth = least = 1
        else:
            worth = max(1, min(_LARGEST, int(self.worthwhile / max(self.cost, 1e-9))))
            least = max(1, min(_LARGEST, int(UNDIVIDED / max(self.cost, 1e-9))))
        if self.chunk >= 0:
            return max(self.chunk, min(worth, max(-(-left // (hands * 2)), least)))
        if self.share is None:
            self.share = min(-(-left // (hands * _SHARES)), _MOST)
        return self.share if self.cost is None else max(self.share, least)  # fewer while tasks are small


class Trade:
    """What calls of one task have in common that may travel together.

    Args:
        function: sealed.
        reference: whether that is a mere reference.
        name: of the function, for messages.
        timeout: seconds that a task may run.
        retries: how often a task that failed is run again.
    """

    __slots__ = ("cost", "function", "name", "reference", "retries", "timeout")

    def __init__(
        self,
        function: Any,  # noqa: ANN401 - sealed
        reference: bool,
        name: str,
        timeout: float | None = None,
        retries: int = 0,
    ) -> None:
        self.function, self.reference, self.name = function, reference, name
        self.timeout, self.retries = timeout, retries
        self.cost: float | None = None  # seconds of a call, lately


class Single(NamedTuple):
    """A call of one task.

    Attributes:
        serial: what it is called in messages.
        trade: what is called.
        slip: takes the result: ``starting()``, False if nobody wants it any more; ``settle(value, success)``;
            ``error_of(told)``.
        value: the arguments: a pair of several and named ones.
    """

    serial: int
    trade: Trade
    slip: Any
    value: Any


class Bundle(Job):
    """Calls of one task that travel together.

    Args:
        singles: of one trade.
    """

    urgent = True

    def __init__(self, singles: list[Single]) -> None:
        trade = singles[0].trade
        super().__init__(trade.function, trade.reference, 2, 1, trade.timeout, trade.retries, trade.name)
        self.singles = singles
        self.ended = True

    def number(self, index: int) -> int:
        """What a task is called in messages."""
        return self.singles[index].serial

    def is_alone(self) -> bool:
        """Whether threads that take results in need not take turns."""
        return all(single.slip.is_alone() for single in self.singles)

    def deliver(self, start: int, marks: bytes | None, values: list[Any]) -> None:
        """Take results in."""
        if marks is None:
            for index, value in enumerate(values, start):
                self.singles[index].slip.settle(value, True)
            return
        from holdfast.crew.failures import opened  # noqa: PLC0415 - the plan itself knows nothing of pickles

        for index, mark, value in opened(start, marks, values):
            slip = self.singles[index].slip
            slip.settle(slip.error_of(value) if mark else value, not mark)

    def fail(self, index: int, error: BaseException) -> None:
        """Take in how a task failed."""
        self.singles[index].slip.settle(error, False)

    def end(self, error: BaseException) -> None:
        """Take in that nothing more will come."""
        for single in self.singles:
            single.slip.settle(error, False)


class Batch:
    """A piece of a job."""

    __slots__ = ("count", "done", "job", "number", "start", "values")

    def __init__(self, number: int, job: Job, start: int, values: Sequence[Any]) -> None:
        self.number, self.job, self.start, self.values = number, job, start, values
        self.count = len(values)
        self.done = 0  # results that have arrived


class Hand:
    """A worker as the plan sees it: what it was given and has not finished, in order."""

    __slots__ = ("batches", "claims", "given", "heard", "number", "open", "ready", "since", "stuck")

    def __init__(self, number: int) -> None:
        self.number = number
        self.batches: deque[Batch] = deque()
        self.given = 0  # in its whole life
        self.heard = 0.0  # when something was last known of it, on the crew's clock
        self.claims: tuple[int, int] | None = None  # the batch it works on, and how many tasks of it were begun
        self.since = 0.0  # when that was new
        self.stuck = False  # while it has a batch: it runs a long task, and what waited behind that was taken back
        self.open = True  # takes more
        self.ready = False  # has started up


class Aftermath(NamedTuple):
    """What a death leaves.

    Attributes:
        batch: what was being done; None if nothing was.
        skip: how many of the noted results had arrived.
        lost: positions in the batch of the tasks that fail.
        sending: whether those had finished.
    """

    batch: Batch | None
    skip: int
    lost: range
    sending: bool


class Plan:
    """Jobs waiting, batches given, hands.

    Args:
        most: batches that a hand does in its life; None for any number.
        workers: how many hands there may be.
    """

    def __init__(self, most: int | None = None, workers: int = 1) -> None:
        self.hands: dict[int, Hand] = {}
        self.jobs: deque[Job] = deque()  # in order of arrival; those without arguments at the moment too
        self.again: deque[Batch] = deque()
        self.singles: deque[Single] = deque()
        self.full = False  # there is more to give than room
        self._turn = False
        self._most = most
        self.counted = most is not None  # batches are: none is made larger, or divided
        self._workers = workers
        self._numbers = 0
        self._serial = 0  # of single calls

    def add(self, job: Job) -> None:
        """Take a job."""
        job.fixed = job.fixed or self.counted
        self.jobs.append(job)

    def add_single(self, trade: Trade, slip: Any, value: Any) -> None:  # noqa: ANN401 - see Single
        """Take a call of one task."""
        self.singles.append(Single(self._serial, trade, slip, value))
        self._serial += 1

    def idle(self) -> bool:
        """Whether nothing is under way and no job waits."""
        if self.jobs:
            self.next_job()  # forgets those that have given all
        return not (self.jobs or self.again or self.singles or any(hand.batches for hand in self.hands.values()))

    def batches(self) -> int:
        """How many batches are under way or could be, at least."""
        given = sum(len(hand.batches) for hand in self.hands.values())
        return given + len(self.again) + len(self.singles) + (self.next_job() is not None)

    def outstanding(self) -> int:
        """How many tasks have no result, of those that are known."""
        given = sum(b.count - b.done for hand in self.hands.values() for b in hand.batches)
        return given + len(self.singles) + sum(b.count for b in self.again) + sum(len(job.waiting) for job in self.jobs)

    def next_job(self) -> Job | None:
        """The first job with something to give; jobs that have given all are forgotten."""
        jobs = self.jobs
        while jobs and jobs[0].is_given():
            jobs.popleft()
        if len(jobs) > 1 and any(job.is_given() for job in jobs):  # behind one that waits for arguments, maybe for long
            self.jobs = jobs = deque(job for job in jobs if not job.is_given())
        for job in jobs:
            if job.waiting and job.credit != 0:
                return job
        return None

    def has_idle(self) -> bool:
        """Whether somebody has nothing to do."""
        return any(hand.open and not hand.batches for hand in self.hands.values())

    def free_hand(self, job: Job | None) -> Hand | None:
        """The hand that should get the next batch: the one with the least to do, if it has room.

        Args:
            job: whose batch; None for single calls.
        """
        best: Hand | None = None
        least = 1 << 30
        for hand in self.hands.values():
            has = len(hand.batches)
            better = has < least or (has == least and best is not None and hand.ready > best.ready)
            if better and hand.open and not (hand.stuck and has):
                best, least = hand, has
        if best is None or least == 0:
            return best
        timeout = self.singles[0].trade.timeout if job is None else job.timeout
        if timeout is not None or best.batches[0].job.timeout is not None or self._most is not None:
            return None
        cost = self.singles[0].trade.cost if job is None else job.cost
        unknown = _SHARES if job is not None and job.chunk < 0 else 2
        deepest = _DEEPEST if job is not None else _DEEPEST_OF_SINGLES
        depth = (
            unknown if cost is None else max(2, min(deepest, int(_AHEAD / max(cost * best.batches[-1].count, 1e-7))))
        )
        return best if least < depth else None

    def give(self) -> tuple[Hand, Batch] | None:
        """Decide the next batch and who gets it; None if there is nothing to give, or nobody has room."""
        while True:
            turn = self._singles_turn()
            job = None if turn else self.again[0].job if self.again else self.next_job()
            if job is None and not turn:
                self.full = False
                return None
            hand = self.free_hand(job)
            if hand is None:
                self.full = True
                return None
            if job is None:
                singles = self._bundle()
                if not singles:
                    continue
                batch = self.piece(Bundle(singles), 0, [single.value for single in singles])
            elif self.again:
                batch = self.again.popleft()
            else:
                start = job.given
                batch = self.piece(job, start, job.cut(max(len(self.hands), self._workers)))
            hand.batches.append(batch)
            hand.given += 1
            if self._most is not None and hand.given >= self._most:
                hand.open = False
            return hand, batch

    def _singles_turn(self) -> bool:
        """Whether single calls are next: after what was given before, in turn with jobs."""
        if self.again or not self.singles:
            return False
        self._turn = not self._turn
        return self._turn or not self.jobs or self.next_job() is None

    def _bundle(self) -> list[Single]:
        """Take single calls of one trade out that travel together; one, unless all hands have small tasks to do."""
        singles = self.singles
        trade = singles[0].trade
        count = 1
        if trade.cost is not None and self._most is None and len(self.hands) >= self._workers:
            share = -(-len(singles) // len(self.hands))
            count = max(1, min(share, _LARGEST_BUNDLE, int(_WORTHWHILE / max(trade.cost, 1e-7))))
        found: list[Single] = []
        while singles and singles[0].trade is trade and len(found) < count:
            single = singles.popleft()
            if single.slip.starting():
                found.append(single)
        return found

    def piece(self, job: Job, start: int, values: Sequence[Any]) -> Batch:
        """Make a batch."""
        self._numbers += 1
        return Batch(self._numbers, job, start, values)

    def current(self, number: int, batch: int) -> Batch | None:
        """The batch that a hand works on, if it is the one of that number; else it was thought lost."""
        hand = self.hands.get(number)
        found = hand.batches[0] if hand is not None and hand.batches else None
        return found if found is not None and found.number == batch else None

    def arrived(self, number: int, batch: int, count: int, spent: float | None = None) -> Batch | None:
        """Note that results have come from a hand.

        Args:
            number: of the hand.
            batch: its number.
            count: how many new ones.
            spent: seconds that a task took, on the average; None if that is not known.

        Returns:
            The batch they belong to; None if it is known no more.
        """
        found = self.current(number, batch)
        if found is None:
            return None
        found.done += count
        job = found.job
        if spent is not None:
            trust = min(0.9, 0.3 + count / 1000)  # what a batch itself costs spoils the figure of small ones
            job.cost = spent if job.cost is None else job.cost * (1 - trust) + spent * trust
            if isinstance(job, Bundle):
                trade, weight = job.singles[0].trade, 0.1 if found.count == 1 else 0.5
                trade.cost = spent if trade.cost is None else trade.cost * (1 - weight) + spent * weight
        self._drop_done(self.hands[number])
        return found

    def _drop_done(self, hand: Hand) -> None:
        if hand.batches[0].done >= hand.batches[0].count:
            hand.batches.popleft()

    def revoked(self, hand: Hand, batch: Batch, start: int, end: int) -> None:
        """Give what a hand has not claimed of a batch again, in as many pieces as there are hands."""
        size = -(-(end - start) // max(len(self.hands), 1))
        for first in range(start, end, size):
            values = batch.values[first : min(first + size, end)]
            self.again.append(self.piece(batch.job, batch.start + first, values))
        batch.count = start
        if batch.done >= start:  # nothing more will come of it
            hand.batches.remove(batch)

    def recalled(self, hand: Hand, numbers: Iterable[int]) -> None:
        """Take back batches that a hand has not taken."""
        wanted = set(numbers)
        back = [b for b in hand.batches if b.number in wanted]
        for batch in back:
            hand.batches.remove(batch)
            hand.given -= 1
        self.again.extendleft(reversed(back))

    def most_bytes(self, job: Job) -> int | None:
        """How many bytes of arguments a batch of a job should have; None if its size is not ours to choose."""
        return None if job.fixed or self.counted else _HEAVY

    def shorten(self, batch: Batch, count: int) -> None:
        """Leave a batch its first tasks, before it is sent; the others are given next."""
        self.again.appendleft(self.piece(batch.job, batch.start + count, batch.values[count:]))
        batch.values, batch.count = batch.values[:count], count

    def withdrawn(self, hand: Hand, batch: Batch) -> None:
        """Forget a batch that could not be given; the hand takes another one, also if that was to be its last."""
        hand.batches.remove(batch)
        hand.given -= 1
        hand.open = True

    def died(
        self, hand: Hand, begun: int, base: int, noted: int, finished: int | None, claimed: int = _MOST
    ) -> Aftermath:
        """Account for a death: what ran fails, what had not begun is given again.

        Args:
            hand: whose; it is removed.
            begun: number of the batch that it had begun last.
            base: how many of its results had been sent, as far as the ledger says.
            noted: how many results follow in the ledger.
            finished: how many of it had finished, if it died while sending; else None.
            claimed: how many of it the worker had claimed.
        """
        self.hands.pop(hand.number, None)
        running = next((b for b in hand.batches if b.number == begun), None)
        untouched = [b for b in hand.batches if b is not running]
        if running is None:
            self.again.extendleft(reversed(untouched))
            return Aftermath(None, 0, range(0), False)
        known = max(running.done, min(base + noted, running.count))
        skip = running.done - base  # notes that have arrived as messages
        end = min(known + 1, running.count, max(claimed, known)) if finished is None else max(known, finished)
        if end < running.count:
            rest = self.piece(running.job, running.start + end, running.values[end : running.count])
            untouched.insert(0, rest)
        self.again.extendleft(reversed(untouched))
        return Aftermath(running, skip, range(known, end), finished is not None)

    def retry(self, job: Job, index: int, value: Any) -> bool:  # noqa: ANN401 - an argument
        """Give a failed task again, if its job allows it."""
        if not job.retries:
            return False
        if job.attempts is None:
            job.attempts = {}
        tried = job.attempts.get(index, 0)
        if tried >= job.retries:
            return False
        job.attempts[index] = tried + 1
        self.again.append(self.piece(job, index, [value]))
        return True

    def abandon(self, job: Job) -> int:
        """Forget what a job has not given; the number of its tasks."""
        count = len(job.waiting) + sum(b.count for b in self.again if b.job is job)
        if job.waiting:
            job.waiting.clear()
        job.ended = True
        self.again = deque(b for b in self.again if b.job is not job)
        return count

    def take_singles(self, kept: int) -> list[Any]:
        """Forget the single calls that have not been given, or were taken back, but for the first few; their slips."""
        bundles = [batch for batch in self.again if isinstance(batch.job, Bundle)]
        found = list(self.singles)
        for batch in bundles:
            self.again.remove(batch)
            found += batch.job.singles[batch.start : batch.start + batch.count]  # type: ignore[attr-defined]
        found.sort(key=lambda single: single.serial)
        self.singles = deque(found[:kept])
        for single in found:
            single.slip.take_back()
        return [single.slip for single in found[kept:]]

    def withdraw(self, slip: object) -> bool:
        """Forget a single call that has not been given, or was taken back; whether it was there."""
        for single in self.singles:
            if single.slip is slip:
                self.singles.remove(single)
                return True
        for batch in self.again:
            at = self.place(batch, slip)
            if at is not None:
                self.again.remove(batch)
                for first, end in ((0, at), (at + 1, batch.count)):
                    if first < end:
                        self.again.append(self.piece(batch.job, batch.start + first, batch.values[first:end]))
                return True
        return False

    @staticmethod
    def place(batch: Batch, slip: object) -> int | None:
        """The position of a single call in a batch; None if it is not there."""
        if not isinstance(batch.job, Bundle):
            return None
        singles = batch.job.singles[batch.start : batch.start + batch.count]
        return next((at for at, single in enumerate(singles) if single.slip is slip), None)
