"""Pools: the standard library's, with holdfast's processes and locks."""

from __future__ import annotations

from multiprocessing import pool as _std
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Pool", "ThreadPool"]


class Pool(_std.Pool):
    """A pool of worker processes.

    Args:
        processes: how many; by default as many as `holdfast.cpu_count` says.
        initializer: called in each worker as it starts.
        initargs: its arguments.
        maxtasksperchild: how many tasks a worker does before another one takes its place.
        context: where processes and locks come from; by default holdfast's default context.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,  # noqa: ANN401 - a context of either library
    ) -> None:
        from holdfast.context import _default_context  # noqa: PLC0415 - contexts make pools, and the other way round

        chosen = _default_context.get_context() if context is None else context
        count = chosen.cpu_count() if processes is None else processes
        super().__init__(count, initializer, initargs, maxtasksperchild, context=chosen)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes
    """Everything else is the standard library's."""
    return getattr(_std, name)
