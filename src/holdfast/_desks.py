"""Tasks of event loops in line, and the desk where the helper thread leaves word for a loop.

::

    task --- try: taken ------------------------------------------------> goes on (nothing here is used)
      |  not to be had
      v
    Line (one for each object and operation in a loop): tasks in the order they came
      |  one interest                                        ^ "look again": only the first is told
      v                                                      |
    helper thread (native, one for the process) --- eventfd ---> Desk (one a loop)

asyncio and trio are found among the loaded modules; neither is imported here.
"""

import os
import sys
from collections import OrderedDict
from contextlib import suppress
from functools import cache
from time import monotonic
from weakref import WeakValueDictionary

from holdfast import _core

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

# Of so many releases to tasks of the same loop one leaves the turn to other processes.
_YIELD_EVERY = 8


class Line:
    """Tasks of one loop that wait for the same thing, the longest-waiting first."""

    __slots__ = (
        "__weakref__",
        "_desk",
        "_handed",
        "_key",
        "_object",
        "_operation",
        "_places",
        "_ticket",
        "_told",
        "_took",
    )

    def __init__(self, desk: "Desk", key: "tuple[int, ...]", shared: "Any", operation: int) -> None:
        self._desk, self._key, self._object, self._operation = desk, key, shared, operation
        self._places: OrderedDict[Place, None] = OrderedDict()
        self._ticket = self._handed = 0
        self._told = self._took = False  # the helper waits for an answer; something was got since it told

    def enter(self, place: "Place", mark: int) -> None:
        """Puts a task at the end; the first one makes the helper watch.

        Args:
            place: The task's.
            mark: What was seen last of the thing, for those that need it.
        """
        if not self._ticket:
            try:
                self._ticket = _core.watch(self._desk.number, self._object, self._operation, mark)
            except BaseException:
                self._desk.tidy_soon()
                raise
            self._desk.tickets[self._ticket] = self
        elif not self._places:
            self._answer()  # the helper may have told of it when nobody was here
        self._places[place] = None
        self._object._tasks(True)

    def leave(self, place: "Place", *, took: bool, more: bool) -> None:
        """Takes a task out, and tells the next one if this one was told for nothing.

        Args:
            place: The task's.
            took: Whether it got what it waited for.
            more: Whether there may be more of it.
        """
        del self._places[place]
        self._object._tasks(False)
        self._took |= took
        if not self._places:
            self._desk.tidy_soon()
        elif took and not more:
            self._answer()
        elif place.woken or took:
            self.wake_first()

    def forget(self) -> None:
        """In a forked child: the tasks are the parent's."""
        for _ in self._places:
            self._object._tasks(False)

    def close_if_empty(self) -> None:
        """Nobody came meanwhile: the helper need not watch any more."""
        if not self._places:
            desk = self._desk
            del desk.lines[self._key]
            if self._ticket:
                del desk.tickets[self._ticket]
                _core.unwatch(self._ticket)

    def _answer(self, mark: int = 0) -> None:
        if self._told:
            _core.watch_again(self._ticket, self._took, mark)
        self._told = self._took = False

    def missed(self, place: "Place") -> None:
        """The first one looked and somebody else had been faster."""
        place.woken = False
        self._answer()

    def wake_first(self) -> None:
        """Tells the longest-waiting task to try."""
        for place in self._places:
            place.wake()
            break

    def news(self) -> None:
        """The helper saw that it could be had."""
        self._told = True
        self.wake_first()

    def hand_over(self) -> None:
        """A task of this loop has released it: the next one need not wait for the helper."""
        self._handed += 1
        if self._handed % _YIELD_EVERY or self._told:
            self.wake_first()
        else:  # out of the seat, so that those who wait in other processes get their turn
            _core.watch_again(self._ticket, True, 0)


