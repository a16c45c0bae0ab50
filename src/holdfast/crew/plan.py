"""Who does what: jobs, the batches they are cut into, and the hands that work on them. No input, no output, no clock.

A batch is a piece of a job. Its way::

    job ─cut─▶ given to a hand ─▶ begun ─▶ its results arrive, in order, in one message or several ─▶ done
                  │  ▲               └─ the hand dies: what had finished is kept, what ran fails, the rest ─▶ again
                  └──┴─ recalled, or its hand dies before it has begun ─▶ again
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Aftermath", "Batch", "Hand", "Job", "Plan"]

# Bytes of arguments in a batch whose size is ours to choose: shared memory that was used a moment ago is still mapped
# and in the processor's cache; for much more of it pages must be found, which takes longer than to copy the data.
_HEAVY = 1 << 20
_AHEAD = 0.002  # seconds of work that a hand has waiting, at most
_DEEPEST = 64  # batches
_WORTHWHILE = 0.004  # seconds of work in a batch whose size is ours to choose
_LARGEST = 50_000  # tasks in such a batch


class Line(deque[Any]):
    """Arguments that come one by one."""

    def take(self, count: int) -> list[Any]:
        """Take the first ones out."""
        if count >= len(self):
            taken = list(self)
            self.clear()
            return taken
        return [self.popleft() for _ in range(count)]


class Shelf:
    """Arguments that are all there."""

    __slots__ = ("_at", "_values")

    def __init__(self, values: list[Any]) -> None:
        self._values, self._at = values, 0

    def __len__(self) -> int:
        return len(self._values) - self._at

    def take(self, count: int) -> list[Any]:
        """Take the first ones out."""
        start = self._at
        self._at = min(start + count, len(self._values))
        return self._values[start : self._at]

    def extend(self, values: Iterable[Any]) -> None:
        """Add some."""
        self._values.extend(values)

    def clear(self) -> None:
        """Forget all."""
        self._values, self._at = [], 0


class Job:
    """Work of one call: one function, its arguments, and what becomes of the results.

    Args:
        function: sealed.
        reference: whether that is a mere reference.
        call: how arguments are passed: 0 as one, 1 as several, 2 as a pair of several and named ones.
        chunk: tasks in a batch; 0: to be measured; negative: a share of what is left, as small as is worthwhile.
        timeout: seconds that a task may run.
        retries: how often a task that failed is run again.
        name: of the function, for messages.
    """

    waiting: Any = ()  # arguments not given to anybody yet: a Line or a Shelf
    ended = False  # no more arguments will come
    given = 0
    first = 0  # what its first task is called in messages
    credit: int | None = None  # how many more may be given before results are used; None: any number
    cost: float | None = None  # seconds a task, measured
    attempts: dict[int, int] | None = None

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

    def starting(self) -> bool:
        """Called before the first batch is cut; False if nobody wants the results any more."""
        return True

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

    def cut(self, hands: int) -> list[Any]:
        """Take arguments for the next batch."""
        waiting = self.waiting
        count = self._size(len(waiting), hands)
        if self.credit is not None:
            count = min(count, self.credit)
            self.credit -= count
        taken: list[Any] = waiting.take(count)
        self.given += len(taken)
        return taken

    def _size(self, left: int, hands: int) -> int:
        if self.timeout is not None:
            return 1
        if self.chunk > 0:
            return self.chunk
        worth = 1 if self.cost is None else max(1, min(_LARGEST, int(_WORTHWHILE / max(self.cost, 1e-9))))
        if self.chunk == 0:
            return worth
        share = -(-left // (hands * 4))
        if self.cost is None:
            return share
        return max(share, min(worth, -(-left // hands)))  # fewer and larger ones while tasks are small


class Batch:
    """A piece of a job."""

    __slots__ = ("count", "done", "job", "number", "start", "values")

    def __init__(self, number: int, job: Job, start: int, values: list[Any]) -> None:
        self.number, self.job, self.start, self.values = number, job, start, values
        self.count = len(values)
        self.done = 0  # results that have arrived


class Hand:
    """A worker as the plan sees it: what it was given and has not finished, in order."""

    __slots__ = ("batches", "given", "number", "open", "ready")

    def __init__(self, number: int) -> None:
        self.number = number
        self.batches: deque[Batch] = deque()
        self.given = 0  # in its whole life
        self.open = True  # takes more
        self.ready = False  # has started up


class Aftermath(NamedTuple):
    """What a death leaves.

    Attributes:
        batch: what was being done; None if nothing was.
        recovered: position in the batch and number of noted results that had not arrived.
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
    """

    def __init__(self, most: int | None = None) -> None:
        self.hands: dict[int, Hand] = {}
        self.jobs: deque[Job] = deque()  # in order of arrival; those without arguments at the moment too
        self.again: deque[Batch] = deque()
        self.singles: deque[Batch] = deque()  # jobs of one task
        self.full = False  # the last time, there was more to give than room
        self._turn = False
        self._cost: float | None = None  # seconds of a batch of one, lately: what a job of one task has to go by
        self._most = most
        self._numbers = 0
        self._serial = 0  # of jobs of one task

    def add(self, job: Job) -> None:
        """Take a job."""
        self.jobs.append(job)

    def add_single(self, job: Job, value: Any) -> None:  # noqa: ANN401 - an argument
        """Take a job of one task."""
        job.first, self._serial = self._serial, self._serial + 1
        self.singles.append(self.piece(job, 0, [value]))

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
        while jobs and not jobs[0].waiting and jobs[0].ended:
            jobs.popleft()
        for job in jobs:
            if job.waiting and job.credit != 0:
                return job
        return None

    def free_hand(self, job: Job) -> Hand | None:
        """The hand that should get the next batch of a job: the one with the least to do, if it has room."""
        best: Hand | None = None
        least = 1 << 30
        for hand in self.hands.values():
            if hand.open and len(hand.batches) < least:
                best, least = hand, len(hand.batches)
        if best is None or least == 0:
            return best
        if job.timeout is not None or best.batches[0].job.timeout is not None or self._most is not None:
            return None
        batch = best.batches[-1]
        cost = self._cost if job.cost is None and not job.waiting else job.cost
        depth = 2 if cost is None else max(2, min(_DEEPEST, int(_AHEAD / max(cost * batch.count, 1e-7))))
        return best if least < depth else None

    def give(self) -> tuple[Hand, Batch] | None:
        """Decide the next batch and who gets it; None if there is nothing to give, or nobody has room."""
        while True:
            line = self._line()
            job = line[0].job if line else self.next_job()
            if job is None:
                self.full = False
                return None
            hand = self.free_hand(job)
            if hand is None:
                self.full = True
                return None
            if line:
                batch = line.popleft()
                if line is self.singles and not job.starting():
                    continue
            else:
                start = job.given
                batch = self.piece(job, start, job.cut(len(self.hands)))
            hand.batches.append(batch)
            hand.given += 1
            if self._most is not None and hand.given >= self._most:
                hand.open = False
            return hand, batch

    def _line(self) -> deque[Batch] | None:
        """Where the next batch comes from: what was given before, then single tasks and jobs in turn."""
        if self.again:
            return self.again
        if not self.singles:
            return None
        self._turn = not self._turn
        return self.singles if self._turn or not self.jobs or self.next_job() is None else None

    def piece(self, job: Job, start: int, values: list[Any]) -> Batch:
        """Make a batch."""
        self._numbers += 1
        return Batch(self._numbers, job, start, values)

    def arrived(self, number: int, batch: int, count: int, spent: float) -> Batch | None:
        """Note that results have come from a hand.

        Returns:
            The batch they belong to; None if it is known no more.
        """
        hand = self.hands.get(number)
        if hand is None or not hand.batches:
            return None
        found = hand.batches[0]
        if found.number != batch:  # it was thought lost
            return None
        self.full = False
        found.done += count
        cost = spent / max(count, 1)
        job = found.job
        job.cost = cost if job.cost is None else job.cost * 0.7 + cost * 0.3
        if found.count == 1:
            self._cost = cost if self._cost is None else self._cost * 0.9 + cost * 0.1
        if found.done >= found.count:
            hand.batches.popleft()
        return found

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
        return _HEAVY if job.chunk <= 0 and self._most is None else None

    def shorten(self, batch: Batch, count: int) -> None:
        """Leave a batch its first tasks, before it is sent; the others are given next."""
        self.again.appendleft(self.piece(batch.job, batch.start + count, batch.values[count:]))
        batch.values, batch.count = batch.values[:count], count

    def withdrawn(self, hand: Hand, batch: Batch) -> None:
        """Forget a batch that could not be given."""
        hand.batches.remove(batch)
        hand.given -= 1

    def died(self, hand: Hand, begun: int, base: int, noted: int, finished: int | None) -> Aftermath:
        """Account for a death: what ran fails, what had not begun is given again.

        Args:
            hand: whose; it is removed.
            begun: number of the batch that it had begun last.
            base: how many of its results had been sent, as far as the ledger says.
            noted: how many results follow in the ledger.
            finished: how many of it had finished, if it died while sending; else None.
        """
        self.hands.pop(hand.number, None)
        running = next((b for b in hand.batches if b.number == begun), None)
        untouched = [b for b in hand.batches if b is not running]
        if running is None:
            self.again.extendleft(reversed(untouched))
            return Aftermath(None, 0, range(0), False)
        known = max(running.done, min(base + noted, running.count))
        skip = running.done - base  # notes that have arrived as messages
        end = min(known + 1, running.count) if finished is None else max(known, finished)
        if end < running.count:
            rest = self.piece(running.job, running.start + end, list(islice(running.values, end, None)))
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
        count = len(job.waiting) + sum(b.count for line in (self.again, self.singles) for b in line if b.job is job)
        if job.waiting:
            job.waiting.clear()
        job.ended = True
        self.singles = deque(b for b in self.singles if b.job is not job)
        self.again = deque(b for b in self.again if b.job is not job)
        return count
