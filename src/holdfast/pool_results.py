"""What the asynchronous calls of a `Pool` return: results, and iterators over results."""

from __future__ import annotations

import sys
import threading
from _thread import allocate_lock
from collections import deque
from functools import partial
from multiprocessing import TimeoutError as _Timeout

from holdfast._records import NamedTuple
from holdfast.crew import OPEN, TERMINATED, worker
from holdfast.crew.failures import Told, lost, opened, rebuilt
from holdfast.crew.plan import Job, Line, Shelf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from holdfast.crew.crew import Crew
    from holdfast.crew.plan import Trade

_LONGEST = threading.TIMEOUT_MAX

__all__ = ["AsyncResult", "IMapIterator", "IMapUnorderedIterator", "MapResult"]


def error_of(told: Told) -> BaseException:
    """The exception that the caller of a pool gets for a failed task."""
    from holdfast import pool_errors  # noqa: PLC0415 - only where something failed

    if not told.lost:
        return rebuilt(told, pool_errors.RemoteTraceback)
    plain = lost(told)
    error = pool_errors.EncodingError(str(plain), f"{told.name}: {told.text}", told.shown)
    error.__cause__ = plain.__cause__
    return error


class Flag:
    """An event that is set once, and costs less than `threading.Event`, of which many are made and few waited for."""

    __slots__ = ("_lock", "_set")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._set = False

    def is_set(self) -> bool:
        """Whether it is."""
        return self._set

    def set(self) -> None:
        """Set it; the second time changes nothing."""
        if not self._set:
            self._set = True
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most so many seconds; whether it is set."""
        if not self._set and self._lock.acquire(timeout=-1 if timeout is None else min(max(timeout, 0.0), _LONGEST)):
            self._lock.release()
        return self._set


class Lookalike:
    """What some of the standard library's code asks of objects that say they are of its classes (see `likeness`)."""

    __class_getitem__: Any = classmethod(type(list[int]))

    def __dir__(self) -> list[str]:
        """What it has itself, not what its ``__class__`` says."""
        return sorted({*vars(self), *dir(type(self))})


def likeness(name: str) -> Any:  # noqa: ANN401 - a property
    """A ``__class__`` by which ``isinstance`` takes an object for one of the standard library's, without loading it."""

    def __class__(self: object) -> type:  # noqa: N807 - see above
        std = sys.modules.get("multiprocessing.pool")
        found: type = type(self) if std is None or type(self).__name__ != name else getattr(std, name)
        return found

    return property(__class__)