class Signal(Line):
    """Tasks that wait for something that happens to all of them at once: nothing is taken."""

    __slots__ = ()

    def enter(self, place: "Place", mark: int) -> None:
        """Puts a task among the others; the helper, if it waits for an answer, watches again."""
        super().enter(place, mark)
        self._answer(mark)

    def news(self) -> None:
        """The helper saw that it happened, at least for some."""
        self._told = True
        mark = self._mark()  # before the tasks are looked at: whatever happens later, the helper sees
        waiting = 0
        for place in list(self._places):
            try:
                happened = place.check()
            except Exception:  # noqa: BLE001 - the task that waits looks again and raises it
                happened = True
            if happened:
                place.wake()
            elif not place.woken:
                waiting += 1
        if waiting:
            self._answer(mark)

    def _mark(self) -> int:
        look = getattr(self._object, "_mark", None)
        return look() if look is not None else 0

    def leave(self, place: "Place", *, took: bool, more: bool) -> None:  # noqa: ARG002 - of use where it is taken
        """Takes a task out; the others are told each for itself."""
        del self._places[place]
        self._object._tasks(False)
        if not self._places:
            self._desk.tidy_soon()


class Place:
    """One task in a line."""

    __slots__ = ("_desk", "_sleep", "check", "woken")

    def __init__(self, desk: "Desk", check: "Callable[[], bool]") -> None:
        self._desk, self.check = desk, check
        self._sleep: Any = None
        self.woken = False

    def wake(self) -> None:
        """Lets the task look, unless it is about to."""
        if not self.woken:
            self.woken = True
            if self._sleep is not None:
                self._desk.wake(self._sleep)

    async def sleep(self, until: float | None) -> bool:
        """Waits until told.

        Args:
            until: Deadline in seconds of ``time.monotonic``; None waits for ever.

        Returns:
            Whether it was told in time.
        """
        if self.woken:
            return True
        self._sleep = self._desk.new_sleep()
        try:
            return await self._desk.sleep(self._sleep, until)
        finally:
            self._sleep = None


class Desk:
    """Where the helper leaves word for one event loop. There is one while a task of the loop waits."""

    def __init__(self) -> None:
        self.number, self.fd = _core.open_desk()
        self.lines: dict[tuple[int, ...], Line] = {}
        self.tickets: dict[int, Line] = {}
        self.closed = self._untidy = False

    def __del__(self) -> None:  # the loop went away with tasks still waiting
        if not getattr(self, "closed", True):
            _core.close_desk(self.number)

    def line(self, shared: "Any", operation: int, kind: type[Line], *more: int) -> Line:
        """The line for something, made if there is none.

        Args:
            shared: The object.
            operation: What of it.
            kind: Whether it is taken or only happens.
            *more: What tells this line from others of the same operation.
        """
        key = (shared._address(), operation, *more)
        found = self.lines.get(key)
        if found is None:
            found = self.lines[key] = kind(self, key, shared, operation)
        return found

    def news(self) -> None:
        """Reads what the helper left and tells the lines."""
        if self.closed:
            return
        for ticket in _core.desk_news(self.number):
            line = self.tickets.get(ticket)
            if line is not None:
                line.news()

    def tidy_soon(self) -> None:
        """Somebody has left an empty line: closes it after the step of that task, unless another one comes."""
        if not self._untidy:
            self._untidy = True
            self.call_soon(self.tidy)

    def tidy(self) -> None:
        """Closes empty lines, and the desk if there is no other."""
        self._untidy = False
        for line in list(self.lines.values()):
            line.close_if_empty()
        if not self.lines and not self.closed:
            self.close()

    def close(self) -> None:
        """Nobody waits here any more."""
        self.closed = True
        _desks.pop(self.key, None)
        self.stop()
        _core.close_desk(self.number)

    if TYPE_CHECKING:
        key: int

        def stop(self) -> None: ...
        def call_soon(self, what: Callable[[], None]) -> None: ...
        def new_sleep(self) -> Any: ...
        def wake(self, sleep: Any) -> None: ...
        def sleep(self, sleep: Any, until: float | None) -> Awaitable[bool]: ...


