"""Puts a call of `holdfast.map` together: arguments, job, who works, and what reads and shows."""

from __future__ import annotations

import os
import time
from functools import partial

from holdfast.cpu import cpu_count
from holdfast.crew.plan import Line, Shelf
from holdfast.parallel.feed import Feed
from holdfast.parallel.results import Results, Run
from holdfast.parallel.stream import MapJob
from holdfast.parallel.team import Team, thread_runner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from holdfast.parallel import Options
    from holdfast.parallel.warm_pools import WarmPool

    Describe = Callable[[], tuple[str, int, str]]

__all__ = ["start"]

_RECOUNT = 5.0  # seconds
_PATIENCE = 1.0  # seconds in which interpreters end
_THREADS = 8  # that wait, at least, where nobody said how many


class _Plan:
    """What is needed to begin.

    Args:
        backend: who works.
        workers: how many.
        describe: for `Results`.
        release: called with the job when nothing of it runs any more.
        cost: seconds of a task, as far as they are known.
    """

    def __init__(
        self,
        backend: Any,  # noqa: ANN401 - see above
        workers: int,
        describe: Describe,
        release: Callable[[MapJob], object],
        cost: float | None = None,
    ) -> None:
        self.backend, self.workers, self.describe, self.release, self.cost = backend, workers, describe, release, cost


def start(function: Callable[..., Any], items: Iterable[Any], call: int, options: Options) -> Results[Any]:
    """Begin.

    Args:
        function: what to call.
        items: the arguments.
        call: 0 with the argument, 1 with the arguments in it.
        options: checked.
    """
    whole, rest = _arguments(items, spread=bool(call))
    body, reference, plan = _who(function, call, options, None if whole is None else len(whole))
    job = MapJob(
        body,
        reference,
        workers=plan.workers,
        ordered=options.ordered,
        collect=options.on_error == "collect",
        look_ahead=options.look_ahead,
        call=call,
        chunk=options.chunk,
        timeout=options.timeout,
        retries=options.retries,
        name=_name(function),
    )
    job.cost, job.fixed = plan.cost, options.chunk != 0
    run = _run(job, plan, whole, rest, items, spread=bool(call))
    if options.progress:
        from holdfast.parallel.progress import Meter, shower  # noqa: PLC0415 - few want one

        run.meter = Meter(job, shower(options.progress, job.name))
    return Results(run, plan.describe, job.name)


def _arguments(items: Iterable[Any], *, spread: bool) -> tuple[Shelf | None, Iterator[Any] | None]:
    """The arguments, if they are all there, or else their iterator."""
    if type(items) is range and _expected(items) is None:  # it is too long to have a length
        return None, iter(items)
    if type(items) in (list, tuple) or (type(items) in (range, str, bytes) and not spread):
        values: Any = items
        if spread:
            values = [tuple(value) for value in values]
        return Shelf(tuple(values) if type(values) is list else values), None
    return None, iter(items)


def _run(
    job: MapJob, plan: _Plan, whole: Shelf | None, rest: Iterator[Any] | None, items: object, *, spread: bool
) -> Run:
    backend = plan.backend
    if whole is not None:
        job.waiting = whole
        job.ended = True
        job.total = len(whole)
        job.credit = job.window()
    else:
        job.waiting = Line()
        job.expected = _expected(items)
    run = Run(job, backend, partial(plan.release, job), None, None)
    job.on_failure = partial(_give_up, backend, job)
    try:
        if job.total != 0:
            backend.submit(job)
            if job.total is not None:
                refill = getattr(backend, "refill", None)
                if refill is not None:
                    refill()
        if rest is not None:
            run.feed = Feed(backend, job, rest, spread=spread)
    except BaseException:
        run.close()
        raise
    return run


def _give_up(backend: Any, job: MapJob) -> None:  # noqa: ANN401 - whoever works
    """A task has failed: what nobody has been given comes after it, and is not wanted."""
    with backend.lock:
        job.waiting.clear()
        job.ended = True
    job.stir()


def _expected(items: Any) -> int | None:  # noqa: ANN401 - whatever can be iterated over
    try:
        return len(items)
    except (TypeError, OverflowError):
        return None


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


# who works

_counted: tuple[float, Any, int] = (0.0, None, 0)


