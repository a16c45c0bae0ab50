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

import os
import signal
import threading
import time
from _queue import Empty  # the module around it loads more than it has
from collections import deque
from functools import partial
from multiprocessing import util

from holdfast import guard
from holdfast.crew import CLOSED, OPEN, TERMINATED, cargo, deaths, ledger, worker
from holdfast.crew.endings import (
    Doom,
    ending,
    rebuilt,
    settling,
    shielded,
    task_timeout,
    terminated,
    with_task,
    worker_died,
)
from holdfast.crew.failures import Marks, Told
from holdfast.crew.giving import OVERDUE, STUCK, Giving
from holdfast.crew.interrupts import HeldBack, rescue
from holdfast.crew.plan import Hand, Plan
from holdfast.crew.seat import Outfit
from holdfast.crew.staff import Staff
from holdfast.crew.tally import Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from holdfast.crew.deaths import Death
    from holdfast.crew.insight import Insights, PoolStats
    from holdfast.crew.plan import Batch, Job, Trade
    from holdfast.errors import WorkerDied

    Calls = list[Callable[[], object]]

__all__ = ["Crew", "before_exit"]

_MANY = 256  # messages taken at a time
_LONGEST_PAUSE = 0.1  # seconds between such looks when they find nothing
_FALSE_STARTS = 8  # workers in a row that end by themselves before they are ready
_KILLED_STARTS = 100  # the same, killed
_MOMENT = 0.0005  # seconds in which what is offered is collected, while all have something to do
_GRACE = 0.2  # seconds between SIGTERM and SIGKILL

_alive: set[Crew] = set()  # whose workers have not ended
_ends: list[Callable[[], object]] = []
_watched = 0  # the process of which `_end_all` is a finalizer


def before_exit(function: Callable[[], object]) -> None:
    """Have a front see to its crews as the process ends, both when threads are waited for and when children are.

    Args:
        function: called without arguments, maybe twice, and in forked children that know nothing of those crews.
    """
    threading._register_atexit(function)  # type: ignore[attr-defined]  # noqa: SLF001 - before threads are joined
    _ends.append(function)


def _end_all() -> None:
    """End all before multiprocessing waits for its children; also crews whose own finalizers a Ctrl-C has hit."""
    for function in _ends:
        function()
    for crew in list(_alive):
        crew.terminate()


def _end_with_this_process() -> None:
    global _watched  # noqa: PLW0603 - there is one in a process
    if _watched != os.getpid():
        _watched = os.getpid()
        _alive.clear()
        util.Finalize(None, _end_all, exitpriority=15)


