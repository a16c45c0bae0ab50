"""How things end: what fails a task or a job, as calls to be made outside of the crew's lock, and the errors for it."""

from __future__ import annotations

import sys
import threading
from functools import partial

from holdfast._records import NamedTuple
from holdfast.crew import deaths
from holdfast.crew.failures import Told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast.crew import worker
    from holdfast.crew.plan import Batch, Job
    from holdfast.errors import WorkerDied

__all__ = [
    "Doom",
    "ending",
    "failing",
    "rebuilt",
    "settling",
    "shielded",
    "task_timeout",
    "terminated",
    "with_task",
    "worker_died",
]


class Doom(NamedTuple):
    """Why a worker is being ended: a task of it (batch and position) fails with the reason, None for silently."""

    batch: int
    position: int
    reason: BaseException | None
    insist: float  # when SIGKILL follows, on the monotonic clock


def with_task(batch: Batch, pid: int, index: int, told: Told) -> Told:
    """What a worker told of a failure, and which task it was."""
    job = batch.job
    shown = deaths.shown_call(job.call, batch.values[index - batch.start])
    return told._replace(function=job.name, task=job.number(index), arguments=shown, pid=pid)


def failing(job: Job, index: int, error: BaseException) -> Callable[[], object]:
    """Fail a task."""
    return partial(job.fail, index, error)


def settling(slip: Any, reason: Callable[[], BaseException]) -> Callable[[], object]:  # noqa: ANN401 - see `plan.Single`
    """Settle a single call with an error."""
    return lambda: slip.settle(reason(), False)


def ending(job: Job, reason: Callable[[], BaseException]) -> Callable[[], object]:
    """End a job with an error."""
    return lambda: job.end(reason())


def shielded(call: Callable[[], object]) -> None:
    """Call what may run the user's code; its errors are shown, and the pump goes on."""
    try:
        call()
    except BaseException:  # noqa: BLE001 - whatever a callback raises
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def rebuilt(failure: worker.Failure) -> BaseException:
    """What an initializer raised."""
    from holdfast.crew.failures import rebuilt as remade  # noqa: PLC0415 - only where something failed

    return remade(Told(failure.body, failure.name, failure.text, failure.traceback))


def terminated() -> BaseException:
    """The error for what had no result when a pool was terminated."""
    from holdfast.errors import TasksDropped  # noqa: PLC0415 - as above

    return TasksDropped("the pool was terminated before this task had a result")


def task_timeout(batch: Batch, position: int) -> BaseException:
    """The error for a task that ran for too long."""
    from holdfast.errors import TaskTimeout  # noqa: PLC0415 - as above

    job = batch.job
    shown = deaths.shown_call(job.call, batch.values[position])
    task = job.number(batch.start + position)
    message = f"task {task} ran for more than {job.timeout} seconds and was stopped: {job.name}{shown}"
    return TaskTimeout(message, task=task, arguments=shown)


def worker_died() -> type[WorkerDied]:
    """The plain error for dead workers."""
    from holdfast.errors import WorkerDied  # noqa: PLC0415 - as above

    return WorkerDied
