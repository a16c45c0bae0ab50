"""Threads that work on a job of `holdfast.map`, in this interpreter or each in one of its own.

A `Team` looks like a `Crew` as far as `map` needs one. A thread cannot be stopped: one that is over its time, or whose
results nobody wants any more, is left to finish what it is at, unseen, and another one takes its place.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from functools import partial

from holdfast.crew import deaths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from holdfast.parallel.stream import MapJob

    Outcome = tuple[bool, Any]
    Runner = Callable[[list[Any]], Iterator[Outcome]]

__all__ = ["Team", "thread_runner"]

_WORTHWHILE = 0.002  # seconds of work in a chunk, which is handed over by a lock
_FLUSH = 0.01  # seconds that results of a batch wait for company


class _Seat:
    """A thread and what it is at."""

    __slots__ = ("began", "gone", "index", "value")

    def __init__(self) -> None:
        self.index = -1  # of the task that it runs under a deadline
        self.value: Any = None  # its argument
        self.began = 0.0
        self.gone = False  # somebody else has its place


class Team:
    """Some threads, for one job.

    Args:
        workers: how many.
        make_runner: called in each thread as it starts; makes what runs tasks, one after the other, lazily.
        name: of the threads.
    """

    def __init__(self, workers: int, make_runner: Callable[[], Runner], name: str = "holdfast-map") -> None:
        self.pid = os.getpid()
        self.workers = workers
        self._mutex = threading.RLock()
        self.broken: BaseException | None = None
        self.closed = False
        self._changed = threading.Condition(self._mutex)
        self._make_runner, self._name = make_runner, name
        self.job: MapJob | None = None
        self._again: deque[tuple[int, list[Any]]] = deque()
        self._seats: set[_Seat] = set()
        self._numbers = 0
        self._threads_left = 0  # that have not ended, those that lost their place among them
        self._monitored = False

    # as of a crew

    @property
    def lock(self) -> Any:  # noqa: ANN401 - a lock, of whatever kind
        """What must be held where more than one of these methods are to be one step."""
        return self._mutex

    def submit(self, job: MapJob) -> None:
        """Begin."""
        with self._mutex:
            self.job = job
            job.worthwhile = _WORTHWHILE
            if job.timeout is not None:  # a thread that has run out of time is left, with all that it was given
                job.chunk, job.fixed = 1, True
            for _ in range(self.workers if job.total is None else min(self.workers, job.total)):
                self._start()
            if job.timeout is not None and not self._monitored:
                self._monitored = True
                threading.Thread(target=self._monitor, name=f"{self._name}-deadlines", daemon=True).start()

    def feed(self, job: MapJob, values: Iterable[Any] = (), *, credit: int | None = 0, ended: bool = False) -> None:
        """Add arguments, or leave to have more results under way; ``credit=None`` lifts the bound."""
        with self._mutex:
            job.waiting.extend(values)
            job.ended = job.ended or ended
            if job.credit is not None:
                job.credit = None if credit is None else job.credit + credit
            self._changed.notify_all()

    def abandon(self, job: MapJob) -> None:
        """Forget what nobody has begun."""
        with self._mutex:
            job.waiting.clear()
            job.ended = True
            self._again.clear()
            self._changed.notify_all()

    def stop(self, job: MapJob, reason: BaseException | None) -> None:  # noqa: ARG002 - threads cannot be stopped
        """Forget what nobody has begun; what runs finishes unseen."""
        self.abandon(job)

    def later(self, call: Callable[[], object]) -> None:
        """Call something soon, in another thread."""
        threading.Thread(target=call, name=f"{self._name}-end", daemon=True).start()

    def close(self) -> None:
        """No more jobs will come: the threads end when there is nothing left to do."""
        with self._mutex:
            self.closed = True
            if self.job is not None:
                self.job.ended = True
            self._changed.notify_all()

    def end(self) -> None:
        """Begin nothing more."""
        job = self.job
        if job is not None:
            job.drop()
            self.abandon(job)

    def join(self, timeout: float) -> bool:
        """Wait at most so many seconds for the threads to end; whether they have."""
        with self._mutex:
            return self._changed.wait_for(lambda: not self._threads_left, timeout)

    # the threads

    def _start(self) -> None:
        self._numbers += 1
        seat = _Seat()
        self._seats.add(seat)
        self._threads_left += 1
        threading.Thread(target=self._serve, args=(seat,), name=f"{self._name}-{self._numbers}", daemon=True).start()

    def _serve(self, seat: _Seat) -> None:
        job = self.job
        assert job is not None  # noqa: S101 - it was submitted before threads were started
        runner = None
        try:
            runner = self._make_runner()
            while (piece := self._next(seat)) is not None:
                self._run(seat, runner, job, *piece)
        except BaseException as error:  # noqa: BLE001 - a user's initializer, or an interpreter that does not work
            self._break(error)
        finally:
            end = getattr(runner, "close", None)
            if end is not None:
                end()
            with self._mutex:
                self._seats.discard(seat)
                self._threads_left -= 1
                self._changed.notify_all()

    def _break(self, error: BaseException) -> None:
        with self._mutex:
            self.broken = self.broken or error
        assert self.job is not None  # noqa: S101 - as above
        self.job.end(error)

    def _next(self, seat: _Seat) -> tuple[int, list[Any]] | None:
        """What to do next: waits for it; None for nothing more."""
        job = self.job
        assert job is not None  # noqa: S101 - as above
        with self._mutex:
            while not (seat.gone or job.dropped or self.broken is not None):
                if self._again:
                    return self._again.popleft()
                if job.waiting and job.credit != 0:
                    start = job.given
                    return start, [*job.cut(self.workers)]
                if job.ended and not job.waiting and not self._others_may_fail():
                    return None
                self._changed.wait()
        return None

    def _others_may_fail(self) -> bool:
        """Whether what others run may have to be run again."""
        job = self.job
        return job is not None and bool(job.retries) and job.done < job.given

    def _run(self, seat: _Seat, runner: Runner, job: MapJob, start: int, values: list[Any]) -> None:
        """Run some tasks and hand in what becomes of them."""
        found: list[Any] = []
        began = flushed = time.perf_counter()
        outcomes = runner(values)
        timed = job.timeout is not None
        for position, value in enumerate(values):
            if job.dropped:
                return
            index = start + position
            if timed:
                seat.began, seat.value = time.monotonic(), value
                seat.index = index
            success, result = next(outcomes)
            if timed and not self._in_time(seat):
                return
            if success:
                found.append(result)
                if time.perf_counter() - flushed < _FLUSH:
                    continue
            if found:
                job.add(index + success - len(found), found)
                found = []
            if not success:
                self._failed(job, index, value, result)
                result = None  # the frames of its traceback lead to this one
            flushed = time.perf_counter()
        if found:
            job.add(start + len(values) - len(found), found)
        self._learn(job, (time.perf_counter() - began) / max(len(values), 1))

    def _learn(self, job: MapJob, cost: float) -> None:
        with self._mutex:
            job.cost = cost if job.cost is None else job.cost * 0.5 + cost * 0.5
            self._changed.notify_all()

    def _in_time(self, seat: _Seat) -> bool:
        with self._mutex:
            seat.index = -1
            return not seat.gone

    def _failed(self, job: MapJob, index: int, value: Any, error: BaseException) -> None:  # noqa: ANN401 - an argument
        with self._mutex:
            if job.attempts is None:
                job.attempts = {}
            tried = job.attempts.get(index, 0)
            if tried < job.retries and not job.dropped:
                job.attempts[index] = tried + 1
                self._again.append((index, [value]))
                self._changed.notify_all()
                return
        shown = deaths.shown_call(job.call, value)
        error.add_note(f"holdfast: task {index}, {job.name}{shown}, in a thread of this process")
        job.fail(index, error)
        with self._mutex:
            self._changed.notify_all()

    def _monitor(self) -> None:
        """Take the place away from threads that are over their time."""
        job = self.job
        assert job is not None  # noqa: S101 - as above
        assert job.timeout is not None  # noqa: S101 - as above
        while True:
            with self._mutex:
                if not self._seats or job.dropped:
                    return
                now = time.monotonic()
                over = [seat for seat in self._seats if seat.index >= 0 and now - seat.began >= job.timeout]
                late = [(seat.index, seat.value) for seat in over]
                for seat in over:
                    seat.gone = True
                    self._seats.discard(seat)
                    self._start()
                begun = [seat.began for seat in self._seats if seat.index >= 0]
                until = min(begun, default=now) + job.timeout - now
            for index, value in late:
                self._time_out(job, index, value)
            if not late:
                with self._mutex:
                    self._changed.wait(max(0.001, min(until, job.timeout)))

    def _time_out(self, job: MapJob, index: int, value: Any) -> None:  # noqa: ANN401 - an argument
        from holdfast.errors import TaskTimeout  # noqa: PLC0415 - only where it happens

        shown = deaths.shown_call(job.call, value)
        message = f"task {index} ran for more than {job.timeout} seconds; its thread goes on, unseen: {job.name}{shown}"
        self._failed(job, index, value, TaskTimeout(message, task=index, arguments=shown))


def thread_runner(
    function: Callable[..., Any], call: int, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> Callable[[], Runner]:
    """What makes the runners of threads in this interpreter.

    Args:
        function: what tasks call.
        call: 0 with the argument, 1 with the arguments in it.
        initializer: called in each thread as it starts, with `initargs`.
        initargs: see there.
    """

    def attempt(value: Any) -> Outcome:  # noqa: ANN401 - an argument
        try:
            return True, function(*value) if call else function(value)
        except BaseException as error:  # noqa: BLE001 - the user's
            error.__traceback__ = _users_part(error)
            return False, error

    def make() -> Runner:
        if initializer is not None:
            initializer(*initargs)
        return partial(map, attempt)

    return make


def _users_part(error: BaseException) -> Any:  # noqa: ANN401 - a traceback
    """The traceback without the frame of this module, unless there is no other."""
    tb = error.__traceback__
    return tb if tb is None or tb.tb_next is None else tb.tb_next
