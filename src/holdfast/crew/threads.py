"""A crew of threads: what `holdfast.pool.ThreadPool` is made of. It answers to the same calls as `crew.Crew`.

::

    callers' threads ──submit()──▶ one queue of chunks ──▶ threads 0, 1 ... ──▶ results, callbacks

The threads settle results themselves, one thread at a time, so that callbacks need not be prepared for company. No
thread can be stopped: after `terminate`, what had not begun fails, and what runs is brought to its end.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from itertools import starmap
from operator import length_hint

from holdfast.crew import CLOSED, OPEN, TERMINATED, timesheet
from holdfast.crew.endings import shielded, terminated
from holdfast.crew.interrupts import rescue
from holdfast.crew.plan import Batch, Bundle, Single
from holdfast.crew.tally import Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from holdfast.crew.insight import Insights, PoolStats
    from holdfast.crew.plan import Job, Trade

__all__ = ["ThreadCrew"]

_NO_FAILURES: dict[int, BaseException] = {}


class _Hand:
    """A thread, and the chunk that it works on."""

    __slots__ = ("busy", "done", "enter", "failed", "job", "left", "number", "thread", "values", "words")

    def __init__(self, number: int) -> None:
        self.number = number
        self.busy = False
        self.done = self.failed = 0  # tasks
        self.job: Job | None = None
        self.values: list[Any] = []
        self.left: Iterator[Any] = iter(())  # over the values; has those that have not begun
        self.words = [0] * timesheet.WORDS
        timesheet.begin(self.words)
        self.enter = timesheet.keep(self.words)
        self.thread: threading.Thread


class ThreadCrew:
    """Threads and what they do.

    Args:
        workers: how many.
        initializer: called in each thread as it starts, with `initargs`.
        initargs: its arguments.
    """

    def __init__(
        self, workers: int, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()
    ) -> None:
        rescue()
        self.pid = os.getpid()
        self.workers = workers
        self.state = OPEN
        self.broken: BaseException | None = None
        self.thrown_away = 0
        self.lock = threading.RLock()
        self.tally = Tally()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._jobs: set[Job] = set()  # those with arguments that are not in the queue
        self._settling, self._ending = threading.RLock(), threading.RLock()
        self._accepted = self._dropped = 0  # tasks that are or were in the queue
        self._told = False  # the threads, to end
        self.hands = [_Hand(number) for number in range(workers)]
        arguments = (initializer, tuple(initargs))
        for hand in self.hands:
            self.tally.started(hand.number, self.pid)
            name = f"ThreadPoolWorker-{hand.number}"
            hand.thread = threading.Thread(target=self._work, args=(hand, *arguments), name=name, daemon=True)
            hand.thread.start()

    # called by the fronts

    def check(self) -> None:
        """See that this is the process that made the crew.

        Raises:
            RuntimeError: it is another one, a forked child, say.
        """
        if os.getpid() != self.pid:
            message = f"this pool belongs to process {self.pid}; make one in this process"
            raise RuntimeError(message)

    def submit(self, job: Job) -> None:
        """Take a job."""
        with self.lock:
            going_on = self._goes_on()
            if going_on:
                self._cut(job)
        if not going_on:
            job.end(self._reason())

    def submit_one(self, trade: Trade, slip: Any, value: Any) -> None:  # noqa: ANN401 - see `plan.Single`
        """Take a call of one task."""
        with self.lock:
            going_on = self._goes_on()
            if going_on:
                job = Bundle([Single(self._accepted, trade, slip, value)])
                self._accepted += 1
                self._queue.put((job, 0, [value]))
        if not going_on:
            slip.settle(self._reason(), False)

    def feed(self, job: Job, values: Iterable[Any] = (), *, credit: int | None = 0, ended: bool = False) -> None:
        """Add arguments to a job, or leave to have more of its results under way; ``credit=None`` lifts the bound."""
        with self.lock:
            job.waiting.extend(values)
            job.ended = job.ended or ended
            if job.credit is not None:
                job.credit = None if credit is None else job.credit + credit
            in_vain = self.state == TERMINATED or self.broken is not None
            if in_vain:
                in_vain = bool(job.waiting)
                job.waiting.clear()
                self._jobs.discard(job)
            else:
                self._cut(job)
                self._see_end()
        if in_vain:
            job.end(self._reason())

    def offer(self, job: Job, values: Iterable[Any]) -> None:
        """Add arguments that come one by one."""
        self.feed(job, values, credit=None)

    def later(self, call: Callable[[], object]) -> None:
        """Have a thread call something: for finalizers, which may run at any moment, in the midst of anything."""
        if os.getpid() == self.pid:
            self._queue.put(call)

    def close(self) -> None:
        """Take no more jobs; the threads end when all is done."""
        if os.getpid() != self.pid:
            return
        with self.lock:
            if self.state == OPEN:
                self.state = CLOSED
            for job in list(self._jobs):
                job.credit = None
                self._cut(job)
            self._see_end()

    def terminate(self) -> None:
        """Have the threads end as soon as they can; what had not begun fails."""
        if os.getpid() != self.pid:
            return
        if self.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - called by the garbage collector
            self.later(self.terminate)
            return
        with self.lock:
            if self.state == TERMINATED:
                return
            self.state = TERMINATED
            jobs, self.thrown_away = self._drop_all()
        self._end(jobs)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until all threads have ended; false if they had not after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        threads = [hand.thread for hand in self.hands if hand.thread is not threading.current_thread()]
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def stats(self) -> PoolStats:
        """Counts, at this moment."""
        from holdfast.crew.insight import PoolStats  # noqa: PLC0415 - few ask

        hands = self.hands
        with self.lock:
            running = sum(hand.busy for hand in hands)
            done, failed = sum(hand.done for hand in hands), sum(hand.failed for hand in hands)
            settled = done + failed + self._dropped
            waiting = self._accepted + sum(len(job.waiting) for job in self._jobs) - settled - running
            workers = sum(hand.thread.is_alive() for hand in hands)
            return PoolStats(workers, max(0, waiting), running, done, failed, retried=0, deaths=0)

    def insights(self) -> Insights:
        """Where the threads' time went."""
        found = self.tally.insights((hand.number, hand.words) for hand in self.hands)
        tasks = [hand.done + hand.failed for hand in self.hands]
        return found._replace(seats=tuple(each._replace(tasks=tasks[each.seat or 0]) for each in found.seats))

    # under the lock

    def _goes_on(self) -> bool:
        return self.state == OPEN and self.broken is None

    def _reason(self) -> BaseException:
        return terminated() if self.broken is None else self.broken

    def _cut(self, job: Job) -> None:
        """Put what may be given of a job into the queue."""
        start, put = job.given, self._queue.put
        if job.chunk > 0:  # in one go
            count = len(job.waiting)
            if job.credit is not None:
                count = min(count, job.credit)
                job.credit -= count
            values = [*job.waiting.take(count)]
            job.given += count
            for at in range(0, count, job.chunk):
                put((job, start + at, values[at : at + job.chunk]))
        else:
            while job.waiting:
                put((job, job.given, [*job.cut(self.workers)]))
        self._accepted += job.given - start
        if job.ended and not job.waiting:
            self._jobs.discard(job)
        else:
            self._jobs.add(job)

    def _see_end(self) -> None:
        """Tell the threads to end, when there is nothing more to come: their orders are the last in the queue."""
        if not self._jobs and not self._told and (self.state != OPEN or self.broken is not None):
            self._told = True
            for _ in self.hands:
                self._queue.put(None)

    def _drop_all(self) -> tuple[set[Job], int]:
        """Forget what has not begun.

        Returns:
            The jobs it belonged to, and the number of tasks.
        """
        jobs, dropped = set(self._jobs), 0
        with suppress(queue.Empty):
            while True:
                message = self._queue.get_nowait()
                if isinstance(message, tuple):
                    jobs.add(message[0])
                    dropped += len(message[2])
        for hand in self.hands:
            left = length_hint(hand.left) if hand.busy else 0
            if left and hand.job is not None:
                jobs.add(hand.job)
                dropped += left
                hand.values.clear()  # ends the iterator
        self._dropped += dropped
        for job in self._jobs:
            dropped += len(job.waiting)
            job.waiting.clear()
            job.ended = True
        self._jobs.clear()
        self._told = False
        self._see_end()
        return jobs, dropped

    # the threads

    def _work(self, hand: _Hand, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        if initializer is not None:
            try:
                initializer(*initargs)
            except BaseException as error:  # noqa: BLE001 - it is the user's, and nobody may wait for ever
                self._break(error)
                return
        take, enter = self._queue.get, hand.enter
        enter(timesheet.WAITING)
        while (message := take()) is not None:
            enter(timesheet.WORKING)
            if type(message) is not tuple:
                shielded(message)
            elif len(message[2]) > 1:
                self._run(hand, *message)
            else:
                self._run_one(hand, message[0], message[1], message[2][0])
            message = None  # while it waits for the next one, it keeps nothing alive
            enter(timesheet.WAITING)
        enter(timesheet.ENDED)

    def _break(self, error: BaseException) -> None:
        """An initializer has failed: so does everything, now and from now on."""
        with self.lock:
            if self.broken is None:
                self.broken = error
            jobs, _ = self._drop_all()
        self._end(jobs)

    def _end(self, jobs: Iterable[Job]) -> None:
        """Tell jobs that no more results will come; not under the lock, since it calls what users have left to call."""
        with self._ending:
            for job in jobs:
                shielded(partial(job.end, self._reason()))

    def _run(self, hand: _Hand, job: Job, start: int, values: list[Any]) -> None:
        """Run a chunk: as few steps of Python a task as can be."""
        count = len(values)
        with self.lock:  # from here on, `_drop_all` sees to what of it has not begun
            too_late = self.state == TERMINATED or self.broken is not None
            if too_late:
                self._dropped += count
            else:
                hand.job, hand.values, hand.left, hand.busy = job, values, iter(values), True
        if too_late:
            self._end([job])
            return
        calls = _calls(job, hand.left)
        results: list[Any] = []
        failures: dict[int, BaseException] = {}
        while len(results) < count:
            try:
                results.extend(calls)
            except BaseException as error:  # noqa: BLE001 - the user's; also what would end the thread
                failures[len(results)] = _without_own_frames(error)
            else:
                if len(results) == count or not values:
                    break
                failures[len(results)] = StopIteration()  # raised by a task, and taken for the end by extend()
            results.append(None)
        hand.enter(timesheet.SENDING)
        hand.busy = False
        hand.done += len(results) - len(failures)
        hand.failed += len(failures)
        self._settle(job, start, results, failures)
        hand.job, hand.values, hand.left = None, [], iter(())

    def _run_one(self, hand: _Hand, job: Job, start: int, value: Any) -> None:  # noqa: ANN401 - an argument
        """Run a task that comes by itself."""
        hand.busy = True
        failures = _NO_FAILURES
        result = None
        try:
            if job.call == 0:
                result = job.function(value)
            elif job.call == 1:
                result = job.function(*value)
            else:
                result = job.function(*value[0], **value[1])
        except BaseException as error:  # noqa: BLE001 - as above
            failures = {0: _without_own_frames(error)}
            hand.failed += 1
        else:
            hand.done += 1
        hand.busy = False
        seconds = hand.enter(timesheet.SENDING) / 1e9
        if seconds > self.tally.floor:
            with self._settling:
                shielded(partial(self.tally.note, Batch(0, job, start, [value]), 0, seconds))
        self._settle(job, start, [result], failures)

    def _settle(self, job: Any, start: int, results: list[Any], failures: dict[int, BaseException]) -> None:  # noqa: ANN401
        """Hand results and failures over, in order."""
        try:
            if job.is_alone():
                _deliver(job, start, results, failures)
            else:
                with self._settling:
                    _deliver(job, start, results, failures)
        except BaseException:  # noqa: BLE001 - whatever a callback raises
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def _without_own_frames(error: BaseException) -> BaseException:
    """The exception with a traceback that begins with the user's first frame."""
    tb = error.__traceback__
    return error.with_traceback(tb and tb.tb_next)


def _calls(job: Job, values: Iterator[Any]) -> Iterator[Any]:
    """The calls of a job, as an iterator that makes one a step."""
    if job.call == 0:
        return map(job.function, values)
    if job.call == 1:
        return starmap(job.function, values)
    return starmap(partial(_call, job.function), values)


def _call(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:  # noqa: ANN401
    return function(*args, **named)


def _deliver(job: Job, start: int, results: list[Any], failures: dict[int, BaseException]) -> None:
    begin = 0
    for position, error in failures.items():
        if position > begin:
            job.deliver(start + begin, None, results[begin:position])
        job.fail(start + position, error)
        begin = position + 1
    if begin < len(results):
        job.deliver(start + begin, None, results[begin:] if begin else results)
