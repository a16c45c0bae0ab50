"""Queues that lose nothing: the same names and contracts as :mod:`multiprocessing.queues`, in shared memory.

Callers put and get by themselves, without a thread or a pipe between them::

    put() ─▶ pickled ─▶ ┌ ring of messages ───────────────┐ ─▶ copied out ─▶ unpickled ─▶ get()
                        │ big buffers: blocks of their own │
                        └──────────────────────────────────┘

When ``put()`` has returned, the item is there for every process, whatever becomes of the one that put it. A process
killed at any moment leaves the queue in order. Times are seconds. The standard library's own classes, which its pools
and executors are built on, are ``multiprocessing.queues``.
"""

import sys
import types

from holdfast import _core
from holdfast._awaitable import AsyncQueue
from holdfast._shared import KIND, Shared, checked, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any, Self

    from holdfast._stats import QueueStats

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

_JOINABLE = 8  # see rust/holdfast-core/src/arena/layout.rs
_MOST = 0xFFFF_FFFF


class _Ring(AsyncQueue, Shared, _core.Queue):
    """What all queues have in common."""

    __slots__ = ("__weakref__",)
    __class_getitem__ = classmethod(types.GenericAlias)  # type: ignore[var-annotated]
    _free = "open"
    _extra = 0

    @property  # type: ignore[misc]
    def __class__(self) -> "Any":
        """Its class; once `install` is in force, what ``isinstance`` of the standard library's classes asks for."""
        installer, std = sys.modules.get("holdfast.install"), sys.modules.get("multiprocessing.queues")
        if installer is None or std is None or not installer.is_installed():
            return type(self)
        return getattr(std, type(self).__name__, type(self))

    @classmethod
    def _new(cls, maxsize: int, name: str | None) -> "Self":
        most = min(maxsize, _MOST) if maxsize > 0 else 0
        made = cls._make(KIND["Queue"], 1, checked(name), cls._extra, most, 0)
        same(made, name, maximum=most, flags=cls._extra)
        return made

    def __repr__(self) -> str:
        """What it is and how much is in it."""
        text = super().__repr__()
        return f"{text[:-1]}, {self.qsize()} items>" if "[HF" not in text else text

    def stats(self) -> "QueueStats":  # type: ignore[override]
        """How much is in it and went through it, and who waits.

        Raises:
            ArenaCorrupt: Its shared memory was overwritten.

        Example:
            >>> import holdfast
            >>> queue = holdfast.Queue()
            >>> queue.put("a")
            >>> queue.stats().size
            1
        """
        from holdfast._stats import queue_stats_of

        return queue_stats_of(self._info(), self._counts())


class Queue(_Ring):
    """A queue for any number of producers and consumers in any processes.

    Args:
        maxsize: How many items it holds at most; zero or less: as many as there is memory for.
        ctx: Accepted for compatibility; every context has the same queues.
        name: The same name is the same queue for every process of this user on this machine.

    Raises:
        ArenaFull: No space for shared memory.
        NameClash: The name belongs to something else, or to a queue of another size.

    Example:
        >>> import holdfast
        >>> queue = holdfast.Queue()
        >>> queue.put({"answer": 42})
        >>> queue.get(timeout=1.0)
        {'answer': 42}
    """

    __slots__ = ()

    def __new__(cls, maxsize: int = 0, *, ctx: object = None, name: str | None = None) -> "Self":
        """Makes the queue, or finds the one of that name."""
        return cls._new(maxsize, name)

    def shutdown(self, immediate: bool = False) -> None:
        """Say, for all processes, that nothing more will be put.

        ``put`` raises :class:`ShutDown` from now on, ``get`` when nothing is left, and iteration ends.

        Args:
            immediate: Drop what is in the queue; dropped items count as finished tasks.

        Raises:
            ArenaCorrupt: Its shared memory was overwritten.
        """
        self._shut(immediate)

    def __iter__(self) -> "Iterator[Any]":
        """Take items until the queue is shut down and empty."""
        from holdfast.errors import ShutDown

        while True:
            try:
                item = self.get()
            except ShutDown:
                return
            yield item

    def join_thread(self) -> None:
        """Nothing to wait for: what was put is in the queue already.

        Raises:
            AssertionError: The queue was not closed, as the standard library has it.
        """
        if not self._is_closed():
            message = f"Queue {self!r} not closed"
            raise AssertionError(message)

    def cancel_join_thread(self) -> None:
        """Nothing to cancel: no thread has to flush anything when the process ends."""


class JoinableQueue(Queue):
    """A queue that counts finished tasks: each item taken is a task until ``task_done()`` is called for it.

    Args and errors as for :class:`Queue`.

    Example:
        >>> import holdfast
        >>> queue = holdfast.JoinableQueue()
        >>> queue.put("work")
        >>> queue.get()
        'work'
        >>> queue.task_done()
        >>> queue.join()
    """

    __slots__ = ()
    _extra = _JOINABLE

    def task_done(self) -> None:
        """Say that a task taken from the queue is finished.

        Raises:
            ValueError: It was called more often than items were put.
        """
        self._task_done()

    def join(self) -> None:
        """Wait until every item that was put has been taken and finished.

        Raises:
            TasksLost: A process was killed with tasks that it had taken, so that they never will be finished.
        """
        self._join()


class SimpleQueue(_Ring):
    """The small interface: ``put``, ``get``, ``empty`` and ``close``, on the same queue as all the others.

    Args:
        ctx: Accepted for compatibility.
        name: As for :class:`Queue`.

    Example:
        >>> import holdfast
        >>> queue = holdfast.SimpleQueue()
        >>> queue.put("a")
        >>> queue.empty()
        False
    """

    __slots__ = ()

    def __new__(cls, *, ctx: object = None, name: str | None = None) -> "Self":
        """Makes the queue, or finds the one of that name."""
        return cls._new(0, name)

    def empty(self) -> bool:
        """Whether nothing is in it.

        Raises:
            QueueClosed: It was closed in this process (an ``OSError``, as the standard library has it).
        """
        if self._is_closed():
            self.get_nowait()  # raises
        return super().empty()


# Modules that use the pipe inside a SimpleQueue: they get the standard library's.
_MACHINERY = frozenset({"multiprocessing.pool", "concurrent.futures.process"})


def simple_queue(caller: "FrameType", ctx: "Any", **options: "Any") -> "Any":
    """What ``SimpleQueue()`` of a context hands out.

    Args:
        caller: The frame that asks.
        ctx: Its context.
        options: Those of :class:`SimpleQueue`.

    Raises:
        ArenaFull: No space for shared memory.
    """
    if caller.f_globals.get("__name__") in _MACHINERY:
        from multiprocessing import queues

        return queues.SimpleQueue(ctx=ctx)
    return SimpleQueue(ctx=ctx, **options)


def __getattr__(name: str) -> "Any":
    """Everything else is the standard library's."""
    if name.startswith("__"):  # the import system asks for __path__
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from multiprocessing import queues

    return getattr(queues, name)
