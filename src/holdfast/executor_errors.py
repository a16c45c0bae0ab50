"""Errors of a `ProcessExecutor` that are the standard library's, too; loaded only where something failed."""

from __future__ import annotations

from concurrent.futures import process as _std

from holdfast.crew.failures import Told, lost, note, rebuilt
from holdfast.errors import InitializerFailed, RemoteError, ResultLost, WorkerDied

__all__ = [
    "ExecutorArgumentsLost",
    "ExecutorResultLost",
    "ExecutorWorkerDied",
    "NoWorkers",
    "drop_in_error_of",
    "error_of",
    "no_workers",
]


class ExecutorWorkerDied(WorkerDied, _std.BrokenProcessPool):
    """A worker of an executor died while it ran this task; the executor goes on."""

    code = "HF301"


class NoWorkers(InitializerFailed, _std.BrokenProcessPool):
    """The initializer of an executor's workers raised, so that there are none."""

    code = "HF307"


class ExecutorResultLost(ResultLost, _std.BrokenProcessPool):
    """A task finished, but its result cannot be rebuilt here; the executor goes on."""

    code = "HF303"


class ExecutorArgumentsLost(RemoteError, _std.BrokenProcessPool):
    """The arguments of a task could not be rebuilt in the worker, for which programs expect a broken pool."""

    code = "HF306"


def error_of(told: Told) -> BaseException:
    """The exception of a failed task's future."""
    if told.lost and told.body is None:
        return lost(told, ExecutorResultLost)
    error = rebuilt(told, _std._RemoteTraceback)  # noqa: SLF001 - shown as ever
    if told.lost:
        note(error, f"[HF303] the task finished, but {told.lost}")
    return error


def drop_in_error_of(told: Told) -> BaseException:
    """The same, behind the standard library's executor."""
    if told.unopened:
        return rebuilt(told, _std._RemoteTraceback, ExecutorArgumentsLost)  # noqa: SLF001 - as above
    return error_of(told)


def no_workers(error: BaseException) -> BaseException:
    """The exception of all futures, where the initializer raised `error`."""
    failed = NoWorkers(f"the initializer raised {type(error).__name__}: {error}; no task can be run")
    failed.__cause__ = error
    return failed
