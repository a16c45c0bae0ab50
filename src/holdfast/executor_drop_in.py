"""The executor behind ``concurrent.futures.ProcessPoolExecutor`` where holdfast is installed."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import process as _std

from holdfast.executor_errors import drop_in_error_of
from holdfast.futures import ProcessExecutor, TaskFuture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["DropInExecutor"]


class _DropInFuture(TaskFuture["Any"]):
    """The future of a task of an executor that stands behind the standard library's."""

    _kills = False  # as documented there
    error_of = staticmethod(drop_in_error_of)


class _NoFeeder:
    """In place of the queue whose feeding thread programs wait for: calls are in their queue when `submit` returns."""

    def join_thread(self) -> None:
        """Nothing to wait for."""


class DropInExecutor(ProcessExecutor, _std.ProcessPoolExecutor):  # type: ignore[misc]
    """What ``ProcessPoolExecutor()`` makes where holdfast is installed; ``cancel()`` leaves what runs, as ever."""

    _future = _DropInFuture
    _call_queue = _NoFeeder()

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,  # noqa: ANN401 - a context of either library
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_tasks_per_child is not None:
            if mp_context is None:
                mp_context = multiprocessing.get_context("spawn")  # as documented
            elif mp_context.get_start_method(allow_none=False) == "fork":
                message = (
                    "max_tasks_per_child is incompatible with the fork multiprocessing start method; supply another"
                )
                raise ValueError(message)
        options = {"max_tasks_per_child": max_tasks_per_child, "threads_per_worker": None}
        super().__init__(max_workers, mp_context, initializer, initargs, **options)  # type: ignore[arg-type]
