"""`ProcessExecutor`: concurrent.futures' contract, by workers that may die.

::

    submit() ─▶ future (pending) ─given to a worker─▶ (running) ─▶ result, exception, WorkerDied; cancel() stops it
    shutdown() ─▶ what was accepted is finished ─▶ workers end

The executor never breaks because a worker died: that task fails with `WorkerDied`, which is a ``BrokenProcessPool``
here, and the others go on. It breaks only if no worker can be started.
"""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import CancelledError, Executor, Future, _base
from itertools import islice

from holdfast import popen
from holdfast._checks import number, seconds, whole
from holdfast.crew import OPEN, seat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, TypeVar

    from holdfast.crew.crew import Crew
    from holdfast.crew.failures import Told
    from holdfast.crew.insight import Insights, PoolStats
    from holdfast.errors import WorkerDied

    _T = TypeVar("_T")

__all__ = ["ProcessExecutor", "TaskFuture"]

_PENDING, _RUNNING, _FINISHED = _base.PENDING, _base.RUNNING, _base.FINISHED
_CANCELLED, _NOTIFIED = _base.CANCELLED, _base.CANCELLED_AND_NOTIFIED
_MOST_WORKERS = 1 << 16


class _Logged:
    """An initializer whose failure is logged where it happens, as the standard library does.

    Args:
        initializer: the users'.
    """

    def __init__(self, initializer: Callable[..., object]) -> None:
        self._initializer = initializer

    def __call__(self, *args: object) -> None:
        try:
            self._initializer(*args)
        except BaseException:
            _base.LOGGER.critical("Exception in initializer:", exc_info=True)
            raise


def _error_of(told: Told) -> BaseException:
    from holdfast import executor_errors  # noqa: PLC0415 - only where something failed

    return executor_errors.error_of(told)


def _no_workers(error: BaseException) -> BaseException:
    from holdfast import executor_errors  # noqa: PLC0415 - as above

    return executor_errors.no_workers(error)


def _worker_died() -> type[WorkerDied]:
    from holdfast import executor_errors  # noqa: PLC0415 - as above

    return executor_errors.ExecutorWorkerDied


class TaskFuture(Future["_T"]):
    """The future of a task; `cancel` stops the task even if it runs. A slip, as `plan.Single` has it.

    Its condition is made when somebody waits, which few do, around the lock that is there from the start: so a future
    costs a third of the standard library's.
    """

    _crew: Crew | None = None  # where the task is
    _kills = True  # what runs is stopped
    _made: threading.Condition | None = None
    error_of = staticmethod(_error_of)

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._state = _PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        made = self._made
        if made is None:
            made = self.__dict__.setdefault("_made", threading.Condition(self._lock))  # one, whoever comes together
        return made

    def starting(self) -> bool:
        """Whether the result is wanted; it cannot be cancelled as one that waits from now on."""
        with self._lock:
            if self._state == _PENDING:
                self._state = _RUNNING
                return True
        return self.set_running_or_notify_cancel()

    def take_back(self) -> None:
        """What was given to a worker, which had not begun it, waits again."""
        with self._lock:
            if self._state == _RUNNING:
                self._state = _PENDING

    def settle(self, value: Any, success: bool) -> None:  # noqa: ANN401 - a result or an exception
        """Take the result or the exception; the first one counts, and none after `cancel`."""
        with self._lock:
            if self._state not in (_RUNNING, _PENDING):
                return
            if success:
                self._result = value
            else:
                self._exception = value
            self._state = _FINISHED
            for waiter in self._waiters:
                tell = waiter.add_result if success else waiter.add_exception
                tell(self)
            if self._made is not None:
                self._made.notify_all()
        if self._done_callbacks:
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def result(self, timeout: float | None = None) -> _T:
        """What the task returned.

        Args:
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: it has not finished in time.
            CancelledError: it was cancelled.
            BaseException: what it raised, `WorkerDied`, or `TaskTimeout`.
        """
        if self._state == _FINISHED and self._exception is None:
            found: _T = self._result
            return found
        return super().result(timeout)

    def cancel(self) -> bool:
        """Cancel the task: it is not begun, or, if it runs, its worker is stopped and replaced.

        Returns:
            Whether it is cancelled; false if it had finished.
        """
        if super().cancel():
            return True
        if self._crew is None or self.done() or not self._crew.stop_one(self, kill=self._kills):
            return self.cancelled()
        with self._condition:
            if self._state != _RUNNING:
                return self._state in (_CANCELLED, _NOTIFIED)
            self._state = _CANCELLED
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]
        self.set_running_or_notify_cancel()
        return True