def _workers() -> int:
    """`cpu_count`, whose reading of control groups takes longer than a small call; they are read again now and then."""
    global _counted  # noqa: PLW0603 - there is one program
    now, key = time.monotonic(), (os.sched_getaffinity(0), os.environ.get("PYTHON_CPU_COUNT"))
    if _counted[1] != key or now - _counted[0] > _RECOUNT:
        _counted = now, key, cpu_count()
    return _counted[2]


def _who(function: Callable[..., Any], call: int, options: Options, total: int | None) -> tuple[Any, bool, _Plan]:
    """The function as the workers get it, whether that is a mere reference, and the workers."""
    on, reason = options.on, ""
    if on == "auto" and options.timeout is not None:
        on, reason = "processes", "only a process can be stopped when its time is over"
    workers = _workers() if options.workers is None else options.workers
    if on == "processes":
        return _processes(function, options, workers, total, reason)
    if on == "interpreters":
        from holdfast.parallel.interpreters import interpreter_team  # noqa: PLC0415 - few want them

        team = interpreter_team(workers, function, call, options.initializer, options.initargs)
        return function, False, _Plan(team, workers, lambda: (on, workers, reason), partial(_ended, team))
    runner = thread_runner(function, call, options.initializer, options.initargs)
    if on == "threads":
        team = Team(workers, runner)
        return function, False, _Plan(team, workers, lambda: (on, workers, reason), lambda _: team.close())
    return _auto(function, options, workers, runner)


def _ended(team: Team, _: MapJob) -> None:
    """Have the interpreters end, and wait for those that are at nothing: forks must not meet one."""
    team.close()
    job = team.job
    if job is not None and (job.done == job.total or not job.given):
        team.join(_PATIENCE)


def _hired(function: Callable[..., Any], options: Options, workers: int) -> WarmPool:
    from holdfast.parallel.warm_pools import hire  # noqa: PLC0415 - only where processes are wanted

    return hire(function, context_of(options), workers, options.initializer, options.initargs)


def _processes(
    function: Callable[..., Any], options: Options, workers: int, total: int | None, reason: str
) -> tuple[Any, bool, _Plan]:
    body, reference = _sealed(function)
    if total == 0:  # nobody is needed
        idle = Team(workers, thread_runner(function, 0, None, ()))
        return body, reference, _Plan(idle, workers, lambda: ("processes", workers, reason), lambda _: idle.close())
    pool = _hired(function, options, workers)
    cost = pool.costs.get(body) if reference else None
    return body, reference, _Plan(pool.crew, workers, lambda: ("processes", workers, reason), pool.release, cost)


def _auto(function: Callable[..., Any], options: Options, workers: int, runner: Any) -> tuple[Any, bool, _Plan]:  # noqa: ANN401
    from holdfast.parallel.auto import AutoTeam  # noqa: PLC0415 - few want it
    from holdfast.parallel.warm_pools import warm_for  # noqa: PLC0415 - as above

    pools: list[WarmPool] = []

    def hire(job: MapJob) -> Any:  # noqa: ANN401 - a crew
        job.function, job.reference = _sealed(function)
        pools.append(_hired(function, options, workers))
        return pools[0].crew

    def release(job: MapJob) -> None:
        team.close()
        for pool in pools:
            pool.release(job)

    threads = max(workers, _THREADS) if options.workers is None else workers
    team = AutoTeam(runner, threads, hire, partial(warm_for, function, context_of(options), workers))
    return function, False, _Plan(team, workers, team.describe, release)


def _sealed(function: Callable[..., Any]) -> tuple[Any, bool]:
    from holdfast.crew import cargo  # noqa: PLC0415 - only where processes are wanted

    try:
        return cargo.seal_function(function)
    except Exception as error:
        error.add_note("holdfast: lambdas and functions inside of functions need cloudpickle to go to a process")
        raise


def context_of(options: Options) -> Any:  # noqa: ANN401 - a context of either library
    """Where processes come from.

    Raises:
        TypeError: it is no context.
        ValueError: there is no such start method.
    """
    from holdfast.context import _default_context  # noqa: PLC0415 - only where processes are started

    wanted = options.context
    if wanted is None or isinstance(wanted, str):
        return _default_context.get_context(wanted)
    if not hasattr(wanted, "Process"):
        message = f"context must be a context or the name of a start method, not {wanted!r}"
        raise TypeError(message)
    return wanted.get_context() if hasattr(wanted, "get_context") else wanted


__all__ += ["context_of"]
