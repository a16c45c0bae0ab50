"""What `holdfast.map` returns: results, one after the other, by ``for``, ``async for`` or ``list``."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from itertools import chain

from holdfast._records import Generic, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType
    from typing import Any, TypeVar

    from holdfast.parallel.feed import Feed
    from holdfast.parallel.progress import Meter
    from holdfast.parallel.stream import MapJob

    _T = TypeVar("_T")

__all__ = ["MapStats", "Results"]

_SMALL = 0.005  # seconds of a task that is worth waiting for, rather than its worker be killed and another one started
_GRACE = 0.05  # seconds for those


class MapStats(NamedTuple):
    """What has become of a call of `holdfast.map` so far.

    Attributes:
        on: what works: "processes", "threads" or "interpreters"; "auto" while that is not decided.
        workers: how many, at most.
        reason: why it is those, where ``on="auto"`` chose.
        done: tasks that have finished or failed, for good.
        failed: of those, the ones that failed.
        used: results that were handed out.
        total: how many tasks there are; None if that is not known yet.
        task_seconds: what a task takes, measured; None if nothing was.
        look_ahead: how many tasks may be under way beyond the results that were used.
    """

    on: str
    workers: int
    reason: str
    done: int
    failed: int
    used: int
    total: int | None
    task_seconds: float | None
    look_ahead: int


_open: weakref.WeakSet[Run] = weakref.WeakSet()


def _at_exit() -> None:
    """End what nobody can use the results of any more, while there still is an interpreter to do so."""
    for run in list(_open):
        run.close(patient=False)


threading._register_atexit(_at_exit)  # type: ignore[attr-defined]  # noqa: SLF001 - before threads are joined


class Run:
    """One call: the job, who works on it, who feeds it, who draws its progress.

    It belongs to the results and their iterators alone, so that work nobody can get the results of any more ends.

    Args:
        job: the job.
        backend: who works: a `Crew` or what looks like one.
        release: called at the end, once nothing of the job runs there any more.
        feed: what reads the arguments, if they are not all there.
        meter: what shows the progress.
    """

    closed = True  # until it is made

    def __init__(
        self,
        job: MapJob,
        backend: Any,  # noqa: ANN401 - see above
        release: Callable[[], object],
        feed: Feed | None,
        meter: Meter | None,
    ) -> None:
        self.pid = os.getpid()
        self.job, self.backend, self.feed, self.meter = job, backend, feed, meter
        self._release = release
        self._granted = job.credit
        self.closed = False
        _open.add(self)
        self.way = ""  # how it is iterated over

    def choose(self, way: str) -> None:
        """See that results are taken in one way only, for each has a block of its own in hand.

        Raises:
            RuntimeError: they were taken in another way before.
        """
        if self.way not in ("", way):
            message = (
                f"these results are already being iterated over with `{self.way}`, which `{way}` cannot go on with"
            )
            raise RuntimeError(message)
        self.way = way

    def move_on(self) -> None:
        """The last block is used up: let as many other tasks begin."""
        job = self.job
        job.move_window()
        if self._granted is None:
            return
        window = job.window()
        more = job.consumed + window - self._granted
        if more >= max(1, window // 4):
            self._granted += more
            self.backend.feed(job, credit=more)

    def blocks(self) -> Iterator[list[Any]]:
        """The results, in lists."""
        job = self.job
        try:
            while not self.closed:
                self.move_on()
                block = job.take()
                if block is None:
                    break
                yield block
                del block
        finally:
            self.close()

    def close(self, *, patient: bool = True) -> None:
        """End it: what has not begun is given up, what runs is stopped."""
        if self.closed or os.getpid() != self.pid:  # a forked child has only the words of it
            return
        self.closed = True
        _open.discard(self)
        job, backend = self.job, self.backend
        if backend.lock._is_owned():  # noqa: SLF001 - called by the garbage collector, in the midst of something
            backend.later(lambda: self._end(job, patient=False))
        else:
            self._end(job, patient=patient)

    def _end(self, job: MapJob, *, patient: bool) -> None:
        try:
            job.drop()
            if self.feed is not None:
                self.feed.stop()
            if job.total is None or job.done < job.total:
                self._stop(job, patient=patient)
        finally:
            try:
                self._release()
            finally:
                if self.meter is not None:
                    self.meter.close(wait=patient)

    def _stop(self, job: MapJob, *, patient: bool) -> None:
        backend = self.backend
        if patient and job.cost is not None and job.cost < _SMALL:
            backend.abandon(job)
            with job.condition:
                if job.condition.wait_for(lambda: job.done >= job.given, _GRACE):
                    return
        backend.stop(job, None)

    def __del__(self) -> None:
        self.close(patient=False)


class Results(Generic["_T"]):
    """The results of `holdfast.map`, as an iterator.

    Dropping it, leaving a loop over it, `close` and the end of a ``with`` block stop what runs.

    Args:
        run: the call.
        describe: gives what works, how many, and why.
        name: of the function, for ``repr``.
    """

    def __init__(self, run: Run, describe: Callable[[], tuple[str, int, str]], name: str) -> None:
        self._run, self._describe, self._name = run, describe, name
        self._iterator: Iterator[_T] = chain.from_iterable(run.blocks())
        self._coroutines: AsyncIterator[_T] | None = None

    def __iter__(self) -> Iterator[_T]:
        self._run.choose("for")
        return self._iterator

    def __next__(self) -> _T:
        self._run.choose("for")
        return next(self._iterator)

    def __aiter__(self) -> AsyncIterator[_T]:
        self._run.choose("async for")
        if self._coroutines is None:
            self._coroutines = _AsyncIterator(self._run)
        return self._coroutines

    async def aclose(self) -> None:
        """End it, as `close`, without making the event loop wait."""
        self._iterator = iter(())
        self._run.close(patient=False)

    def close(self) -> None:
        """End it: what has not begun is given up, what runs is stopped (threads end with the item they are at)."""
        self._iterator = iter(())  # also what has come and was not taken
        self._run.close()

    def __enter__(self) -> Results[_T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Results[_T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def stats(self) -> MapStats:
        """What has become of it so far."""
        job = self._run.job
        on, workers, reason = self._describe()
        with job.condition:
            return MapStats(on, workers, reason, job.done, job.failed, job.used, job.total, job.cost, job.window())

    def __repr__(self) -> str:
        stats = self.stats()
        total = "?" if stats.total is None else stats.total
        failed = f", {stats.failed} failed" if stats.failed else ""
        return f"<holdfast.Results of {self._name} on {stats.workers} {stats.on}: {stats.done} of {total} done{failed}>"


class _AsyncIterator:
    """The results for a task of asyncio or trio. No generator, for those must be closed by whoever breaks off."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._waiter = _waiter()
        self._block: Iterator[Any] = iter(())
        run.job.listeners.append(self._waiter.wake)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401 - a result
        if self._run.closed:
            raise StopAsyncIteration
        for value in self._block:
            return value
        try:
            self._block = iter(await self._next_block())
        except BaseException:
            self._run.close(patient=False)
            raise
        for value in self._block:
            return value
        self._run.close(patient=False)
        raise StopAsyncIteration

    async def _next_block(self) -> list[Any]:
        run, job, waiter = self._run, self._run.job, self._waiter
        if run.closed:
            return []
        run.move_on()
        while not job.stirred():
            await waiter.wait(job.stirred)
        block = job.take_nowait()
        if block is None:
            await _shown(run, waiter)
            return []
        await waiter.pause()  # others have their turn, however fast results come
        return block