class AsyncioDesk(Desk):
    """The desk of an asyncio loop.

    Tasks for which there is news are resumed by the callback that read it: by way of the loop's list of callbacks it
    would take another round of the loop, a good part of the time from a put to the task that gets the item.
    """

    def __init__(self, loop: "Any") -> None:
        """Lets the loop watch the descriptor."""
        super().__init__()
        self.loop, self.key = loop, id(loop)
        self._new_sleep, self._current_task = _resumable()
        self._told: list[Any] | None = None  # sleeps that end, while news is read
        self._resuming = self._left_empty = False
        loop.add_reader(self.fd, self.news)

    def news(self) -> None:
        """Reads what the helper left, and resumes the tasks for which it is."""
        if self._current_task(self.loop) is not None:  # a loop run inside a task: tasks cannot be resumed from here
            super().news()
            return
        told = self._told = []
        self._resuming = True
        try:
            Desk.news(self)
            self._told = None
            for sleep in told:
                if not sleep.done():
                    sleep.resume()
        finally:
            self._told, self._resuming = None, False
            for sleep in told:
                self.wake(sleep)  # if one before it has ended the loop
            if self._left_empty:
                self._left_empty = False
                self.tidy()

    def tidy_soon(self) -> None:
        """As for any desk; after the tasks have been resumed, if they are being."""
        if self._resuming:
            self._left_empty = True
        else:
            super().tidy_soon()

    def stop(self) -> None:
        """Lets the loop forget the descriptor."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.remove_reader(self.fd)

    def call_soon(self, what: "Callable[[], None]") -> None:
        """Calls something after the running step."""
        try:
            self.loop.call_soon(what)
        except RuntimeError:  # the loop is closed: a task is being thrown away
            what()

    def new_sleep(self) -> "Any":
        """A future."""
        return self._new_sleep(loop=self.loop)

    def wake(self, sleep: "Any") -> None:
        """Ends a sleep."""
        if self._told is not None:
            self._told.append(sleep)
        elif not sleep.done():
            sleep.set_result(True)

    def sleep(self, sleep: "Any", until: float | None) -> "Awaitable[bool]":
        """Sleeps until woken; False if the deadline, in seconds, passed first."""
        return sleep if until is None else self._sleep_until(sleep, until)

    async def _sleep_until(self, sleep: "Any", until: float) -> bool:
        timer = self.loop.call_later(max(0.0, until - monotonic()), _expire, sleep)
        try:
            in_time: bool = await sleep
        finally:
            timer.cancel()
        return in_time


@cache
def _resumable() -> "tuple[Any, Any]":
    """The class of an asyncio task's sleeps, and asyncio's function for the running task."""
    asyncio = sys.modules["asyncio"]

    class Sleep(asyncio.Future):  # type: ignore[misc,name-defined]
        """A future whose task can be resumed at once, by a caller that is in no task."""

        _task: "Any" = None

        def add_done_callback(self, function: "Any", *, context: "Any" = None) -> None:
            """Notes how the task that awaits it is resumed."""
            super().add_done_callback(function, context=context)
            self._task = function, context

        def resume(self) -> None:
            """Ends the sleep and runs the next step of the task."""
            function, context = self._task
            self.remove_done_callback(function)
            self.set_result(True)
            context.run(function, self)

    return Sleep, asyncio.current_task


def _expire(future: "Any") -> None:
    if not future.done():
        future.set_result(False)


class TrioDesk(Desk):
    """The desk of a trio run."""

    def __init__(self, trio: "Any", token: "Any") -> None:
        """Starts a system task that watches the descriptor."""
        super().__init__()
        self.trio, self.token, self.key = trio, token, id(token)
        trio.lowlevel.spawn_system_task(self._read, name="holdfast helper's news")

    async def _read(self) -> None:
        with suppress(self.trio.ClosedResourceError):
            while not self.closed:
                await self.trio.lowlevel.wait_readable(self.fd)
                self.news()

    def stop(self) -> None:
        """Ends the system task."""
        with suppress(RuntimeError):  # the run is over
            self.trio.lowlevel.notify_closing(self.fd)

    def call_soon(self, what: "Callable[[], None]") -> None:
        """Calls something after the running step."""
        try:
            self.token.run_sync_soon(what)
        except self.trio.RunFinishedError:
            what()

    def new_sleep(self) -> "Any":
        """An event."""
        return self.trio.Event()

    def wake(self, sleep: "Any") -> None:
        """Ends a sleep."""
        sleep.set()

    async def sleep(self, sleep: "Any", until: float | None) -> bool:
        """Sleeps until woken; False if the deadline, in seconds, passed first."""
        if until is None:
            await sleep.wait()
            return True
        with self.trio.move_on_after(max(0.0, until - monotonic())) as scope:
            await sleep.wait()
        return not scope.cancelled_caught


_desks: "WeakValueDictionary[int, Desk]" = WeakValueDictionary()


def _after_fork() -> None:
    for desk in list(_desks.values()):
        desk.closed = True  # the parent's: its loop does not run here
        for line in desk.lines.values():
            line.forget()
    _desks.clear()


def _trio() -> "Any":
    """trio, if the caller is one of its tasks."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    asyncio = sys.modules.get("asyncio")
    # A task of asyncio first: it may run in the forked child of a trio task. (trio as a guest of asyncio runs outside
    # asyncio's tasks.)
    if asyncio is not None and asyncio._get_running_loop() is not None and asyncio.current_task() is not None:
        return None
    return trio if trio.lowlevel.in_trio_task() else None