class Crew(Giving):
    """Worker processes and what they do.

    Args:
        context: where processes come from.
        workers: how many.
        initializer: called in each worker as it starts, with `initargs`.
        most: batches that a worker does before another takes its place; None for any number.
        lazy: start workers as they are needed.
        label: of the processes' names.
        died: returns the class of the errors for dead workers.
        exits: whether ``sys.exit()`` in a task ends its worker; else it is how that task failed.
        on_failed_start: makes the error for all tasks from a failed initializer's; by default that error.
        outfit: of the workers' seats.

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
        died: Callable[[], type[WorkerDied]] = worker_died,
        on_failed_start: Callable[[BaseException], BaseException] | None = None,
        outfit: Outfit | None = None,
    ) -> None:
        rescue()
        _end_with_this_process()
        self.pid = os.getpid()
        self.workers = workers
        self.lock = threading.RLock()
        self.plan = Plan(most, workers)
        self.state = OPEN
        self.broken: BaseException | None = None
        self.thrown_away = 0
        self._died, self._on_failed_start = died, on_failed_start
        self._lazy = lazy
        self._inbox: deque[tuple[Trade, Any, Any]] = deque()
        self._later: deque[Callable[[], object]] = deque()
        self._false_starts = 0.0
        self._doomed: dict[int, Doom] = {}  # by hand
        self._pause = STUCK  # seconds until ledgers are looked into again, if need be
        self._offered = 0.0  # when something was handed out by `offer`, on the monotonic clock
        self._until = 0.0  # when the pump looks around by itself, on the monotonic clock; 0 while it does so
        self.finished = False  # the pump will not look around any more
        self.tally = Tally()
        started = self.tally.started
        self.staff = Staff(
            context, workers, label, initializer, tuple(initargs), outfit or Outfit(), started, exits=exits
        )
        self._results = self.staff.results
        self._memory = deaths.oom_kills()
        self.pump = threading.Thread(target=self._run, name="holdfast-pool-pump", daemon=True)
        try:
            if not lazy:
                self.refill()
            _alive.add(self)
            self.pump.start()
        except BaseException:
            _alive.discard(self)
            self.state = TERMINATED
            self.staff.close()
            raise

    # called by the fronts

    def submit(self, job: Job) -> None:
        """Take a job, and give of it what there is room for.

        Raises:
            RuntimeError: this is another process than the one that made the crew.
        """
        self.check()
        with self._change() as calls:
            if self.broken is not None:
                calls.append(partial(job.end, self.broken))
            elif self.state == TERMINATED or self.finished:  # since the front has looked
                calls.append(partial(job.end, terminated()))
            else:
                self.plan.add(job)
                self._need_more(calls)
                self._hand_out(calls)

    def submit_one(self, trade: Trade, slip: Any, value: Any) -> None:  # noqa: ANN401 - see `plan.Single`
        """Take a call of one task.

        Raises:
            RuntimeError: this is another process than the one that made the crew.
        """
        self.check()
        inbox = self._inbox
        inbox.append((trade, slip, value))
        # All have as much to do as they may have. Whoever finds room looks into the inbox after he has said so.
        if self.plan.full and len(self.plan.hands) >= self.workers:
            return
        with self._change() as calls:
            self._sort_inbox(calls)
            self._need_more(calls)
            self._hand_out(calls)

    def feed(self, job: Job, values: Sequence[Any] = (), *, credit: int | None = 0, ended: bool = False) -> None:
        """Add arguments to a job, or leave to have more of its results under way; ``credit=None`` lifts the bound.

        Raises:
            RuntimeError: arguments for a job that is `Job.pulled`, and the crew is closed.
        """
        with self._change() as calls:
            if job.pulled and job.ended and values:
                message = "cannot schedule new futures after shutdown"
                raise RuntimeError(message)
            job.waiting.extend(values)
            job.ended = job.ended or ended
            if job.credit is not None:
                job.credit = None if credit is None else job.credit + credit
            if not self.plan.full:  # else no worker has room
                self._hand_out(calls)
            if self._over():
                calls.append(self.wake)

    def offer(self, job: Job, values: Sequence[Any]) -> None:
        """Add arguments to a job that come one by one: they go at once to who is idle, else a moment's together.

        While all have something to do, each result that comes has the pump hand out what waits.
        """
        now = time.monotonic()
        with self._change() as calls:
            job.waiting.extend(values)
            if self.plan.full or (now - self._offered < _MOMENT and not self.plan.has_idle()):
                return
            self._offered = now
            self._hand_out(calls)

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
        with self._change() as calls:
            if self.state == OPEN:
                self.state = CLOSED
            for job in self.plan.jobs:
                job.credit = None
                job.ended = job.ended or job.pulled
            if self.broken is None:
                self._hand_out(calls)
            calls.append(self.wake)

    def withdraw(self, reason: BaseException) -> list[Any]:
        """Forget what nobody has begun: jobs end with `reason`; the slips of single calls are returned."""
        with self._change() as calls:
            self._sort_inbox(calls)
            for hand in list(self.plan.hands.values()):
                self._take_all_back(hand)
            # Each worker is left one, also those that have not got round to it: what was submitted first is done.
            slips = self.plan.take_singles(sum(not hand.batches for hand in self.plan.hands.values()))
            jobs = {*self.plan.jobs, *(batch.job for batch in self.plan.again)}
            unended = {job for job in jobs if not job.ended}
            calls += [partial(job.end, reason) for job in jobs if self.plan.abandon(job) or job in unended]
            self._hand_out(calls)
            calls.append(self.wake)
        return slips

    def abandon(self, job: Job) -> None:
        """Forget what of a job nobody was given."""
        with self._change() as calls:
            self.plan.abandon(job)
            if self._over():
                calls.append(self.wake)

    def stats(self) -> PoolStats:
        """Counts, at this moment."""
        with self.lock:
            hands = self.plan.hands.values()
            running = sum(bool(hand.batches) for hand in hands)
            return self.tally.stats(len(hands), running, self.plan.outstanding() + len(self._inbox))

    def insights(self) -> Insights:
        """Where the workers' time went."""
        with self.lock:
            return self.tally.insights(self.staff.present())

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
        with self._change() as calls:
            if self.state != TERMINATED:
                self._sort_inbox(calls)
                self.thrown_away = self.plan.outstanding()
                self.state = TERMINATED
                self._fail_all(reason or terminated, calls)
                self._sort_inbox(calls)
                self.staff.signal_all(signal.SIGTERM)
            calls.insert(0, self.wake)
        self.staff.end_all(_GRACE)
        self.wake()
        self.join(5.0)  # until the workers are buried; not for ever, for a callback may keep the pump

    def join(self, timeout: float | None = None) -> bool:
        """Wait until all workers have ended; false if they had not after `timeout` seconds."""
        if threading.current_thread() is not self.pump and os.getpid() == self.pid:
            self.pump.join(timeout)
            return not self.pump.is_alive()
        return True

    def stop(self, job: Job, reason: BaseException | None) -> bool:
        """Stop the running tasks of a job: their workers are killed, the tasks fail with `reason` (None: silently).

        Returns:
            Whether any was stopped, or forgotten before it began.
        """
        with self._change() as calls:
            calls.append(self.wake)
            for hand in list(self.plan.hands.values()):
                if any(b.job is job for b in hand.batches):
                    self._take_all_back(hand)
            stopped = self.plan.abandon(job) > 0
            for hand in list(self.plan.hands.values()):
                batch = self._working(hand)
                if batch is not None and batch.job is job:
                    position = self.staff.running(hand.number, batch.number)
                    stopped = (position is not None and self._doom(hand, batch, position, reason)) or stopped
        return stopped

    def stop_one(self, slip: object, *, kill: bool = True) -> bool:
        """Stop a single call: it is not begun, or, with `kill`, its worker is killed; false if neither can be."""
        with self._change() as calls:
            calls.append(self.wake)
            self._sort_inbox(calls)
            return self.plan.withdraw(slip) or self._stop_given(slip, kill=kill)

    def _stop_given(self, slip: object, *, kill: bool) -> bool:
        for hand in list(self.plan.hands.values()):
            if any(self.plan.place(batch, slip) is not None for batch in hand.batches):
                self._take_all_back(hand)
                if self.plan.withdraw(slip):
                    return True
                batch = self._working(hand) if kill else None
                at = None if batch is None else self.plan.place(batch, slip)
                return batch is not None and at is not None and self._doom(hand, batch, at, None)
        return False

    def _doom(self, hand: Hand, batch: Batch, position: int, reason: BaseException | None) -> bool:
        """End the worker of a running task; false if it is not that task which runs.

        The worker stands still while this is looked at, so that no other task is hit.
        """
        if hand.number in self._doomed:
            return False
        self.staff.freeze(hand.number)
        runs = self.staff.running(hand.number, batch.number) == position
        if runs:
            self._doomed[hand.number] = Doom(batch.number, position, reason, time.monotonic() + _GRACE)
            self.staff.signal(hand.number, signal.SIGTERM)
        self.staff.signal(hand.number, signal.SIGCONT)
        return runs

    # workers

    def refill(self) -> None:
        """Start as many workers as are missing."""
        with HeldBack():
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

    def _need_more(self, calls: Calls) -> None:
        """Start a worker for a job, where that is done as needed, if all that there are have something to do."""
        if not self._lazy or self.broken is not None or self.state == TERMINATED or self.finished:
            return
        if len(self.plan.hands) < self.workers and all(hand.batches for hand in self.plan.hands.values()):
            hand = Hand(self.staff.next_number())
            try:
                with HeldBack():
                    self.plan.hands[hand.number] = hand
                    self.staff.start(hand.number)
            except Exception as error:  # noqa: BLE001 - a limit of the system, or arguments that cannot be pickled
                self.plan.hands.pop(hand.number, None)
                if not self.plan.hands:
                    self._break(error, calls, as_it_is=True)

    # the pump

    def _run(self) -> None:
        try:
            self.staff.watch()
            while not self._round():
                pass
        except BaseException as error:  # noqa: BLE001 - nobody may wait for ever
            self._give_up(error)
        finally:
            self.finished = True
            self.staff.close()
            _alive.discard(self)

    def _round(self) -> bool:
        """Wait for something to happen and see to it; true when all is over."""
        with self.lock:
            wait = self._patience()
            self._until = time.monotonic() + wait
        messages = self._messages(wait)
        calls: Calls = []
        with self.lock:
            self._until = 0.0
            gone = self.staff.gone()
            if gone:  # all that the dead have sent comes first
                while more := self._messages(0):
                    messages += more
            for message in messages:
                if message is not None:
                    self._take_in(message, calls)
            for number in gone:
                self._see_death(number, calls)
            if self._peek(calls) or messages:
                self._pause = STUCK
            else:
                self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            self._see_deadlines()
            self._spread(calls)
            self._hand_out(calls)
            missing = len(self.plan.hands) < self._wanted()
        messages.clear()
        message = None
        while self._later:
            calls.append(self._later.popleft())
        call = None
        for call in calls:
            shielded(call)
        calls.clear()
        del call
        if missing:
            self._refill_or_break()
        with self.lock:
            self.finished = self._over()
            return self.finished

    def _messages(self, timeout: float) -> list[Any]:
        try:
            found: list[Any] = self._results.get_many(_MANY, timeout > 0, timeout or None)
        except Empty:
            return []
        return found

    def _refill_or_break(self) -> None:
        try:
            self.refill()
        except OSError as error:
            if not self.plan.hands:  # else it goes on with fewer workers, and tries again at the next look around
                self._give_up(error)

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
        number, batch, start, marks, travelled, spent, longest, at = message
        values = cargo.unpacked(travelled)
        hand = self.plan.hands.get(number)
        if batch == worker.READY:
            self._false_starts = 0.0
            if hand is not None:
                hand.ready = True
                hand.heard = time.monotonic()
            return
        if batch == worker.INIT_FAILED:
            if self.broken is None:
                self._break(rebuilt(worker.Failure(*values[0])), calls)
            return
        if hand is not None:
            hand.heard, hand.stuck = time.monotonic(), False
        found = self.plan.current(number, batch)
        if found is None:
            return
        known = min(found.done - start, len(values))  # from the ledger
        if longest > self.tally.floor:
            calls.append(partial(self.tally.note, found, start + at, longest))
        self.plan.arrived(number, batch, len(values) - known, spent / len(values))
        if known:
            start, values, marks = start + known, values[known:], marks and marks[known:]
        if not values:
            return
        self.tally.took(self.staff.members[number].seat, len(values))
        if marks is None:
            calls.append(partial(found.job.deliver, found.start + start, None, values))
        else:
            self._deliver(found, start, marks, values, calls, self.staff.members[number].process.pid)

    def _peek(self, calls: Calls) -> bool:
        """Take in, from the ledgers of the busy, results that wait behind a long task; whether there were any."""
        any_found = False
        now = time.monotonic()
        for hand in self.plan.hands.values():
            batch = hand.batches[0] if hand.batches else None
            if batch is None or batch.count == 1 or not batch.job.urgent or now - hand.heard < OVERDUE:
                continue
            hand.heard = now
            found = self.staff.peek(hand.number, batch.number, batch.done)
            if found is not None:
                start, marks, values = found
                any_found = True
                self.plan.arrived(hand.number, batch.number, len(values))
                self.tally.took(self.staff.members[hand.number].seat, len(values))
                self._deliver(batch, start, marks, values, calls, self.staff.members[hand.number].process.pid)
        return any_found

    def _deliver(
        self, batch: Batch, start: int, marks: bytes | None, values: list[Any], calls: Calls, pid: int
    ) -> None:
        job, begin = batch.job, batch.start + start
        if marks is not None and worker.FAILED in marks:
            told = bytearray(marks)
            for offset, mark in enumerate(marks):
                if mark == worker.FAILED:
                    again = self.plan.retry(job, begin + offset, batch.values[start + offset])
                    self.tally.failing(again=again)
                    if again:
                        told[offset] = worker.SKIPPED
                    values[offset] = with_task(batch, pid, begin + offset, Told(*values[offset]))
            marks = bytes(told)
        if marks is not None and worker.SEALED in marks:  # the parent may yet fail to open some
            marks = Marks(marks)
            marks.name_task = partial(with_task, batch, pid)
        calls.append(partial(job.deliver, begin, marks, values))

    # deaths and deadlines

    def _see_death(self, number: int, calls: Calls) -> None:
        hand = self.plan.hands.get(number)
        death, words, (marks, values) = self.staff.bury(number, ready=hand is not None and hand.ready)
        told = self.state == TERMINATED or self.broken is not None
        idle = hand is None or not hand.batches
        self.tally.ended(death.seat, words, in_order=told or (death.exitcode == 0 and idle))
        if hand is None:
            return
        doomed = self._doomed.pop(number, None)
        finished = words[ledger.LAST] if words[ledger.STATE] == ledger.SENDING else None
        claimed = ledger.claimed(words)
        after = self.plan.died(hand, words[ledger.BATCH], words[ledger.BASE], len(values), finished, claimed)
        if death.signal == "SIGKILL":
            self._remember_memory(death)
        batch = after.batch
        if batch is not None:
            fresh = values[after.skip : batch.count - batch.done + after.skip]
            if fresh:
                self.tally.took(death.seat, len(fresh))
                self._deliver(batch, batch.done, marks[after.skip :], fresh, calls, death.pid)
            for position in after.lost:
                self._lose(batch, position, death, doomed, calls, sending=after.sending)
        elif not hand.ready and death.exitcode == guard.EXIT and self.broken is None:
            self._break(guard.missing(), calls, as_it_is=True)
        elif not hand.ready and death.exitcode != 0:
            self._false_starts += 1 / _KILLED_STARTS if death.signal == "SIGKILL" else 1 / _FALSE_STARTS
            if self._false_starts >= 1 and self.broken is None:
                kind = self._died()
                last = f"the last one (pid {death.pid}) {death.how()}"
                message = f"many workers in a row ended before they were ready; {last}"
                if not self.staff.forks and not death.signal:
                    message += "; what they print says why, most often the program's main module failed in them"
                error = kind(message, pid=death.pid, exitcode=death.exitcode, signal=death.signal)
                self._break(error, calls, as_it_is=True)

    def _lose(
        self,
        batch: Batch,
        position: int,
        death: Death,
        doomed: Doom | None,
        calls: Calls,
        *,
        sending: bool,
    ) -> None:
        job, index, value = batch.job, batch.start + position, batch.values[position]
        error: BaseException
        if doomed is not None and (doomed.batch, doomed.position) == (batch.number, position):
            if doomed.reason is None:
                self.tally.lost(again=False)
                return
            error = doomed.reason
        else:
            error = death.error(
                job.name, job.number(index), deaths.shown_call(job.call, value), sending=sending, kind=self._died()
            )
        again = self.plan.retry(job, index, value)
        self.tally.lost(again=again)
        if not again:
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
                if now >= doomed.insist:
                    self.staff.signal(hand.number, signal.SIGKILL)
                continue
            batch = hand.batches[0] if hand.batches else None
            if batch is None or batch.job.timeout is None:
                continue
            position = self.staff.running(hand.number, batch.number)
            if position is not None and self._age(hand) >= batch.job.timeout:
                self._doom(hand, batch, position, task_timeout(batch, position))

    # the end

    def _break(self, error: BaseException, calls: Calls, *, as_it_is: bool = False) -> None:
        """No worker can be started: fail everything, now and from now on."""
        if self._on_failed_start is not None and not as_it_is:
            error = self._on_failed_start(error)
        self.broken = broken = error
        self._fail_all(lambda: broken, calls)
        self._sort_inbox(calls)
        self.staff.signal_all(signal.SIGTERM)

    def _give_up(self, error: BaseException) -> None:
        calls: Calls = []
        with self.lock:
            self._break(error, calls, as_it_is=True)
        for call in calls:
            shielded(call)

    def _fail_all(self, reason: Callable[[], BaseException], calls: Calls) -> None:
        plan = self.plan
        batches = [*(b for hand in plan.hands.values() for b in hand.batches), *plan.again]
        jobs = {id(b.job): b.job for b in batches} | {id(job): job for job in plan.jobs if not job.is_given()}
        for job in jobs.values():
            calls.append(ending(job, reason))
        calls += [settling(single.slip, reason) for single in plan.singles]
        plan.again.clear()
        plan.singles.clear()
        plan.jobs.clear()
        plan.full = False  # before the inbox is looked into for the last time: what comes later finds out by itself
        for hand in plan.hands.values():
            hand.batches.clear()
            hand.open = False
