"""A worker's seat: who it is, what it keeps between tasks, which CPUs are its own, and what it does at its end.

A pool of N workers has the seats 0 to N - 1; another worker takes the seat of one that has ended. What a seat is
fitted with is settled in the parent (`fitted`) and put into force in the worker before the initializer runs (`take`).

Workers that each use all CPUs are slower than one. So a worker counts its share of them as its own:
`holdfast.cpu_count` says so, and the libraries that start threads of their own are told by the environment variables
that they read when they are loaded. Those that a forked worker finds loaded are told by threadpoolctl, where that is
installed. What the user has set is left alone.

Source: the variables are those of OpenMP 5.2 (6.2), OpenBLAS, MKL, BLIS, NumExpr and Numba, as their manuals name them.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress

from holdfast import _core, cpu
from holdfast._records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = [
    "SHARE",
    "Outfit",
    "Seat",
    "Worker",
    "assigned",
    "board",
    "current_worker",
    "fitted",
    "prepare",
    "set_limits",
    "shared_out",
    "take",
    "variables",
]

SHARE = -1  # threads: as many as this worker's share of the CPUs
_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
_VARIABLES = (*_LIBRARIES, "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
_FILES = ("openblas", "mkl_rt", "blis", "libgomp", "libomp", "libiomp")  # in the names of such libraries' files

_limits: dict[str, str] = {}  # variables that were set by a pool, not by the user
_current: Worker | None = None
_in_time = False  # variables were set before any library was there to miss them
_threaded = False  # such libraries are loaded, as far as was looked


class Outfit(NamedTuple):
    """What all seats of a crew are fitted with.

    Attributes:
        finalizer: called with `finalargs` when a worker ends in order.
        cores: worker k stays on the k-th of these; without any it goes where the system puts it.
        threads: how many CPUs a worker counts as its own; `SHARE`: its share; None: no bound.
    """

    finalizer: Callable[..., object] | None = None
    finalargs: tuple[Any, ...] = ()
    cores: tuple[int, ...] = ()
    threads: int | None = SHARE


class Seat(NamedTuple):
    """What one worker is told of its seat; see `Outfit`.

    Attributes:
        number: from 0.
        core: the one to stay on, or None.
        limits: environment variables.
    """

    number: int
    core: int | None
    threads: int | None
    limits: dict[str, str]
    finalizer: Callable[..., object] | None
    finalargs: tuple[Any, ...]


def fitted(
    finalizer: Any,  # noqa: ANN401 - a callable or None, which is seen to here
    finalargs: Iterable[Any],
    pin: bool | Iterable[int],
    threads_per_worker: int | str | None,
) -> Outfit:
    """What the arguments of a pool mean.

    Raises:
        TypeError: the finalizer cannot be called.
        ValueError: a core is not among those this process may use, or a number is less than one.
    """
    if finalizer is not None and not callable(finalizer):
        message = "finalizer must be a callable"
        raise TypeError(message)
    allowed = sorted(os.sched_getaffinity(0))
    listed = [pin] if isinstance(pin, int) else pin  # True and False are such numbers, and no core
    cores = list(listed) if not isinstance(pin, bool) else allowed if pin else []
    if not set(cores) <= set(allowed) or (pin is not False and not cores):
        message = f"pin must be True or some of the cores {allowed}, not {pin!r}"
        raise ValueError(message)
    threads = threads_per_worker
    if threads == "share":
        threads = SHARE
    elif threads is not None and (not isinstance(threads, int) or threads < 1):
        message = f'threads_per_worker must be "share", None or a number of at least 1, not {threads!r}'
        raise ValueError(message)
    return Outfit(finalizer, tuple(finalargs), tuple(cores), threads)


def shared_out(outfit: Outfit, workers: int) -> Outfit:
    """An outfit that says how many CPUs a worker's share is, of as many workers."""
    if outfit.threads != SHARE:
        return outfit
    return outfit._replace(threads=1 if outfit.cores else cpu.share(workers))


def assigned(outfit: Outfit, number: int) -> Seat:
    """The seat of a worker that is about to be started.

    Args:
        outfit: of the crew, `shared_out`.
        number: of the seat.
    """
    core = outfit.cores[number % len(outfit.cores)] if outfit.cores else None
    threads = outfit.threads
    return Seat(number, core, threads, variables(threads), outfit.finalizer, outfit.finalargs)


def variables(threads: int | None) -> dict[str, str]:
    """The environment variables that bound the threads of libraries, without those that the user has set."""
    if threads is None:
        return {}
    return {name: str(threads) for name in _VARIABLES if os.environ.get(name) == _limits.get(name)}