class ProcessExecutor(Executor):
    """An executor whose worker processes may die without harm to more than the task they run.

    Args:
        max_workers: how many; by default as many as `holdfast.cpu_count` says. They are started as they are needed.
        mp_context: where processes come from; by default holdfast's default context.
        initializer: called in each worker as it starts.
        initargs: its arguments.
        max_tasks_per_child: how many tasks a worker does before another takes its place.
        timeout: seconds that a task may run before it is stopped and fails with `TaskTimeout`.
        retries: how often a task that failed is run again.
        finalizer: called in each worker as it ends in order: recycled, or after `shutdown()`. What it raises is shown
            on stderr. A worker that is killed or terminated does not call it.
        finalargs: its arguments.
        pin: True: each worker stays on one of the cores that this process may use; or a list of the cores.
        threads_per_worker: how many CPUs a worker counts as its own: `holdfast.cpu_count` says so in it, and the
            threads of OpenMP and BLAS are bounded, unless their variables are set. By default its share of this
            process's; None leaves all that alone.

    Raises:
        ValueError: a number is out of range, or a core is not among those this process may use.
        ArenaFull: no space for shared memory.

    Example:
        >>> from holdfast.futures import ProcessExecutor
        >>> with ProcessExecutor(2) as executor:
        ...     executor.submit(pow, 2, 10).result()
        1024
    """

    _future: type[TaskFuture[Any]] = TaskFuture

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,  # noqa: ANN401 - a context of either library
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        timeout: float | None = None,
        retries: int = 0,
        finalizer: Callable[..., object] | None = None,
        finalargs: Iterable[Any] = (),
        pin: bool | Iterable[int] = False,
        threads_per_worker: int | str | None = "share",
    ) -> None:
        from holdfast.context import _default_context  # noqa: PLC0415 - contexts make pools, and the other way round

        context = _default_context.get_context() if mp_context is None else mp_context
        count = (_default_context.cpu_count() or 1) if max_workers is None else whole("max_workers", max_workers)
        timeout = None if timeout is None else seconds(timeout)
        retries = number("retries", retries, 0)
        _check_numbers(count, initializer, max_tasks_per_child)
        popen.prepare(context.get_start_method())  # it comes up while the first tasks are made
        from holdfast import executor_crew  # noqa: PLC0415 - not for children that only name this class

        self._trades = executor_crew.Trades(timeout, retries)
        self._mp_context = context
        with executor_crew.HeldBack():
            self._crew = executor_crew.Crew(
                context,
                count,
                None if initializer is None else _Logged(initializer),
                initargs,
                max_tasks_per_child,
                lazy=True,
                label="ExecutorWorker",
                exits=False,
                died=_worker_died,
                on_failed_start=_no_workers,
                outfit=seat.fitted(finalizer, finalargs, pin, threads_per_worker),
            )
            self._finalizer = executor_crew.keep(self._crew, self)

    @property
    def _max_workers(self) -> int:
        return self._crew.workers

    @property
    def _processes(self) -> dict[int, Any]:
        return {process.pid: process for process in self._crew.staff.processes()}

    @property
    def _broken(self) -> str | bool:
        return False if self._crew.broken is None else str(self._crew.broken)

    @property
    def _executor_manager_thread(self) -> threading.Thread:
        return self._crew.pump

    def _check_open(self) -> None:
        crew = self._crew
        if crew.broken is not None:
            from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415 - as above

            raise BrokenProcessPool(str(crew.broken)) from crew.broken
        if crew.state != OPEN:
            from holdfast import executor_crew  # noqa: PLC0415 - as above

            message = "cannot schedule new futures after " + (
                "interpreter shutdown" if executor_crew.is_exiting() else "shutdown"
            )
            raise RuntimeError(message)

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:  # noqa: ANN401
        """Have a function called in a worker.

        Args:
            fn: the function.
            args: its arguments.
            kwargs: its named arguments.

        Returns:
            Its future; its exception may be what the function raised (``SystemExit``, too), `WorkerDied`, or
            `TaskTimeout`.

        Raises:
            RuntimeError: the executor was shut down.
            BrokenProcessPool: no worker can be started.
        """
        crew = self._crew
        if crew.state != OPEN or crew.broken is not None:
            self._check_open()
        future = self._future()
        trade = self._trades.get(fn)
        if isinstance(trade, BaseException):
            future.set_exception(trade)
            return future
        future._crew = crew  # noqa: SLF001 - of this module
        crew.submit_one(trade, future, (args, kwargs))
        return future

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_T]:
        """Call a function with the arguments of each round of the iterables; the results, in order.

        Args:
            fn: the function.
            iterables: its arguments.
            timeout: seconds from now in which a result must be there.
            chunksize: calls that are sent to a worker together.
            buffersize: how many calls (items) may be under way before their results are used; without it, all.

        Raises:
            ValueError: a number is less than one.
            TimeoutError: a result did not come in time (by the iterator, as what follows).
            RuntimeError: with `buffersize`, there are more calls, and the executor was shut down.
            BaseException: what a call raised, or how its worker died.
        """
        from holdfast import executor_crew  # noqa: PLC0415 - as above

        chunksize = whole("chunksize", chunksize)
        if chunksize < 1:
            message = "chunksize must be >= 1."
            raise ValueError(message)
        if buffersize is not None and whole("buffersize", buffersize) < 1:
            message = "buffersize must be None or >= 1."
            raise ValueError(message)
        self._check_open()
        end = None if timeout is None or timeout == math.inf else time.monotonic() + timeout
        trade = self._trades.get(fn)
        if isinstance(trade, BaseException):
            raise trade
        options = {"call": 1, "chunk": chunksize, "timeout": trade.timeout, "retries": trade.retries}
        job = executor_crew.Results(trade.function, trade.reference, True, name=trade.name, **options)
        rounds = zip(*iterables, strict=False)
        values = list(rounds) if buffersize is None else list(islice(rounds, buffersize))
        job.waiting.extend(values)
        job.ended = buffersize is None or len(values) < buffersize
        if job.ended:
            job.tell_total(len(values))
        results = executor_crew.results(self._crew, job, iter(()) if job.ended else rounds, len(values), end)
        next(results)
        self._crew.submit(job)
        return results

    def stats(self) -> PoolStats:
        """Counts of workers and tasks, at this moment; they stay there after the end.

        Example:
            >>> from holdfast.futures import ProcessExecutor
            >>> with ProcessExecutor(2) as executor:
            ...     _ = list(executor.map(abs, range(10)))
            ...     executor.stats().done
            10
        """
        return self._crew.stats()

    def insights(self) -> Insights:
        """Where the workers' time went, seat by seat, and the slowest tasks; ``print()`` makes a table of it."""
        return self._crew.insights()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; the workers end when what was accepted is finished.

        Args:
            wait: return only then.
            cancel_futures: cancel what has not begun.
        """
        crew = self._crew
        if cancel_futures:
            for future in crew.withdraw(CancelledError()):
                if Future.cancel(future):
                    future.set_running_or_notify_cancel()
        crew.close()
        self._finalizer.detach()  # an interrupt that comes within a finalizer is lost
        if wait:
            crew.join()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish what was accepted; after a Ctrl-C, end at once, for workers leave that to the parent."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._crew.terminate()
        self.shutdown(wait=True)


def _check_numbers(count: int, initializer: object, most: int | None) -> None:
    if count <= 0:
        message = "max_workers must be greater than 0"
        raise ValueError(message)
    if count > _MOST_WORKERS:
        message = f"max_workers must be <= {_MOST_WORKERS}"
        raise ValueError(message)
    if initializer is not None and not callable(initializer):
        message = "initializer must be a callable"
        raise TypeError(message)
    if most is not None and type(most) is not int:
        message = "max_tasks_per_child must be an integer"
        raise TypeError(message)
    if most is not None and most <= 0:
        message = "max_tasks_per_child must be >= 1"
        raise ValueError(message)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class
    """Classes that most programs do without."""
    if name == "DropInExecutor":
        from holdfast.executor_drop_in import DropInExecutor  # noqa: PLC0415 - see above

        return DropInExecutor
    if name in ("ExecutorArgumentsLost", "ExecutorResultLost", "ExecutorWorkerDied", "NoWorkers"):
        from holdfast import executor_errors  # noqa: PLC0415 - see above

        return getattr(executor_errors, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
