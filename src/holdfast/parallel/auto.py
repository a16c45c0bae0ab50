"""``on="auto"``: the first tasks run in one thread and are measured; what does the rest is decided by that.

::

    submit ─▶ a thread runs the first tasks ─decide─┬▶ more threads      (tasks that wait, or cannot be pickled)
              (their results count like others)     ├▶ no more threads   (little is left, or moving it costs too much)
                                                    └▶ a crew of processes gets the rest
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.parallel.team import Team

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from holdfast.parallel.stream import MapJob
    from holdfast.parallel.team import Outcome, Runner, _Seat

__all__ = ["AutoTeam", "Sample", "decide"]

_TASKS = 3  # that are measured, at most
_SECONDS = 0.005  # of them, at most, but for the last one
_WAITING = 0.5  # share of the time spent on a CPU below which a task is said to wait
_MEASURABLE = 1e-4  # seconds in which CPU time can be told from time
_START = 0.03  # seconds in which processes start
_WARM_START = 0.002  # seconds, if there are some


class Sample(NamedTuple):
    """What was measured.

    Attributes:
        tasks: how many were run.
        wall: seconds that they took.
        cpu: seconds of those in which they had a CPU, or waited for one.
        moving: seconds to pickle and unpickle the argument and the result of one.
        obstacle: why a task cannot go to another process; empty if it can.
        left: how many tasks are left; None if that is not known.
        warm: processes are there already.
        gil: threads run one at a time.
    """

    tasks: int
    wall: float
    cpu: float
    moving: float
    obstacle: str
    left: int | None
    warm: bool
    gil: bool


def decide(sample: Sample) -> tuple[str, str]:
    """What does the rest.

    Args:
        sample: what was measured.

    Returns:
        "processes", "threads", or "thread" for a single one; and why.
    """
    cost = sample.wall / max(sample.tasks, 1)
    busy = sample.cpu / max(sample.wall, 1e-9)
    if not sample.gil:
        return "threads", "threads of this Python run in parallel"
    if sample.wall > _MEASURABLE and busy < _WAITING:
        return "threads", f"a task waits for {1 - busy:.0%} of its time"
    if sample.obstacle:
        return "threads", sample.obstacle
    if sample.moving >= cost:
        return (
            "thread",
            f"a task takes {cost * 1e6:.3g} us, moving it to a process and back {sample.moving * 1e6:.3g} us",
        )
    start = _WARM_START if sample.warm else _START
    if sample.left is not None and sample.left * cost < start:
        return "thread", f"what is left takes {sample.left * cost * 1e3:.2g} ms, processes take longer to start"
    return "processes", f"a task computes for {cost * 1e3:.3g} ms"


class AutoTeam(Team):
    """Begins as a team of one thread.

    Args:
        make_runner: as of `Team`.
        threads: how many, if it stays with threads.
        hire: makes the crew and gives the job the form for it; raises if the function cannot be pickled.
        is_warm: whether there are processes already.
    """

    def __init__(
        self,
        make_runner: Callable[[], Runner],
        threads: int,
        hire: Callable[[MapJob], Any],
        is_warm: Callable[[], bool],
    ) -> None:
        super().__init__(1, make_runner)
        self._threads, self._hire, self._is_warm = threads, hire, is_warm
        self._crew: Any = None
        self._tasks, self._wall, self._cpu = 0, 0.0, 0.0
        self._last: Any = None
        self._chunk = 0
        self.on, self.reason = "auto", ""

    @property
    def lock(self) -> Any:  # noqa: ANN401 - one or the other
        """As of `Team`."""
        return self._mutex if self._crew is None else self._crew.lock

    def describe(self) -> tuple[str, int, str]:
        """What works, how many, why."""
        job = self.job
        if self.on == "auto" and job is not None and job.done == job.total:
            return "threads", 1, "all was done before there was anything to decide"
        return self.on, self.workers, self.reason

    def submit(self, job: MapJob) -> None:
        """As of `Team`; one task at a time, until it is decided."""
        self._chunk, job.chunk, job.fixed = job.chunk, 1, True
        super().submit(job)

    def feed(self, job: MapJob, values: Iterable[Any] = (), *, credit: int | None = 0, ended: bool = False) -> None:
        """As of `Team`, or the crew's."""
        with self._mutex:
            crew = self._crew
            if crew is None:
                super().feed(job, values, credit=credit, ended=ended)
                return
        crew.feed(job, values, credit=credit, ended=ended)

    def abandon(self, job: MapJob) -> None:
        """As of `Team`, or the crew's."""
        with self._mutex:
            crew = self._crew
            if crew is None:
                super().abandon(job)
                return
        crew.abandon(job)

    def stop(self, job: MapJob, reason: BaseException | None) -> None:
        """As of `Team`, or the crew's."""
        with self._mutex:
            crew = self._crew
            if crew is None:
                super().stop(job, reason)
                return
        crew.stop(job, reason)

    def _serve(self, seat: _Seat) -> None:  # by its module the threads are known that may fork
        super()._serve(seat)

    def _run(self, seat: _Seat, runner: Runner, job: MapJob, start: int, values: list[Any]) -> None:
        if self.on != "auto":
            super()._run(seat, runner, job, start, values)
            return
        began, cpu = time.perf_counter(), _busy()
        super()._run(seat, self._noting(runner), job, start, values)
        self._wall += time.perf_counter() - began
        self._cpu += _busy() - cpu
        self._tasks += len(values)
        if self._tasks >= _TASKS or self._wall >= _SECONDS:
            self._go_on(seat, job)

    def _noting(self, runner: Runner) -> Runner:
        """The runner, noting the last task that returned."""

        def run(values: list[Any]) -> Iterator[Outcome]:
            for value, outcome in zip(values, runner(values), strict=True):
                if outcome[0]:
                    self._last = value, outcome[1]
                yield outcome

        return run

    def _go_on(self, seat: _Seat, job: MapJob) -> None:
        if self._last is None or self._again:  # nothing but failures yet
            return
        moving, obstacle = _moving(self._last)
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        with self._mutex:
            if self.closed or job.dropped:  # whoever was to release what is hired here may have been and gone
                return
            left = None if job.total is None else job.total - job.given
            sample = Sample(self._tasks, self._wall, self._cpu, moving, obstacle, left, self._is_warm(), gil)
            on, reason = decide(sample)
            if on == "processes":
                try:
                    crew = self._hire(job)
                except Exception as error:  # noqa: BLE001 - it cannot be pickled, or no process be started
                    on, reason = "threads", f"{type(error).__name__}: {error}"
                else:
                    job.chunk, job.fixed = self._chunk, self._chunk > 0
                    self.on, self.reason, self.workers = on, reason, crew.workers
                    seat.gone = True
                    self._crew = crew
                    crew.submit(job)
                    return
            self.on, self.reason = "threads", reason
            job.chunk, job.fixed = self._chunk, self._chunk > 0
            if on == "threads":
                self.workers = self._threads
                for _ in range(self._threads - 1):
                    self._start()


def _busy() -> float:
    """Seconds that the calling thread had a CPU or wanted one, which on a loaded machine is much more."""
    wanted = 0
    with suppress(OSError, ValueError, IndexError), Path("/proc/thread-self/schedstat").open(encoding="ascii") as file:
        wanted = int(file.read().split()[1])  # nanoseconds in the queue of a CPU
    return time.thread_time() + wanted / 1e9


def _moving(task: tuple[Any, Any]) -> tuple[float, str]:
    """Seconds to pickle and unpickle an argument and a result, or why that cannot be done."""
    from holdfast.crew import cargo  # noqa: PLC0415 - not before something is to be moved

    began = time.perf_counter()
    try:
        from holdfast import _core  # noqa: PLC0415 - cannot be loaded in a subinterpreter, where this module can

        plain = _core._are_plain(list(task), 0)  # noqa: SLF001 - of this package
        if not plain:
            for each in task:
                cargo.open_sealed(cargo.seal(each))
    except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
        return 0.0, f"{type(error).__name__}: {error}"
    return 1e-7 if plain else time.perf_counter() - began, ""
