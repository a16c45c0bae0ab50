"""The parent's side: starts workers, gives them batches, takes results in, and sees to deaths and deadlines.

::

    callers' threads ──submit()──▶ plan ──▶ a queue for each worker ──▶ worker 1, 2 ... ─┐
                                    ▲                                                    │
    thread "pump": results, deaths, deadlines ◀──────────── one queue of results ◀───────┘
    thread "watch": sleeps on the workers' pidfds, tells the pump who has ended

The plan and everything beside it is under one lock; the users' code (callbacks, unpickling) runs outside of it. Nobody
keeps a reference from here to a pool or an executor, so that those end when they are dropped.
"""

from __future__ import annotations

import itertools
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast import guard
from holdfast.crew import cargo, deaths, ledger, worker
from holdfast.crew.failures import Marks, Told
from holdfast.crew.interrupts import held_back
from holdfast.crew.plan import Hand, Plan
from holdfast.crew.staff import Staff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdfast.crew.deaths import Death
    from holdfast.crew.plan import Batch, Job
    from holdfast.errors import WorkerDied

    Calls = list[Callable[[], object]]

__all__ = ["Crew"]

OPEN, CLOSED, TERMINATED = range(3)
_MANY = 256  # messages taken at a time
_LOOK_AGAIN = 5.0  # seconds after which the pump looks around without being told
_STUCK = 0.005  # seconds after which what waits behind a task may go to an idle worker
_FALSE_STARTS = 8  # workers in a row that end by themselves before they are ready
_KILLED_STARTS = 100  # the same, killed
_GRACE = 0.2  # seconds between SIGTERM and SIGKILL


