"""The awaitable halves of the primitives, mixed into the classes of :mod:`holdfast.synchronize`.

What they do stands in :mod:`holdfast.aio`, which is imported when a task first waits (or uses an RLock or RWLock); a
Lock's and a Semaphore's are native, because nothing else is as fast when nobody has to wait.
"""

from time import monotonic

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from holdfast.synchronize import RWLock, _Parties


class AsyncRLock:
    """``async with rlock``: owned by the task, not by the thread."""

    __slots__ = ()

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """Takes it for the calling task of an event loop, again if that task has it already.

        Args:
            timeout: In seconds; None waits for ever.

        Returns:
            Whether it was taken in time.

        Raises:
            NotOwner: The loop's thread holds it by a blocking ``acquire()``.
        """
        from holdfast.aio import acquire_rlock

        return await acquire_rlock(self, timeout)

    async def __aenter__(self) -> bool:
        """Takes it."""
        return await self.acquire_async()

    async def __aexit__(self, *exc: object) -> None:
        """Releases one level."""
        from holdfast.aio import release_rlock

        release_rlock(self, *exc)


class AsyncEvent:
    """``await event.wait_async()``."""

    __slots__ = ()

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Waits until it is set, without blocking the event loop.

        Args:
            timeout: In seconds; None waits for ever.

        Returns:
            Whether it was set in time.
        """
        from holdfast.aio import wait_event

        return self.is_set() or await wait_event(self, timeout)

    if TYPE_CHECKING:

        def is_set(self) -> bool: ...


class AsyncCondition:
    """``async with condition`` and waiting under it."""

    __slots__ = ()

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """Takes the lock for the calling task.

        Args:
            timeout: In seconds; None waits for ever.

        Returns:
            Whether it was taken in time.
        """
        taken: bool = await self._lock.acquire_async(timeout)
        return taken

    async def __aenter__(self) -> bool:
        """Takes the lock."""
        taken: bool = await self._lock.__aenter__()
        return taken

    async def __aexit__(self, *exc: object) -> None:
        """Releases the lock."""
        await self._lock.__aexit__(*exc)

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Releases the lock, waits until notified, takes the lock again; also when it is cancelled.

        Args:
            timeout: In seconds; None waits for ever.

        Returns:
            False if the time was over first.

        Raises:
            AssertionError: The calling task does not hold the lock.
        """
        from holdfast.aio import wait_condition

        return await wait_condition(self, timeout)

    async def wait_for_async(self, predicate: "Callable[[], Any]", timeout: float | None = None) -> "Any":
        """As :meth:`wait_for`, without blocking the event loop.

        Args:
            predicate: Called with the lock held.
            timeout: In seconds, for the whole wait; None waits for ever.

        Raises:
            AssertionError: The calling task does not hold the lock.
        """
        end = None if timeout is None else monotonic() + timeout
        while not (result := predicate()):
            left = None if end is None else end - monotonic()
            if left is not None and left <= 0:
                break
            await self.wait_async(left)
        return result

    if TYPE_CHECKING:

        @property
        def _lock(self) -> Any: ...


class AsyncBarrier:
    """``await barrier.wait_async()``."""

    __slots__ = ()

    async def wait_async(self, timeout: float | None = None) -> int:
        """As :meth:`wait`, without blocking the event loop; a party whose task is cancelled breaks the barrier.

        Args:
            timeout: Seconds; None takes the barrier's own.

        Raises:
            BarrierBroken: As in :meth:`wait`.
        """
        from holdfast.aio import wait_barrier

        index = await wait_barrier(self, self._timeout if timeout is None else timeout)
        return self._judge(self._act() if index == self._shared._LAST else index)

    if TYPE_CHECKING:
        _shared: _Parties
        _timeout: float | None

        def _act(self) -> int: ...
        def _judge(self, index: int) -> int: ...


class AsyncSide:
    """``async with rwlock.read()`` and ``async with rwlock.write()``."""

    __slots__ = ()

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """Takes it for the calling task, without blocking the event loop.

        Args:
            timeout: In seconds; None waits for ever.

        Returns:
            Whether it was taken in time.
        """
        from holdfast import aio

        take = aio.acquire_read if self._way == "read" else aio.acquire_write
        return await take(self._lock, timeout)

    async def __aenter__(self) -> bool:
        """Takes it."""
        return await self.acquire_async()

    async def __aexit__(self, *exc: object) -> None:
        """Gives it back."""
        from holdfast import aio

        self.release()
        aio.after_side(self._lock, self._way)

    if TYPE_CHECKING:
        _lock: RWLock
        _way: str
        release: Callable[[], None]


class AsyncQueue:
    """``await queue.get_async()``, ``await queue.put_async(item)``, ``async for item in queue``."""

    __slots__ = ()

    async def put_async(self, obj: "Any", timeout: float | None = None) -> None:
        """Puts an item, without blocking the event loop; cancelled, it has put nothing.

        Args:
            obj: The item.
            timeout: In seconds; None waits for ever.

        Raises:
            queue.Full: There was no room in time.
            ShutDown: The queue was shut down.
        """
        from holdfast.aio import put_item

        if not await put_item(self, obj, timeout):
            from queue import Full

            raise Full

    async def get_async(self, timeout: float | None = None, *, copy: bool = True) -> "Any":
        """Takes the next item, without blocking the event loop; cancelled, it has taken nothing.

        Args:
            timeout: In seconds; None waits for ever.
            copy: As for ``get``.

        Raises:
            queue.Empty: There was none in time.
            ShutDown: The queue was shut down and is empty.
        """
        from holdfast.aio import get_item

        got = await get_item(self, timeout, copy=copy)
        if got is None:
            from queue import Empty

            raise Empty
        return got[0]

    async def __aiter__(self) -> "AsyncIterator[Any]":
        """Take items until the queue is shut down and empty."""
        from holdfast.errors import ShutDown

        while True:
            try:
                item = await self.get_async()
            except ShutDown:
                return
            yield item
