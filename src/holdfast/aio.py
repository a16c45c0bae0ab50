"""How tasks of an event loop wait for something shared, without blocking the loop.

Whatever is waited for is taken by the task itself, by an attempt that does not block; the native helper thread only
says when to try (see the picture in :mod:`holdfast._desks`). So a cancelled task has lost nothing and holds nothing;
if it had been told already, it passes that on to the next in line.

:func:`turn` is for what one of many gets (a lock, a permit, an item), :func:`signal` for what happens to all who wait.
"""

import os
from time import monotonic
from weakref import WeakKeyDictionary, ref

from holdfast import _core
from holdfast._desks import Line, Place, Signal, here, running_task, shielded, this_loops

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast.synchronize import RWLock

# Operations, as in rust/holdfast-py/src/watch.rs.
TAKE, READ, NO_READERS, HAPPENS, NOTIFIED, GATE, JUDGED, ITEM, ROOM = range(9)
# Answers of a barrier, as in rust/holdfast-py/src/barrier.rs.
_TIMED_OUT, _BUSY = -3, -4


def _end(timeout: float | None) -> float | None:
    left = _core.seconds(timeout)
    return None if left is None else monotonic() + left


async def turn(
    shared: "Any", operation: int, attempt: "Callable[[], Any]", timeout: float | None = None, *, more: bool = False
) -> "Any":
    """Waits in line until an attempt gives something true.

    Args:
        shared: The object.
        operation: What of it: ``TAKE``, ``READ`` and so on.
        attempt: Tries once without blocking, in the task itself.
        timeout: In seconds; None waits for ever.
        more: Whether, after one task has got something, there may be something left for the next.

    Returns:
        What the attempt gave; its last (false) answer if the time was over first.

    Raises:
        BadTimeout: The timeout is NaN or negative.
    """
    end = _end(timeout)
    if end is not None and timeout is not None and timeout <= 0:
        return attempt()
    desk = here()
    line = desk.line(shared, operation, Line)
    place = Place(desk, attempt)
    got: Any = None
    line.enter(place, 0)
    try:
        while True:
            in_time = await place.sleep(end)
            got = attempt()
            if got or not in_time:
                return got
            line.missed(place)
    finally:
        line.leave(place, took=bool(got), more=more)


async def signal(
    shared: "Any", operation: int, mark: int, check: "Callable[[], bool]", end: float | None, *more: int
) -> bool:
    """Waits until something has happened.

    Args:
        shared: The object.
        operation: What of it.
        mark: What was seen last.
        check: Whether it has happened.
        end: Deadline in seconds of ``time.monotonic``; None waits for ever.
        *more: What tells this wait from others that are woken by something else.

    Returns:
        Whether it happened before the time was over.
    """
    desk = here()
    line = desk.line(shared, operation, Signal, *more)
    place = Place(desk, check)
    line.enter(place, mark)
    try:
        while True:
            in_time = await place.sleep(end)
            if check():
                return True
            if not in_time:
                return False
            place.woken = False
            line.news()
    finally:
        line.leave(place, took=False, more=False)


def released(shared: "Any", operation: int = TAKE) -> None:
    """Tells the longest-waiting task of this loop that the calling one has released something."""
    desk = this_loops()
    if desk is not None:
        line = desk.lines.get((shared._address(), operation))
        if line is not None:
            line.hand_over()


async def acquire(lock: "Any", timeout: float | None = None) -> bool:
    """Takes a Lock or a permit when its turn comes; False if ``timeout`` seconds were over first."""
    if not lock._waited_for() and lock._attempt():
        return True
    taken: bool = await turn(lock, TAKE, lock._attempt, timeout, more=isinstance(lock, _core.Semaphore))
    return taken


# RLocks: which task of a thread has one. The native lock knows the thread only.

_owners: "dict[int, ref[Any]]" = {}
_MANY_OWNERS = 256