class Crew:
    """Worker processes and what they do.

    Args:
        context: where processes come from.
        workers: how many.
        initializer: called in each worker as it starts, with `initargs`.
        most: batches that a worker does before another takes its place; None for any number.
        lazy: start workers as they are needed.
        label: of the processes' names.
        died: the class of the errors for dead workers.
        exits: whether ``sys.exit()`` in a task ends its worker; else it is how that task failed.
        on_failed_start: makes the error for all tasks from a failed initializer's; by default that error.

    Raises:
        ArenaFull: no space for shared memory.
        TooManyProcesses: the system refuses another process.
    """

    def __init__(
        self,
        context: Any,  # noqa: ANN401 - of either library
        workers: int,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        most: int | None = None,
        *,
        lazy: bool = False,
        label: str = "PoolWorker",
        exits: bool = True,
        died: type[WorkerDied] | None = None,
        on_failed_start: Callable[[BaseException], BaseException] | None = None,
    ) -> None:
        self.pid = os.getpid()
        self.workers = workers
        self.lock = threading.RLock()
        self.plan = Plan(most)
        self.state = OPEN
        self.broken: BaseException | None = None
        self.thrown_away = 0
        self._died, self._on_failed_start = died, on_failed_start
        self._lazy = lazy
        self._inbox: deque[tuple[Job, Any]] = deque()
        self._later: deque[Callable[[], object]] = deque()
        self._false_starts = 0.0
        self._doomed: dict[int, tuple[int, BaseException | None, float]] = {}  # hand: batch, reason, when to insist
        self._idle_since = time.monotonic()
        self.staff = Staff(context, label, initializer, tuple(initargs), exits=exits)
        self._results = self.staff.results
        self._memory = deaths.oom_kills()
        self.pump = threading.Thread(target=self._run, name="holdfast-pool-pump", daemon=True)
        if not lazy:
            try:
                self.refill()
            except BaseException:
                self.state = TERMINATED
                self.staff.give_up()
                raise
        self.pump.start()

    # called by the fronts

    def submit(self, job: Job) -> None:
        """Take a job, and give of it what there is room for.

        Raises:
            RuntimeError: this is another process than the one that made the crew.
        """
        self.check()
        calls: Calls = []
        with self.lock:
            if self.broken is not None:
                error = self.broken
                calls.append(lambda: job.end(error))
            else:
                self.plan.add(job)
                if self._lazy:
                    self._need_more(calls)
                self._hand_out(calls)
        for call in calls:
            call()

    def submit_one(self, job: Job, value: Any) -> None:  # noqa: ANN401 - an argument
        """Take a job of one task.

        Raises:
            RuntimeError: this is another process than the one that made the crew.
        """
        self.check()
        inbox = self._inbox
        inbox.append((job, value))
        # All have as much to do as they may have. The pump clears this before it looks into the inbox.
        if self.plan.full and len(self.plan.hands) >= self.workers:
            return
        calls: Calls = []
        with self.lock:
            self._sort_inbox(calls)
            if self._lazy:
                self._need_more(calls)
            self._hand_out(calls)
        for call in calls:
            call()

    def _sort_inbox(self, calls: Calls) -> None:
        inbox, plan = self._inbox, self.plan
        while inbox:
            job, value = inbox.popleft()
            if self.broken is not None:
                calls.append(_ending(job, self._why_broken))
            elif self.state == TERMINATED:
                calls.append(_ending(job, _terminated))
            else:
                plan.add_single(job, value)

    def _why_broken(self) -> BaseException:
        assert self.broken is not None  # noqa: S101 - the caller has seen it
        return self.broken

    def feed(self, job: Job, values: Iterable[Any] = (), *, credit: int | None = 0, ended: bool = False) -> None:
        """Add arguments to a job, or leave to have more of its results under way; ``credit=None`` lifts the bound."""
        calls: Calls = []
        with self.lock:
            job.waiting.extend(values)
            job.ended = job.ended or ended
            if job.credit is not None:
                job.credit = None if credit is None else job.credit + credit
            self._hand_out(calls)
            over = self._over()
        for call in calls:
            call()
        if over:
            self.wake()

    def later(self, call: Callable[[], object]) -> None:
        """Have the pump call something: for finalizers, which may run at any moment, in the midst of anything."""
        if os.getpid() == self.pid:
            self._later.append(call)
            self.wake()

    def check(self) -> None:
        """See that this is the process that made the crew.

        Raises:
            RuntimeError: it is another one, a forked child, say.
        """
        if os.getpid() != self.pid:
            message = f"this pool belongs to process {self.pid}; make one in this process"
            raise RuntimeError(message)

    def close(self) -> None:
        """Take no more jobs; workers end when all is done."""
        if os.getpid() != self.pid:
            return
        calls: Calls = []
        with self.lock:
            if self.state == OPEN:
                self.state = CLOSED
            for job in self.plan.jobs:
                job.credit = None
            if self.broken is None:
                self._hand_out(calls)
        for call in calls:
            call()
        self.wake()

    def withdraw(self) -> list[Job]:
        """Forget what nobody was given; the jobs of one task among it."""
        with self.lock:
            self._sort_inbox([])
            singles = [batch.job for batch in self.plan.singles]
            self.plan.singles.clear()
            for job in list(self.plan.jobs):
                self.plan.abandon(job)
        self.wake()
        return singles

    def abandon(self, job: Job) -> None:
        """Forget what of a job nobody was given."""
        with self.lock:
            self.plan.abandon(job)

    def terminate(self, reason: Callable[[], BaseException] | None = None) -> None:
        """End the workers at once; what has no result yet fails.

        Args:
            reason: makes the error of those.
        """
        if os.getpid() != self.pid:
            return
        if self.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - called by the garbage collector
            self.later(self.terminate)
            return
        calls: Calls = []
        with self.lock:
            if self.state != TERMINATED:
                self._sort_inbox(calls)
                self.thrown_away = self.plan.outstanding()
                self.state = TERMINATED
                self._fail_all(reason or _terminated, calls)
                self.staff.signal_all(signal.SIGTERM)
        self.wake()
        for call in calls:
            call()
        self.staff.end_all(_GRACE)
        self.wake()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until all workers have ended; false if they had not after `timeout` seconds."""
        if threading.current_thread() is not self.pump and os.getpid() == self.pid:
            self.pump.join(timeout)
            return not self.pump.is_alive()
        return True

    def wake(self) -> None:
        """Have the pump look around."""
        with suppress(Exception):  # the queue is closed, or there is no memory: it looks by itself, later
            self._results.put(None)

    def stop(self, job: Job, reason: BaseException | None) -> bool:
        """Stop the running tasks of a job: their workers are killed, the tasks fail with `reason` (None: silently).

        Returns:
            Whether any was stopped, or forgotten before it began.
        """
        with self.lock:
            stopped = self.plan.abandon(job) > 0
            for hand in list(self.plan.hands.values()):
                if any(b.job is job for b in hand.batches):
                    stopped = self._stop_hand(hand, job, reason) or stopped
        self.wake()
        return stopped

    def _stop_hand(self, hand: Hand, job: Job, reason: BaseException | None) -> bool:
        self._recall(hand)
        before = len(self.plan.again)
        self.plan.again = deque(b for b in self.plan.again if b.job is not job)
        running = hand.batches[0] if hand.batches else None
        if running is None or running.job is not job:
            return len(self.plan.again) != before
        self._doomed[hand.number] = (running.number, reason, time.monotonic() + _GRACE)
        self.staff.signal(hand.number, signal.SIGTERM)
        return True

    # workers

    def refill(self) -> None:
        """Start as many workers as are missing."""
        with held_back():
            self._refill()

    def _refill(self) -> None:
        while True:
            with self.lock:
                if self.state == TERMINATED or self.broken is not None or len(self.plan.hands) >= self._wanted():
                    return
                hand = Hand(self.staff.next_number())
                hand.open = False  # until it has a queue
                self.plan.hands[hand.number] = hand
            try:
                self.staff.start(hand.number)
            except BaseException:
                with self.lock:
                    self.plan.hands.pop(hand.number, None)
                raise
            calls: Calls = []
            with self.lock:
                hand.open = self.state != TERMINATED and self.broken is None
                if not hand.open:
                    self.staff.signal(hand.number, signal.SIGKILL)
                self._hand_out(calls)
            for call in calls:
                call()

    def _wanted(self) -> int:
        if self.state == OPEN and not self._lazy:
            return self.workers
        if self.plan.idle():
            return 0
        if self.state == OPEN:
            return min(self.workers, max(len(self.plan.hands), self.plan.batches()))
        return min(self.workers, max(1, self.plan.outstanding()))

    def _all_busy(self) -> bool:
        return all(hand.batches for hand in self.plan.hands.values())

    def _need_more(self, calls: Calls) -> None:
        """Start a worker for a job, if all that there are have something to do."""
        if len(self.plan.hands) < self.workers and self._all_busy():
            hand = Hand(self.staff.next_number())
            try:
                with held_back():
                    self.plan.hands[hand.number] = hand
                    self.staff.start(hand.number)
            except Exception as error:  # noqa: BLE001 - a limit of the system, or arguments that cannot be pickled
                self.plan.hands.pop(hand.number, None)
                if not self.plan.hands:
                    self._break(error, calls)

    # the pump

    def _run(self) -> None:
        try:
            while not self._round():
                pass
        except BaseException as error:  # noqa: BLE001 - nobody may wait for ever
            self._give_up(error)
        finally:
            self.staff.close()

    def _round(self) -> bool:
        """Wait for something to happen and see to it; true when all is over."""
        messages = self._messages(self._patience())
        calls: Calls = []
        with self.lock:
            gone = self.staff.gone()
            if gone:  # all that the dead have sent comes first
                while more := self._messages(0):
                    messages += more
            for message in messages:
                if message is not None:
                    self._take_in(message, calls)
            for number in gone:
                self._see_death(number, calls)
            self._see_deadlines()
            self._hand_out(calls)
            missing = len(self.plan.hands) < self._wanted()
        messages.clear()
        message = None
        while self._later:
            calls.append(self._later.popleft())
        call = None
        for call in calls:
            _shielded(call)
        calls.clear()
        del call
        if missing:
            self._refill_or_break()
        with self.lock:
            return self._over()

    def _messages(self, timeout: float) -> list[Any]:
        try:
            found: list[Any] = self._results.get_many(_MANY, timeout > 0, timeout or None)
        except queue.Empty:
            return []
        return found

    def _refill_or_break(self) -> None:
        try:
            self.refill()
        except OSError as error:
            if not self.plan.hands:
                self._give_up(error)
            # with fewer workers it goes on, and tries again at the next look around

    def _over(self) -> bool:
        """Whether the pump may end. Tells workers to end, when there is nothing more to come."""
        if self.state == OPEN:
            return False
        if self.state == TERMINATED or self.broken is not None:
            return not self.plan.hands
        if not self.plan.idle():
            return False
        for hand in self.plan.hands.values():
            if hand.open:
                hand.open = False
                self.staff.dismiss(hand.number)
        return not self.plan.hands

    def _take_in(self, message: tuple[Any, ...], calls: Calls) -> None:
        number, batch, start, marks, values, spent = message
        hand = self.plan.hands.get(number)
        if batch == worker.READY:
            self._false_starts = 0.0
            if hand is not None:
                hand.ready = True
            return
        if batch == worker.INIT_FAILED:
            if self.broken is None:
                self._break(_rebuilt(worker.Failure(*values[0])), calls)
            return
        found = self.plan.arrived(number, batch, len(values), spent)
        if found is not None and marks is None:
            calls.append(partial(found.job.deliver, found.start + start, None, values))
        elif found is not None:
            pid = self.staff.members[number].process.pid
            self._deliver(found, start, marks, values, calls, pid)

    def _deliver(
        self,
        batch: Batch,
        start: int,
        marks: bytes | None,
        values: list[Any],
        calls: Calls,
        pid: int,
    ) -> None:
        job, begin = batch.job, batch.start + start
        if marks is not None and worker.FAILED in marks:
            told = bytearray(marks)
            for offset, mark in enumerate(marks):
                if mark == worker.FAILED:
                    if self.plan.retry(job, begin + offset, batch.values[start + offset]):
                        told[offset] = worker.SKIPPED
                    values[offset] = _with_task(batch, pid, begin + offset, Told(*values[offset]))
            marks = bytes(told)
        if marks is not None and worker.SEALED in marks:  # the parent may yet fail to open some
            marks = Marks(marks)
            marks.name_task = partial(_with_task, batch, pid)
        calls.append(partial(job.deliver, begin, marks, values))

    # deaths and deadlines

    def _see_death(self, number: int, calls: Calls) -> None:
        hand = self.plan.hands.get(number)
        death, words, (marks, values) = self.staff.bury(number, ready=hand is not None and hand.ready)
        if hand is None:
            return
        doomed = self._doomed.pop(number, None)
        finished = words[ledger.LAST] if words[ledger.STATE] == ledger.SENDING else None
        after = self.plan.died(hand, words[ledger.BATCH], words[ledger.BASE], len(values), finished)
        if death.signal == "SIGKILL":
            self._remember_memory(death)
        batch = after.batch
        if batch is not None:
            fresh = values[after.skip : batch.count - batch.done + after.skip]
            if fresh:
                self._deliver(batch, batch.done, marks[after.skip :], fresh, calls, death.pid)
            for position in after.lost:
                self._lose(batch, position, death, doomed, calls, sending=after.sending)
        elif not hand.ready and death.exitcode == guard.EXIT and self.broken is None:
            self._break(guard.missing(), calls, as_it_is=True)
        elif not hand.ready and death.exitcode != 0:
            self._false_starts += 1 / _KILLED_STARTS if death.signal == "SIGKILL" else 1 / _FALSE_STARTS
            if self._false_starts >= 1 and self.broken is None:
                kind = self._died or _worker_died()
                last = f"the last one (pid {death.pid}) {death.how()}"
                message = f"many workers in a row ended before they were ready; {last}"
                self._break(kind(message, pid=death.pid, exitcode=death.exitcode, signal=death.signal), calls)

    def _lose(
        self,
        batch: Batch,
        position: int,
        death: Death,
        doomed: tuple[int, BaseException | None, float] | None,
        calls: Calls,
        *,
        sending: bool,
    ) -> None:
        job, index, value = batch.job, batch.start + position, batch.values[position]
        if doomed is not None and doomed[0] == batch.number:
            error = doomed[1]
            if error is None:
                return
        else:
            error = death.error(
                job.name, job.first + index, deaths.shown_call(job.call, value), sending=sending, kind=self._died
            )
        if not self.plan.retry(job, index, value):
            calls.append(partial(job.fail, index, error))

    def _remember_memory(self, death: Death) -> None:
        now = deaths.oom_kills()
        if now is not None and self._memory is not None and now[1] > self._memory[1]:
            death.memory = now[0]
        self._memory = now

    def _see_deadlines(self) -> None:
        now = time.monotonic()
        for hand in list(self.plan.hands.values()):
            doomed = self._doomed.get(hand.number)
            if doomed is not None:
                if now >= doomed[2]:
                    self.staff.signal(hand.number, signal.SIGKILL)
                continue
            batch = hand.batches[0] if hand.batches else None
            if batch is None or batch.job.timeout is None:
                continue
            words = self.staff.words(hand.number)
            if words[ledger.BATCH] == batch.number and now - words[ledger.BEGAN] / 1e9 >= batch.job.timeout:
                reason = _task_timeout(batch)
                self._doomed[hand.number] = (batch.number, reason, now + _GRACE)
                self.staff.signal(hand.number, signal.SIGTERM)

    def _patience(self) -> float:
        """Seconds until the pump must look around by itself."""
        with self.lock:
            if self.staff.has_gone():  # its ring of the bell may have been taken with the results of another one
                return 0
            if self._doomed:
                return 0.05
            wait = _LOOK_AGAIN
            now = time.monotonic()
            waiting = idle = False
            for hand in self.plan.hands.values():
                if not hand.batches:
                    idle = True
                    continue
                waiting = waiting or len(hand.batches) > 1
                batch = hand.batches[0]
                if batch.job.timeout is not None:
                    words = self.staff.words(hand.number)
                    begun = words[ledger.BATCH] == batch.number
                    left = batch.job.timeout - (now - words[ledger.BEGAN] / 1e9) if begun else 0.02
                    wait = min(wait, max(0.001, left))
            return min(wait, _STUCK) if waiting and idle else wait

    # giving

    def _hand_out(self, calls: Calls) -> None:
        """Give what there is room for; under the lock."""
        if self._inbox:
            self._sort_inbox(calls)
        if self.state == TERMINATED or self.broken is not None:
            return
        parcels: dict[int, list[Any]] = {}
        plan = self.plan
        while (gift := plan.give()) is not None:
            hand, batch = gift
            job = batch.job
            values: list[Any] = batch.values
            sealed = not (_are_plain_calls(values) if job.call == 2 else cargo.are_plain(values))  # noqa: PLR2004
            if sealed:
                values = self._sealed(hand, batch, calls)
                if not values:
                    continue
            message = (batch.number, job.call, job.function, job.reference, sealed, values)
            parcels.setdefault(hand.number, []).append(message)
            if not hand.open:
                parcels[hand.number].append(None)
            if sealed:  # as long as what it takes is still warm, and before much memory is used
                self._send(hand, parcels.pop(hand.number), calls)
        for number, messages in parcels.items():
            self._send(plan.hands[number], messages, calls)
        if plan.full or not plan.hands:
            return
        self._spread()

    def _send(self, hand: Hand, messages: list[Any], calls: Calls) -> None:
        try:
            self.staff.give(hand.number, messages)
        except OSError as error:  # no shared memory; put_many is all or nothing then
            numbers = {message[0] for message in messages if message is not None}
            for batch in [b for b in hand.batches if b.number in numbers]:
                self.plan.withdrawn(hand, batch)
                self._fail_batch(batch, error, calls)
            if not hand.open:
                self.staff.dismiss(hand.number)

    def _sealed(self, hand: Hand, batch: Batch, calls: Calls) -> list[Any]:
        """The arguments of a batch, sealed; what cannot be pickled fails, and the rest becomes several batches."""
        sealed, failures = cargo.seal_all(batch.values)
        if not failures:
            return sealed
        self.plan.withdrawn(hand, batch)
        for index, error in failures:
            calls.append(_failing(batch.job, batch.start + index, error))
        bad = {index for index, _ in failures}
        for good, run in itertools.groupby(range(batch.count), lambda index: index not in bad):
            if good:
                positions = list(run)
                piece = [batch.values[position] for position in positions]
                self.plan.again.append(self.plan.piece(batch.job, batch.start + positions[0], piece))
        return []

    def _spread(self) -> None:
        """Take back what waits behind a long task while somebody is idle."""
        hands = self.plan.hands.values()
        if not any(hand.open and not hand.batches for hand in hands):
            return
        now = time.monotonic_ns()
        for hand in hands:
            if len(hand.batches) > 1:
                words = self.staff.words(hand.number)
                if words[ledger.BATCH] == hand.batches[0].number and now - words[ledger.BEGAN] > _STUCK * 1e9:
                    self._recall(hand)
                    if self.plan.again:
                        self._hand_out([])
                    return

    def _recall(self, hand: Hand) -> None:
        numbers = self.staff.take_back(hand.number)
        self.plan.recalled(hand, numbers)

    # the end

    def _break(self, error: BaseException, calls: Calls, *, as_it_is: bool = False) -> None:
        """No worker can be started: fail everything, now and from now on."""
        if self._on_failed_start is not None and not as_it_is:
            error = self._on_failed_start(error)
        self.broken = broken = error
        self._fail_all(lambda: broken, calls)
        self.staff.signal_all(signal.SIGTERM)

    def _give_up(self, error: BaseException) -> None:
        calls: Calls = []
        with self.lock:
            self._break(error, calls)
        for call in calls:
            _shielded(call)

    def _fail_all(self, reason: Callable[[], BaseException], calls: Calls) -> None:
        plan = self.plan
        batches = [*(b for hand in plan.hands.values() for b in hand.batches), *plan.again, *plan.singles]
        jobs = {id(b.job): b.job for b in batches} | {id(job): job for job in plan.jobs}
        for job in jobs.values():
            calls.append(_ending(job, reason))
        plan.again.clear()
        plan.singles.clear()
        plan.jobs.clear()
        for hand in plan.hands.values():
            hand.batches.clear()
            hand.open = False

    def _fail_batch(self, batch: Batch, error: BaseException, calls: Calls) -> None:
        for position in range(batch.done, batch.count):
            calls.append(_failing(batch.job, batch.start + position, error))


def _are_plain_calls(values: list[Any]) -> bool:
    if len(values) == 1:
        args, named = values[0]
        return not named and cargo.PLAIN.issuperset(map(type, args))
    return all(not named for _, named in values) and cargo.are_plain([each for each, _ in values])


def _with_task(batch: Batch, pid: int, index: int, told: Told) -> Told:
    job = batch.job
    shown = deaths.shown_call(job.call, batch.values[index - batch.start])
    return told._replace(function=job.name, task=job.first + index, arguments=shown, pid=pid)


def _failing(job: Job, index: int, error: BaseException) -> Callable[[], object]:
    return partial(job.fail, index, error)


def _ending(job: Job, reason: Callable[[], BaseException]) -> Callable[[], object]:
    return lambda: job.end(reason())


def _shielded(call: Callable[[], object]) -> None:
    """Call what may run the user's code; its errors are shown, and the pump goes on."""
    try:
        call()
    except BaseException:  # noqa: BLE001 - whatever a callback raises
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def _rebuilt(failure: worker.Failure) -> BaseException:
    from holdfast.crew.failures import rebuilt  # noqa: PLC0415 - only where something failed

    return rebuilt(Told(failure.body, failure.name, failure.text, failure.traceback))


def _terminated() -> BaseException:
    from holdfast.errors import TasksDropped  # noqa: PLC0415 - as above

    return TasksDropped("the pool was terminated before this task had a result")


def _task_timeout(batch: Batch) -> BaseException:
    from holdfast.errors import TaskTimeout  # noqa: PLC0415 - as above

    job = batch.job
    shown = deaths.shown_call(job.call, batch.values[0])
    task = job.first + batch.start
    message = f"task {task} ran for more than {job.timeout} seconds and was stopped: {job.name}{shown}"
    return TaskTimeout(message, task=task, arguments=shown)


def _worker_died() -> type[WorkerDied]:
    from holdfast.errors import WorkerDied  # noqa: PLC0415 - as above

    return WorkerDied
