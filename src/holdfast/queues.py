"""Queues: the standard library's, on holdfast's locks when they are made by one of holdfast's contexts."""

from multiprocessing import queues as _std
from multiprocessing.queues import JoinableQueue, Queue, SimpleQueue
from typing import Any

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes
    """Everything else is the standard library's."""
    return getattr(_std, name)