async def _shown(run: Run, waiter: _Waiter) -> None:
    """Wait until the end of the progress was shown."""
    meter = run.meter
    if meter is not None:
        meter.close(wait=False)
        while not meter.ended:
            await waiter.wait(lambda: meter.ended)


class _Waiter:
    """A task that waits, and how another thread wakes it."""

    _flag: Any = None

    def wake(self) -> None:
        """Wake the task, from any thread."""
        flag = self._flag
        if flag is not None:
            self._flag = None
            self._call(flag)

    def _call(self, flag: Any) -> None:  # noqa: ANN401 - of the loop
        raise NotImplementedError

    async def wait(self, stirred: Callable[[], bool]) -> None:
        """Sleep until something changes."""
        raise NotImplementedError

    async def pause(self) -> None:
        """Let other tasks run."""
        raise NotImplementedError


class _AsyncioWaiter(_Waiter):
    def __init__(self, loop: Any) -> None:  # noqa: ANN401 - asyncio's
        self._loop = loop

    def _call(self, flag: Any) -> None:  # noqa: ANN401 - as above
        from contextlib import suppress  # noqa: PLC0415 - seldom

        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(_settle, flag)

    async def wait(self, stirred: Callable[[], bool]) -> None:
        flag = self._flag = self._loop.create_future()
        if stirred():  # it changed before there was somebody to wake
            self._flag = None
            return
        await flag

    async def pause(self) -> None:
        await sys.modules["asyncio"].sleep(0)


def _settle(future: Any) -> None:  # noqa: ANN401 - asyncio's
    if not future.done():
        future.set_result(None)


class _TrioWaiter(_Waiter):
    def __init__(self, trio: Any) -> None:  # noqa: ANN401 - the module
        self._trio, self._token = trio, trio.lowlevel.current_trio_token()

    def _call(self, flag: Any) -> None:  # noqa: ANN401 - as above
        from contextlib import suppress  # noqa: PLC0415 - seldom

        with suppress(self._trio.RunFinishedError):
            self._token.run_sync_soon(flag.set)

    async def wait(self, stirred: Callable[[], bool]) -> None:
        flag = self._flag = self._trio.Event()
        if stirred():
            self._flag = None
            return
        await flag.wait()

    async def pause(self) -> None:
        await self._trio.lowlevel.checkpoint()


def _waiter() -> _Waiter:
    from holdfast._desks import _trio  # noqa: PLC0415 - only where a loop runs

    trio = _trio()
    return _AsyncioWaiter(sys.modules["asyncio"].get_running_loop()) if trio is None else _TrioWaiter(trio)
