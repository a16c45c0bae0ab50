"""Pools: the standard library's contract, by workers that may die.

Whatever ends a worker, only the task that it ran fails, with `WorkerDied`; what had not begun goes to others, and
another worker takes the place. A task that began is never run twice. ``crew`` has the workings.
"""

from __future__ import annotations

import os
import warnings
from multiprocessing import util

from holdfast._checks import whole
from holdfast.cpu import cpu_count
from holdfast.crew import CLOSED, OPEN, TERMINATED, seat
from holdfast.crew.crew import Crew
from holdfast.crew.interrupts import HeldBack
from holdfast.crew.trades import Trades, Unsealed
from holdfast.pool_results import (
    AsyncResult,
    IMapIterator,
    IMapUnorderedIterator,
    Lookalike,
    MapResult,
    Stream,
    likeness,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any, Self

    from holdfast.crew.insight import Insights, PoolStats

__all__ = ["AsyncResult", "Pool", "ThreadPool"]

_STATES = {OPEN: "RUN", CLOSED: "CLOSE", TERMINATED: "TERMINATE"}
_WINDOW = 512  # chunks of an iterator's results that are under way before their results are used, at least


class Pool(Lookalike):
    """A pool of worker processes.

    Args:
        processes: how many; by default as many as `holdfast.cpu_count` says.
        initializer: called in each worker as it starts; if it raises, every call of the pool raises that.
        initargs: its arguments.
        maxtasksperchild: how many tasks a worker does before another one takes its place.
        context: where processes and locks come from; by default holdfast's default context.
        finalizer: called in each worker as it ends in order: recycled, or after `close()`. What it raises is shown on
            stderr. A worker that is killed or terminated does not call it.
        finalargs: its arguments.
        pin: True: each worker stays on one of the cores that this process may use; or a list of the cores.
        threads_per_worker: how many CPUs a worker counts as its own: `holdfast.cpu_count` says so in it, and the
            threads of OpenMP and BLAS are bounded, unless their variables are set. By default its share of this
            process's; None leaves all that alone.

    Raises:
        ValueError: a number is less than one, or a core is not among those this process may use.
        TooManyProcesses: the system refuses another process.
        ArenaFull: no space for shared memory.

    Example:
        >>> import holdfast
        >>> with holdfast.Pool(2) as pool:
        ...     pool.map(abs, [-1, -2])
        [1, 2]
    """

    __class__ = likeness("Pool")
    _told_state = ""

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,  # noqa: ANN401 - a context of either library
        *,
        finalizer: Callable[..., object] | None = None,
        finalargs: Iterable[Any] = (),
        pin: bool | Iterable[int] = False,
        threads_per_worker: int | str | None = "share",
    ) -> None:
        from holdfast.context import _default_context  # noqa: PLC0415 - contexts make pools, and the other way round

        chosen = _default_context.get_context() if context is None else context
        count = chosen.cpu_count() if processes is None else whole("processes", processes)
        if count < 1:
            message = "Number of processes must be at least 1"
            raise ValueError(message)
        if maxtasksperchild is not None and (type(maxtasksperchild) is not int or maxtasksperchild <= 0):
            message = "maxtasksperchild must be a positive int or None"
            raise ValueError(message)
        _check_callable(initializer)
        self._ctx = chosen
        self._trades = Trades()
        outfit = seat.fitted(finalizer, finalargs, pin, threads_per_worker)
        with HeldBack():
            self._crew: Crew = Crew(chosen, count, initializer, initargs, maxtasksperchild, outfit=outfit)
            self._terminate = util.Finalize(self, self._crew.terminate, exitpriority=15)

    def __del__(self) -> None:
        crew: Crew | None = self.__dict__.get("_crew")
        if crew is None or crew.pid != os.getpid():
            return
        if self._state == "RUN":
            warnings.warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, stacklevel=2, source=self)
            Pool.terminate(self)

    def __repr__(self) -> str:
        kind = type(self)
        return f"<{kind.__module__}.{kind.__qualname__} state={self._state} pool_size={len(self._pool)}>"

    @property
    def _state(self) -> str:
        return self._told_state or _STATES[self._crew.state]

    @_state.setter
    def _state(self, state: str) -> None:
        self._told_state = state

    @property
    def _pool(self) -> list[Any]:
        return self._crew.staff.processes()

    @property
    def _processes(self) -> int:
        return self._crew.workers

    def _repopulate_pool(self) -> None:
        self._crew.refill()

    def _check_running(self) -> None:
        if self._crew.state != OPEN:
            message = "Pool not running"
            raise ValueError(message)
        self._crew.check()

    # calls

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Any = None) -> Any:  # noqa: ANN401
        """Call a function in a worker and wait for its result.

        Raises:
            BaseException: what the function raised.
            WorkerDied: its worker died.
            ValueError: the pool is closed.
        """
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Any = None,  # noqa: ANN401 - a mapping
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Call a function in a worker.

        Args:
            func: the function.
            args: its arguments.
            kwds: its named arguments.
            callback: called with the result.
            error_callback: called with the exception, if there is one.

        Raises:
            ValueError: the pool is closed.
        """
        self._check_running()
        result = AsyncResult(self, callback, error_callback)
        trade = self._trades.get(func)
        if isinstance(trade, BaseException):
            result.settle(trade, False)
        else:
            self._crew.submit_one(trade, result, (tuple(args), dict(kwds) if kwds else {}))
        return result

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Call a function with each argument; the results, in order.

        Raises:
            BaseException: what the first call to fail raised; the others have run.
            WorkerDied: a worker died.
            ValueError: the pool is closed.
        """
        result: list[Any] = self._map(func, iterable, chunksize, None, None, 0).get()
        return result

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """`map` with several arguments a call.

        Raises:
            BaseException: as `map`.
        """
        result: list[Any] = self._map(func, iterable, chunksize, None, None, 1).get()
        return result

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        """`map` without waiting.

        Raises:
            ValueError: the pool is closed.
        """
        return self._map(func, iterable, chunksize, callback, error_callback, 0)

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        """`starmap` without waiting.

        Raises:
            ValueError: the pool is closed.
        """
        return self._map(func, iterable, chunksize, callback, error_callback, 1)

    def _map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        call: int,
    ) -> MapResult:
        self._check_running()
        chunk = -1 if chunksize is None else max(1, whole("chunksize", chunksize))
        values: Any = iterable if type(iterable) is range else list(iterable)
        if call:
            values = [tuple(value) for value in values]
        trade = self._trades.get(func)
        known = None if isinstance(trade, BaseException) else trade
        job = MapResult(self, known, values, callback, error_callback, call=call, chunk=chunk)
        if isinstance(trade, BaseException):
            job.end(trade)
        elif values:
            self._crew.submit(job)
        return job

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator:
        """`map` as an iterator, which takes arguments only as results are used, up to a bound.

        Raises:
            ValueError: the pool is closed, or the chunk size less than one.
        """
        return self._iterate(func, iterable, chunksize, IMapIterator)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapUnorderedIterator:
        """`imap`, with results in the order in which they come.

        Raises:
            ValueError: the pool is closed, or the chunk size less than one.
        """
        found: Any = self._iterate(func, iterable, chunksize, IMapUnorderedIterator)
        return found  # type: ignore[no-any-return]

    def _iterate(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int, kind: type[IMapIterator]
    ) -> IMapIterator:
        self._check_running()
        chunksize = whole("chunksize", chunksize)
        if chunksize < 1:
            message = f"Chunksize must be 1+, not {chunksize:n}"
            raise ValueError(message)
        trade = self._trades.get(func)
        if isinstance(trade, BaseException):
            raise trade
        job = Stream(trade.function, trade.reference, kind is IMapIterator, chunk=chunksize, name=trade.name)
        window = chunksize * max(_WINDOW, 32 * self._crew.workers)
        return kind(self, self._crew, job, iterable, window)

    # what it tells

    def stats(self) -> PoolStats:
        """Counts of workers and tasks, at this moment; they stay there after the end.

        Example:
            >>> import holdfast
            >>> with holdfast.Pool(2) as pool:
            ...     _ = pool.map(abs, range(10))
            ...     pool.stats().done
            10
        """
        return self._crew.stats()

    def insights(self) -> Insights:
        """Where the workers' time went, seat by seat, and the slowest tasks; ``print()`` makes a table of it.

        Example:
            >>> import holdfast
            >>> with holdfast.Pool(2) as pool:
            ...     _ = pool.map(abs, range(10))
            ...     pool.insights().total.tasks
            10
        """
        return self._crew.insights()

    # the end

    def close(self) -> None:
        """Take no more work; the workers end when all is done."""
        self._crew.close()

    def terminate(self) -> None:
        """End the workers at once; tasks without a result fail with `TasksDropped`."""
        self._crew.terminate()
        self._terminate.cancel()  # only now: a Ctrl-C may have come before

    def join(self) -> None:
        """Wait for the workers to end.

        Raises:
            ValueError: the pool is neither closed nor terminated.
        """
        if self._crew.state == OPEN:
            message = "Pool is still running"
            raise ValueError(message)
        self._crew.join()

    def __reduce__(self) -> Any:  # noqa: ANN401 - it never returns
        message = "pool objects cannot be passed between processes or pickled"
        raise NotImplementedError(message)

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the workers; warns if tasks had no result."""
        running = self._crew.state != TERMINATED
        self.terminate()
        dropped = self._crew.thrown_away
        if dropped and running and kind is None:
            from holdfast import errors  # noqa: PLC0415 - only where something was lost

            message = (
                f"leaving the pool's with block threw away {dropped} tasks without a result; get() them before, "
                "or call close() and join()"
            )
            errors.warn("HF304", message, tasks=dropped)


class ThreadPool(Pool):
    """A pool of threads.

    A task that raises, even ``SystemExit`` or ``KeyboardInterrupt``, fails alone; what an initializer raises is raised
    by every call; ``imap`` takes arguments only as results are used, up to a bound. No thread can be stopped: when the
    pool is terminated, what had not begun fails with `TasksDropped`, and what runs is brought to its end.

    Args:
        processes: how many threads; by default as many as `holdfast.cpu_count` says.
        initializer: called in each thread as it starts.
        initargs: its arguments.

    Raises:
        ValueError: the number is less than one.

    Example:
        >>> from holdfast.pool import ThreadPool
        >>> with ThreadPool(2) as pool:
        ...     pool.map(abs, [-1, -2])
        [1, 2]
    """

    __class__ = likeness("ThreadPool")

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        from holdfast.crew.threads import ThreadCrew  # noqa: PLC0415 - pools of processes do without

        count = cpu_count() if processes is None else whole("processes", processes)
        if count < 1:
            message = "Number of processes must be at least 1"
            raise ValueError(message)
        _check_callable(initializer)
        self._trades = Unsealed()
        crew: Any = ThreadCrew(count, initializer, initargs)
        self._crew = crew
        self._terminate = util.Finalize(self, crew.terminate, exitpriority=15)

    @property
    def _pool(self) -> list[Any]:
        crew: Any = self._crew
        return [hand.thread for hand in crew.hands]

    def _repopulate_pool(self) -> None:
        """Threads are never missing."""


def _check_callable(initializer: object) -> None:
    if initializer is not None and not callable(initializer):
        message = "initializer must be a callable"
        raise TypeError(message)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes
    """Everything else is the standard library's."""
    if name.startswith("__"):  # the import system asks for __path__
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from multiprocessing import pool  # noqa: PLC0415 - it loads much that a pool does without

    return getattr(pool, name)
