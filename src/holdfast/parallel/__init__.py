"""`map` and `starmap`: a function over many items, in parallel, in one line.

::

    items ──(read only as results are used)──▶ MapJob ──▶ processes: a warm `Crew`, kept for the next call
                                                 │        threads, interpreters: a `Team` of this call
    for result in map(...) ◀──── Results ◀───────┘        auto: a `Team` of one, which decides
"""

from __future__ import annotations

from holdfast._checks import number, seconds
from holdfast._records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Literal, TypeVar

    from holdfast.parallel.progress import Progress
    from holdfast.parallel.results import Results

    _T = TypeVar("_T")
    _R = TypeVar("_R")
    On = Literal["processes", "threads", "interpreters", "auto"]

__all__ = ["Options", "map", "starmap"]

_ON = ("processes", "threads", "interpreters", "auto")
_MOST_WORKERS = 1 << 16


def map(  # noqa: A001 - it is what the builtin is, in parallel
    function: Callable[[_T], _R],
    items: Iterable[_T],
    /,
    *,
    on: On = "processes",
    workers: int | None = None,
    chunk: int | Literal["auto"] = "auto",
    ordered: bool = True,
    timeout: float | None = None,
    retries: int = 0,
    on_error: Literal["raise", "collect"] = "raise",
    progress: bool | Callable[[Progress], object] = False,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    look_ahead: int | None = None,
    context: Any = None,  # noqa: ANN401 - a context of either library, or a start method's name
) -> Results[_R]:
    """Call a function with each item, in parallel.

    Work begins at once, and only so many tasks are begun beyond those whose results were used. The worker processes
    stay for the next call (see `holdfast.close_warm_pools`).

    Args:
        function: what to call.
        items: anything that can be iterated over, however long; an iterator is read in a thread, as results are used.
        on: "processes"; "threads", for tasks that wait; "interpreters" of this process with a GIL each (Python 3.12 or
            later); "auto" runs the first tasks in a thread and decides by what it measured.
        workers: how many; by default as many as `holdfast.cpu_count` says.
        chunk: tasks that are sent to a worker together; "auto": as many as are worthwhile, measured.
        ordered: results come in the order of the items; else as they come.
        timeout: seconds that a task may run before it is stopped and fails with `TaskTimeout`. A thread cannot be
            stopped: it is left to finish unseen, and another one takes its place.
        retries: how often a task that failed is run again.
        on_error: "raise" the first failure where its result would be, and give up what has not begun; or "collect":
            the exceptions stand among the results.
        progress: True for a bar on stderr, or a function that is called with a `Progress`, at most ten times a second.
        initializer: called in each worker as it starts.
        initargs: its arguments.
        look_ahead: how many tasks (items) may be under way beyond those whose results were used; by default four for
            each worker, or more if they are small.
        context: where processes come from: a context or a start method; by default holdfast's default context.

    Returns:
        An iterator over the results, also for ``async for``. Leaving the loop, dropping it or closing it stops what
        runs.

    Raises:
        ValueError: an argument has a value that it cannot have.
        TypeError: an argument has a type that it cannot have.
        RuntimeError: this Python has no interpreters to work on.

    Example:
        >>> import holdfast
        >>> list(holdfast.map(abs, range(-3, 0)))
        [3, 2, 1]
    """
    options = Options(
        on, workers, chunk, ordered, timeout, retries, on_error, progress, initializer, initargs, look_ahead, context
    )
    return _start(function, items, 0, options)


def starmap(
    function: Callable[..., _R],
    items: Iterable[Iterable[Any]],
    /,
    *,
    on: On = "processes",
    workers: int | None = None,
    chunk: int | Literal["auto"] = "auto",
    ordered: bool = True,
    timeout: float | None = None,
    retries: int = 0,
    on_error: Literal["raise", "collect"] = "raise",
    progress: bool | Callable[[Progress], object] = False,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    look_ahead: int | None = None,
    context: Any = None,  # noqa: ANN401 - as `map`
) -> Results[_R]:
    """As `map`, where each item has all the arguments of a call in it.

    Args:
        function: what to call.
        items: one sequence of arguments for each call.
        on: as of `map`.
        workers: as of `map`.
        chunk: as of `map`.
        ordered: as of `map`.
        timeout: seconds, as of `map`.
        retries: as of `map`.
        on_error: as of `map`.
        progress: as of `map`.
        initializer: as of `map`.
        initargs: as of `map`.
        look_ahead: items, as of `map`.
        context: as of `map`.

    Returns:
        As `map`.

    Raises:
        ValueError: as `map`.
        TypeError: as `map`.
        RuntimeError: as `map`.

    Example:
        >>> import holdfast
        >>> list(holdfast.starmap(pow, [(2, 5), (3, 2)]))
        [32, 9]
    """
    options = Options(
        on, workers, chunk, ordered, timeout, retries, on_error, progress, initializer, initargs, look_ahead, context
    )
    return _start(function, items, 1, options)


class Options(NamedTuple):
    """As the arguments of `map`."""

    on: str
    workers: int | None
    chunk: int | str
    ordered: bool
    timeout: float | None
    retries: int
    on_error: str
    progress: Any
    initializer: Callable[..., object] | None
    initargs: Any
    look_ahead: int | None
    context: Any


def _checked(function: object, options: Options) -> Options:
    """The options, with what was left open filled in."""
    _check_callable("function", function)
    if options.initializer is not None:
        _check_callable("initializer", options.initializer)
    if options.progress is not None and not isinstance(options.progress, bool):
        _check_callable("progress", options.progress)
    if options.on not in _ON:
        message = f"on must be one of {', '.join(_ON)}, not {options.on!r}"
        raise ValueError(message)
    if options.on_error not in ("raise", "collect"):
        message = f'on_error must be "raise" or "collect", not {options.on_error!r}'
        raise ValueError(message)
    chunk = 0 if options.chunk == "auto" else number("chunk", options.chunk, 1)
    timeout = None if options.timeout is None else seconds(options.timeout)
    workers = None if options.workers is None else number("workers", options.workers, 1)
    if workers is not None and workers > _MOST_WORKERS:
        message = f"workers must be at most {_MOST_WORKERS}, not {workers}"
        raise ValueError(message)
    look_ahead = None if options.look_ahead is None else number("look_ahead", options.look_ahead, 1)
    return options._replace(
        chunk=chunk,
        timeout=timeout,
        workers=workers,
        look_ahead=look_ahead,
        retries=number("retries", options.retries, 0),
        initargs=_arguments(options.initargs),
    )


def _check_callable(name: str, value: object) -> None:
    if not callable(value):
        message = f"{name} must be callable, not {value!r}"
        raise TypeError(message)


def _arguments(values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever was given
    try:
        return tuple(values)
    except TypeError:
        message = f"initargs must be a sequence of arguments, not {values!r}"
        raise TypeError(message) from None


def _start(function: Callable[..., Any], items: Iterable[Any], call: int, options: Options) -> Results[Any]:
    from holdfast.parallel import start as parallel_start  # noqa: PLC0415 - so that naming map() costs no more than its name

    return parallel_start.start(function, items, call, _checked(function, options))