def here() -> Desk:
    """The desk of the running loop.

    Raises:
        RuntimeError: No event loop runs in this thread.
    """
    trio = _trio()
    if trio is not None:
        token = trio.lowlevel.current_trio_token()
        return _desks.get(id(token)) or _remember(TrioDesk(trio, token))
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        message = "an awaitable method of holdfast was called, but no event loop of asyncio or trio is running"
        raise RuntimeError(message)
    loop = asyncio.get_running_loop()
    return _desks.get(id(loop)) or _remember(AsyncioDesk(loop))


def this_loops() -> Desk | None:
    """The desk of the running loop, if any of its tasks waits."""
    trio = _trio()
    if trio is not None:
        return _desks.get(id(trio.lowlevel.current_trio_token()))
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else _desks.get(id(asyncio._get_running_loop()))


def _remember(desk: Desk) -> Desk:
    _desks[desk.key] = desk
    return desk


def running_task() -> "Any":
    """The task that calls, of asyncio or trio.

    Raises:
        RuntimeError: No event loop runs in this thread.
    """
    trio = _trio()
    if trio is not None:
        return trio.lowlevel.current_task()
    asyncio = sys.modules.get("asyncio")
    task = None if asyncio is None else asyncio.current_task()
    if task is None:
        message = "an awaitable method of holdfast was called outside a task of asyncio or trio"
        raise RuntimeError(message)
    return task


async def shielded(what: "Callable[[], Awaitable[object]]") -> None:
    """Does something whatever cancels it meanwhile; the cancellation comes afterwards.

    Args:
        what: Called and awaited, again if it was cancelled.
    """
    trio = _trio()
    if trio is not None:
        with trio.CancelScope(shield=True):
            await what()
        return
    late: BaseException | None = None
    while True:
        try:
            await what()
            break
        except sys.modules["asyncio"].CancelledError as error:
            late = error
    if late is not None:
        try:
            raise late
        finally:
            late = None  # no cycle of error and frame


os.register_at_fork(after_in_child=_after_fork)