class AsyncResult(Lookalike):
    """The result of ``apply_async``; a slip, as `plan.Single` has it.

    Args:
        pool: kept alive until the result is there.
        callback: called with the result.
        error_callback: called with the exception.
    """

    __class__ = likeness("AsyncResult")
    error_of = staticmethod(error_of)

    def __init__(
        self,
        pool: Any,  # noqa: ANN401 - see above
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        self._pool = pool
        self._event: Any = Flag()
        self._callback, self._error_callback = callback, error_callback
        self._success = True
        self._value: Any = None

    def is_alone(self) -> bool:
        """Whether threads that take results in need not take turns."""
        return self._callback is None and self._error_callback is None

    def ready(self) -> bool:
        """Whether the result, or the exception, is there."""
        settled: bool = self._event.is_set()
        return settled

    def successful(self) -> bool:
        """Whether there was no exception.

        Raises:
            ValueError: it is not known yet.
        """
        if not self.ready():
            message = f"{self!r} not ready"
            raise ValueError(message)
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the result, at most so many seconds."""
        self._event.wait(timeout)

    def get(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - a result
        """Wait for the result.

        Args:
            timeout: seconds to wait at most.

        Raises:
            multiprocessing.TimeoutError: it did not come in time.
            BaseException: what the function raised; `WorkerDied` if its worker died.
        """
        self.wait(timeout)
        if not self.ready():
            raise _Timeout
        if self._success:
            return self._value
        raise self._value

    def starting(self) -> bool:
        """Whether the result is wanted."""
        return True

    def settle(self, value: Any, success: bool) -> None:  # noqa: ANN401 - a result or an exception
        """Take the result or the exception; the first one counts."""
        if self._event.is_set():
            return
        self._value, self._success = value, success
        call = self._callback if success else self._error_callback
        try:
            if call is not None:
                call(value)
        finally:
            self._event.set()
            self._pool = self._callback = self._error_callback = None


class MapResult(AsyncResult, Job):
    """The result of ``map_async`` and ``starmap_async``.

    Args:
        pool: as above.
        trade: what is called; None if it cannot be.
        values: the arguments.
        callback: as above, with all results.
        error_callback: as above.
        options: those of `Job`.
    """

    __class__ = likeness("MapResult")
    patient = True

    def __init__(
        self,
        pool: Any,  # noqa: ANN401 - as above
        trade: Trade | None,
        values: Sequence[Any],
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        **options: Any,  # noqa: ANN401 - those of Job
    ) -> None:
        AsyncResult.__init__(self, pool, callback, error_callback)
        if trade is None:
            Job.__init__(self, None, False, **options)
        else:
            Job.__init__(self, trade.function, trade.reference, name=trade.name, **options)
        self.waiting = Shelf(values)
        self.ended = True
        self._left = len(values)
        self._found: list[Any] = [None] * len(values)
        self._error: BaseException | None = None
        if not values:
            self.settle([], True)

    def is_alone(self) -> bool:
        """As above: other threads count other parts of it."""
        return False

    def deliver(self, start: int, marks: bytes | None, values: list[Any]) -> None:
        """Take results in."""
        if marks is None:
            self._found[start : start + len(values)] = values
            self._count(len(values))
            return
        for index, mark, value in opened(start, marks, values):
            if mark == worker.PLAIN:
                self._found[index] = value
                self._count(1)
            else:
                self.fail(index, error_of(value))

    def fail(self, index: int, error: BaseException) -> None:  # noqa: ARG002 - the first one counts
        """Take in how a task failed."""
        if self._error is None:
            self._error = error
        self._count(1)

    def end(self, error: BaseException) -> None:
        """Take in that nothing more will come."""
        self.settle(error, False)

    def _count(self, tasks: int) -> None:
        self._left -= tasks
        if self._left == 0:
            if self._error is None:
                self.settle(self._found, True)
            else:
                self.settle(self._error, False)


class Run(NamedTuple):
    """Results of neighbours, as they arrived.

    Attributes:
        values: results and exceptions.
        failed: which of them are exceptions; empty if none is.
    """

    values: list[Any]
    failed: frozenset[int]


class Stream(Job):
    """A job whose results are used one by one: runs of them, which the consumer takes whole.

    Args:
        ordered: results are used in the order of the arguments.
        options: those of `Job`.
    """

    error_of = staticmethod(error_of)
    urgent = True

    def __init__(self, function: Any, reference: bool, ordered: bool, **options: Any) -> None:  # noqa: ANN401
        super().__init__(function, reference, **options)
        self.waiting = Line()
        self._condition = threading.Condition(threading.Lock())
        self._ordered = ordered
        self._runs: Any = {} if ordered else deque()  # by the number of the first task, or as they came
        self.used = 0  # results in runs that were taken
        self.done = 0
        self._total: int | None = None
        self.failure: BaseException | None = None
        self.dropped = False

    def is_alone(self) -> bool:
        """As above: it has a lock of its own."""
        return True

    def deliver(self, start: int, marks: bytes | None, values: list[Any]) -> None:
        """Take results in."""
        if marks is None:
            self._add(start, Run(values, frozenset()))
            return
        found: list[Any] = []
        failed: set[int] = set()
        begin = start
        for index, mark, value in opened(start, marks, values):
            if index != begin + len(found):  # some in between are tried again
                self._add(begin, Run(found, frozenset(failed)))
                begin, found, failed = index, [], set()
            if mark:
                failed.add(len(found))
            found.append(self.error_of(value) if mark else value)
        self._add(begin, Run(found, frozenset(failed)))

    def fail(self, index: int, error: BaseException) -> None:
        """Take in how a task failed."""
        self._add(index, Run([error], frozenset({0})))

    def end(self, error: BaseException) -> None:
        """Take in that nothing more will come."""
        with self._condition:
            self.failure = error
            self._condition.notify_all()

    def _add(self, start: int, run: Run) -> None:
        if not run.values:
            return
        with self._condition:
            self.done += len(run.values)
            if self.dropped:
                return
            if self._ordered:
                self._runs[start] = run
                if start != self.used:
                    return
            else:
                self._runs.append(run)
            self._condition.notify_all()

    def tell_total(self, total: int, error: BaseException | None = None) -> None:
        """Say how many arguments there are; `error`: what their iterator raised at the end."""
        if error is not None:
            self.fail(total, error)
            total += 1
        with self._condition:
            self._total = total
            self._condition.notify_all()

    def take(self, timeout: float | None) -> Run:
        """The next run of results; waits for at most `timeout` seconds.

        Raises:
            StopIteration: there are no more.
            multiprocessing.TimeoutError: none came in time.
            BaseException: nothing more will come, and why.
        """
        with self._condition:
            if not self._there():
                self._condition.wait_for(self._stirred, timeout)
            if self._there():
                run: Run = self._runs.pop(self.used) if self._ordered else self._runs.popleft()
                self.used += len(run.values)
                self._condition.notify_all()
                return run
            if self._total is not None and self.used >= self._total:
                raise StopIteration
            if self.failure is not None:
                raise self.failure
            raise _Timeout

    def _there(self) -> bool:
        return self.used in self._runs if self._ordered else bool(self._runs)

    def _stirred(self) -> bool:
        return self._there() or self.failure is not None or (self._total is not None and self.used >= self._total)

    @property
    def finished(self) -> bool:
        """Whether all results were used."""
        return self._total is not None and self.used >= self._total

    def wait_for_room(self, crew: Crew, fed: int, window: int) -> int:
        """Wait until more arguments may be given.

        Returns:
            How many; less than one if the pool is gone.
        """
        with self._condition:
            while fed - self.used >= window and crew.state == OPEN and not self.dropped:
                if self.failure is not None:
                    return 0
                self._condition.wait(0.25)
            if self.failure is not None or crew.state == TERMINATED:
                return 0
            if self.dropped or crew.state != OPEN:
                return window
            return window - (fed - self.used)

    def drop(self) -> None:
        """Nobody wants the results any more; the tasks run all the same."""
        with self._condition:
            self.dropped = True
            self._runs.clear()
            self._condition.notify_all()


class _Failed:
    """What an iterator raises in place of a result."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class IMapIterator:
    """Iterates over the results of ``imap``, in order.

    Args:
        pool: kept alive by this object.
        crew: who works.
        stream: the job.
        values: the arguments.
        window: how many may be under way beyond those whose results have been used.
    """

    def __init__(self, pool: object, crew: Crew, stream: Stream, values: Iterable[Any], window: int) -> None:
        self._pool, self._crew, self._stream = pool, crew, stream
        self._step = max(1, window // 4)
        self._used = 0
        self._lock = allocate_lock()
        self._values: deque[Any] = deque()  # results that were fetched; failures are wrapped
        if isinstance(values, (list, tuple, range, str, bytes)):
            given = list(values)
            stream.waiting = Shelf(given)
            stream.ended = True
            stream.credit = window
            stream.tell_total(len(given))
            crew.submit(stream)
            return
        arguments = (crew, stream, iter(values), window)
        crew.submit(stream)
        threading.Thread(target=_feed, args=arguments, name="holdfast-pool-feed", daemon=True).start()

    def __iter__(self) -> Iterator[Any]:
        return self

    def next(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - a result
        """The next result.

        Args:
            timeout: seconds to wait at most.

        Raises:
            StopIteration: there are no more.
            multiprocessing.TimeoutError: it did not come in time.
            BaseException: what the task raised, `WorkerDied` if its worker died.
        """
        values = self._values
        while True:
            if not values:
                self._fetch(timeout)
            try:
                value = values.popleft()
            except IndexError:  # another thread took it
                continue
            break
        if type(value) is _Failed:
            raise value.error
        return value

    def _fetch(self, timeout: float | None) -> None:
        """Take the next run of results, which counts as used, and leave to have as many more under way."""
        stream = self._stream
        run = stream.take(timeout)
        values = run.values
        if run.failed:
            values = [_Failed(value) if at in run.failed else value for at, value in enumerate(values)]
        self._values.extend(values)
        if stream.credit is None:
            return
        with self._lock:
            self._used += len(values)
            used = self._used if self._used >= self._step else 0
            self._used -= used
        if used:
            self._crew.feed(stream, credit=used)

    def __next__(self) -> Any:  # noqa: ANN401 - as above
        return self.next()

    def __del__(self) -> None:
        stream = self._stream
        if stream.finished:  # most are: an interrupt that comes within __del__ is lost
            return
        stream.drop()
        if stream.credit is not None:
            self._crew.later(partial(self._crew.feed, stream, credit=None))


class IMapUnorderedIterator(IMapIterator):
    """Iterates over the results of ``imap_unordered``, as they come."""


def _feed(crew: Crew, stream: Stream, values: Iterator[Any], window: int) -> None:
    """Give the arguments of an iterator, as far as they may be given.

    Each chunk at once: the iterator's next step may wait for what becomes of it.
    """
    fed = 0
    error: BaseException | None = None
    more = True
    while more:
        room = stream.wait_for_room(crew, fed, window)
        if room < 1:  # the stream was told how it ends
            crew.feed(stream, credit=None, ended=True)
            return
        until = fed + room
        while more and fed < until:
            batch: list[Any] = []
            try:
                while len(batch) < stream.chunk:
                    batch.append(next(values))
            except StopIteration:
                more = False
            except BaseException as raised:  # noqa: BLE001 - it is the users' iterator
                more, error = False, raised
                batch.clear()  # a chunk is whole or not sent
            fed += len(batch)
            if batch:
                crew.offer(stream, batch)
    stream.tell_total(fed, error)
    crew.feed(stream, credit=None, ended=True)


__all__ += ["Lookalike", "Run", "Stream", "error_of", "likeness"]