def board(limits: dict[str, str]) -> None:
    """Set those variables in a worker that was not forked from its parent, before its main module is imported."""
    global _in_time  # noqa: PLW0603 - there is one in a process
    _look()
    _in_time = not _threaded
    set_limits(limits)


def set_limits(limits: dict[str, str]) -> None:
    """Set those variables, in a worker."""
    if "numba" in sys.modules:  # it refuses a change
        limits = {name: value for name, value in limits.items() if name != "NUMBA_NUM_THREADS"}
    os.environ.update(limits)
    _limits.update(limits)


def prepare() -> None:
    """See to, in the parent, what its forked workers would each have to see to.

    Which libraries are loaded is asked of the loader, whose lock another thread may hold: then a forked child would
    wait for ever.
    """
    _look()
    if _threaded:
        with suppress(ImportError):
            import threadpoolctl  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401, PLC0415


def _look() -> None:
    global _threaded  # noqa: PLW0603 - as above
    _threaded = any(name in path for path in _core._libraries() for name in _FILES)  # noqa: SLF001 - of this package


def _limit_loaded(threads: int) -> None:
    """Bound the threads of libraries that are loaded already and will not read any variable."""
    if not _threaded:
        return
    try:
        import threadpoolctl  # noqa: PLC0415 - optional
    except ImportError:
        return
    threadpoolctl.threadpool_limits(threads)


def take(seat: Seat) -> Worker:
    """Take a seat, in the worker: what it is fitted with is in force from now on."""
    global _current  # noqa: PLW0603 - there is one in a process
    if seat.core is not None:
        try:
            os.sched_setaffinity(0, {seat.core})
        except OSError as error:  # it was taken from this program meanwhile
            message = f"worker {seat.number} cannot be pinned to core {seat.core}: {error.strerror}"
            warnings.warn(message, RuntimeWarning, stacklevel=1)
    if seat.threads is not None:
        set_limits(seat.limits)
        cpu.set_share(seat.threads)
        if not _in_time and set(_LIBRARIES) <= seat.limits.keys():
            _limit_loaded(seat.threads)
    _current = Worker(seat)
    return _current


class Worker:
    """This worker process, as `current_worker` returns it.

    Attributes:
        id: its seat: 0 for the first worker of a pool. A worker that takes the place of one that has ended has its id.
        cache: for whatever tasks want to keep for those that follow in the same worker.
    """

    def __init__(self, seat: Seat) -> None:
        self.id = seat.number
        self.cache: dict[Any, Any] = {}
        self._exits: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = []
        if seat.finalizer is not None:
            self._exits.append((seat.finalizer, seat.finalargs, {}))

    def __repr__(self) -> str:
        return f"<holdfast worker {self.id} (pid {os.getpid()})>"

    def at_exit(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> Callable[..., object]:  # noqa: ANN401
        """Have a function called when this worker ends in order: recycled, or after ``close()`` or ``shutdown()``.

        The last one comes first. A worker that is killed or terminated, as by leaving the ``with`` block of a `Pool`,
        calls none. What a function raises is shown on stderr, and the next one is called.

        Args:
            function: what to call.
            args: its arguments.
            kwargs: its named arguments.

        Returns:
            The function, so that this can be a decorator.
        """
        self._exits.append((function, args, kwargs))
        return function

    def leave(self) -> None:
        """Call what `at_exit` was given, then the finalizer of the pool."""
        while self._exits:
            function, args, kwargs = self._exits.pop()
            try:
                function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is the user's, and the others are to be called
                self._tell(function, error)

    def _tell(self, function: Callable[..., object], error: BaseException) -> None:
        import traceback  # noqa: PLC0415 - only where something failed

        tb = error.__traceback__
        shown = "".join(traceback.format_exception(type(error), error, tb and tb.tb_next))
        name = getattr(function, "__qualname__", type(function).__qualname__)
        text = f"holdfast: {name}, called at the end of worker {self.id} (pid {os.getpid()}), raised:\n{shown}"
        with suppress(Exception):  # stderr is closed: nobody can be told
            print(text, end="", file=sys.stderr, flush=True)  # noqa: T201


def current_worker() -> Worker | None:
    """The worker of a pool or an executor that this process is.

    Returns:
        None in a process that is no worker, also in one that a task has started.

    Example:
        >>> import holdfast
        >>> holdfast.current_worker() is None
        True
    """
    return _current


def _leave_behind() -> None:
    """A child of a worker is none."""
    global _current, _in_time
    _current, _in_time = None, False


os.register_at_fork(after_in_child=_leave_behind)