def _own(lock: "Any", task: "Any") -> bool:
    if len(_owners) > _MANY_OWNERS:
        for key in [key for key, owner in _owners.items() if owner() is None]:
            del _owners[key]
    _owners[lock._address()] = ref(task)
    return True


def holds(lock: "Any") -> bool:
    """Whether the calling task holds an RLock, or its thread holds a lock of any kind by a blocking call."""
    if not lock._is_mine():
        return False
    owner = _owners.get(lock._address()) if isinstance(lock, _core.RLock) else None
    return owner is None or owner() is running_task()


async def acquire_rlock(lock: "Any", timeout: float | None = None) -> bool:
    """Takes an RLock for the calling task, again if it has it; False if ``timeout`` seconds were over first.

    Raises:
        NotOwner: The thread of the loop holds it by a blocking call: no task can have it before that is released.
    """
    task = running_task()
    if lock._is_mine():
        owner = _owners.get(lock._address())
        if owner is None:
            from holdfast.errors import NotOwner

            message = (
                "a task wants an RLock that the thread of its event loop holds by a blocking acquire(); "
                "in a loop take it with `async with` or acquire_async() everywhere"
            )
            raise NotOwner(message)
        if owner() is task:
            return bool(lock.acquire(False))

    def attempt() -> bool:
        return bool(not lock._is_mine() and lock._attempt() and _own(lock, task))

    _core.seconds(timeout)
    if not lock._waited_for() and attempt():
        return True
    taken: bool = await turn(lock, TAKE, attempt, timeout)
    return taken


def release_rlock(lock: "Any", *exc: object) -> None:
    """Leaves ``async with rlock``."""
    lock.__exit__(*exc)
    if not lock._is_mine():
        _owners.pop(lock._address(), None)
        if lock._waited_for():
            released(lock)


# RWLocks: which tasks read, and how often. A task that reads may read again; another task of the thread is a newcomer.

_reading: "WeakKeyDictionary[Any, dict[int, int]]" = WeakKeyDictionary()


async def acquire_read(lock: "RWLock", timeout: float | None = None) -> bool:
    """Starts to read; False if ``timeout`` seconds were over first."""
    _core.seconds(timeout)
    readings = _reading.setdefault(running_task(), {})
    key = lock._address()
    again = readings.get(key, 0) > 0

    def attempt() -> bool:
        return lock._attempt_read(again)

    if not ((again or not lock._waited_for()) and attempt()) and not await turn(
        lock, READ, attempt, timeout, more=True
    ):
        return False
    readings[key] = readings.get(key, 0) + 1
    return True


def after_side(lock: "RWLock", way: str) -> None:
    """A task has given one side back: forgets that it reads, and lets the next writer and reader of the loop look.

    Args:
        lock: The lock.
        way: ``"read"`` or ``"write"``.
    """
    readings = _reading.get(running_task()) if way == "read" else None
    if readings:
        left = readings.pop(lock._address(), 1) - 1
        if left:
            readings[lock._address()] = left
    if lock._waited_for():
        tell_all(lock)


async def acquire_write(lock: "RWLock", timeout: float | None = None) -> bool:
    """Takes the writer's word, which keeps new readers out, and waits until the last reader leaves.

    Returns:
        False if ``timeout`` seconds were over first.
    """
    end = _end(timeout)
    word: int | None = None

    def attempt() -> bool:
        nonlocal word
        word = lock._attempt_word()
        return word is not None

    if not (not lock._waited_for() and attempt()) and not await turn(lock, TAKE, attempt, timeout):
        return False
    assert word is not None  # noqa: S101 - the attempt succeeded

    def finish() -> bool:
        nonlocal word
        mine, word = word or 0, None
        written = lock._attempt_write(mine)  # if it raises, the lock is given back already
        if not written:
            word = mine
        return written

    try:
        if finish():
            return True
        left = None if end is None else max(0.0, end - monotonic())
        return bool(await turn(lock, NO_READERS, finish, left))
    finally:
        if word is not None:
            lock._abandon_write(word)
            if lock._waited_for():
                tell_all(lock)


def tell_all(lock: "RWLock") -> None:
    """After an RWLock was released: the writer that waits for readers, the next writer and the next reader look."""
    for operation in (NO_READERS, TAKE, READ):
        released(lock, operation)


# Queues


async def put_item(queue: "Any", item: object, timeout: float | None = None) -> bool:
    """Puts an item when there is room; False if ``timeout`` seconds were over first."""
    _core.seconds(timeout)

    def attempt() -> bool:
        return bool(queue._put_now(item))

    if not queue._waited_for() and attempt():
        return True
    done: bool = await turn(queue, ROOM, attempt, timeout, more=True)
    return done


async def get_item(queue: "Any", timeout: float | None = None, *, copy: bool = True) -> "tuple[Any] | None":
    """Takes the next item; None if ``timeout`` seconds were over first."""
    _core.seconds(timeout)

    def attempt() -> "tuple[Any] | None":
        item = queue._get_now(copy)
        return None if item is NotImplemented else (item,)

    got = None if queue._waited_for() else attempt()
    if got is None:
        got = await turn(queue, ITEM, attempt, timeout, more=True)
    return got


# Events, conditions, barriers: nothing is taken.


async def wait_event(event: "Any", timeout: float | None = None) -> bool:
    """Waits until an event is set; False if ``timeout`` seconds were over first."""
    end = _end(timeout)
    mark = event._mark()
    if event._happened(mark):
        return True
    if timeout is not None and timeout <= 0:
        return False
    return await signal(event, HAPPENS, mark, lambda: event._happened(mark), end)


async def wait_condition(condition: "Any", timeout: float | None = None) -> bool:
    """Releases the condition's lock, waits until notified, takes the lock again, whatever happens.

    Returns:
        False if ``timeout`` seconds were over first.

    Raises:
        AssertionError: The calling task does not hold the lock.
    """
    end = _end(timeout)
    lock = condition._lock
    if not holds(lock):
        message = "must acquire() condition before using wait_async()"
        raise AssertionError(message)
    reentrant = isinstance(lock, _core.RLock)
    paired, mark, depth = condition._enlist()
    if reentrant:
        _owners.pop(lock._address(), None)
    if lock._waited_for():
        released(lock)
    notified, finished = False, False
    try:
        await signal(
            condition,
            NOTIFIED if paired else GATE,
            mark,
            lambda: condition._notified(paired, mark),
            end,
            mark,
        )
        finished = True
    finally:
        try:
            await shielded(lambda: acquire_rlock(lock) if reentrant else acquire(lock))
        except BaseException:
            finished = False
            raise
        finally:
            if lock._is_mine():
                notified = condition._delist(paired, mark, depth)
                if notified and not finished:
                    condition.notify(1)  # it was meant for somebody who goes on
    return notified


async def wait_barrier(barrier: "Any", timeout: float | None = None) -> int:
    """Arrives at a barrier and waits for the others.

    Args:
        barrier: The barrier.
        timeout: In seconds; None waits for ever.

    Returns:
        The party's index, or one of the negative marks of ``_core.Barrier``.
    """
    end = _end(timeout)
    shared: _core.Barrier = barrier._shared
    while True:
        pair, gate = shared._come()
        if pair != _BUSY:
            break
        if end is not None and end <= monotonic():
            shared._abort()
            return _TIMED_OUT
        await signal(shared, GATE, gate, lambda gate=gate: shared._opened(gate), end, gate)  # type: ignore[misc]
    if pair < 0:
        return pair
    verdict: int | None = None

    def judged() -> bool:
        nonlocal verdict
        if verdict is None:
            verdict = shared._verdict(pair)
        return verdict is not None

    try:
        await signal(shared, JUDGED, pair, judged, end, pair)
    finally:
        if verdict is None:
            verdict = shared._give_up(pair)
    return verdict


os.register_at_fork(after_in_child=_owners.clear)  # a child's threads have other tasks
