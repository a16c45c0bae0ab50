"""Locks and signals that know their holder, survive its death and can be passed anywhere.

The same names and contracts as :mod:`multiprocessing.synchronize`, plus :class:`RWLock` and :func:`all_of`. Every
object lives in shared memory (a handle of it goes through any pickle), works between threads and between processes,
and answers ``stats()``. Times are seconds.
"""

import threading
from time import monotonic

from holdfast import _core
from holdfast._awaitable import AsyncBarrier, AsyncCondition, AsyncEvent, AsyncRLock, AsyncSide
from holdfast._shared import BOUNDED, KIND, WORDS, Shared, checked, flag_bits, same, size_class

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from holdfast._stats import Stats

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "RWLock",
    "Semaphore",
    "all_of",
]

#: Greatest value of a semaphore, as in multiprocessing.
SEM_VALUE_MAX = 0x7FFF_FFFF


class Lock(Shared, _core.Lock):
    """A mutual-exclusion lock for threads and processes.

    Args:
        ctx: Accepted for compatibility; every context has the same locks.
        name: The same name is the same lock for every process of this user on this machine.
        on_owner_death: After a holder died, the next one gets the lock and an :class:`OwnerDiedWarning` ("warn") or
            the lock stays free and :class:`OwnerDied` is raised ("raise").
        strict: Refuse a release by anybody but the holder.

    Raises:
        ArenaFull: No space for shared memory.
        NameClash: The name belongs to an object of another kind.

    Example:
        >>> import holdfast
        >>> lock = holdfast.Lock()
        >>> with lock:
        ...     lock.locked()
        True
    """

    __slots__ = ("__weakref__",)

    def __new__(
        cls, name: str | None = None, *, ctx: object = None, on_owner_death: str = "warn", strict: bool = False
    ) -> "Self":
        """Makes the lock, or finds the one of that name."""
        return cls._make(KIND["Lock"], 0, checked(name), flag_bits(on_owner_death, strict=strict), 0, 0)

    def _count(self) -> int:
        return self._depth()

    def _get_value(self) -> int:
        return 0 if self.locked() else 1

    def _is_zero(self) -> bool:
        return self.locked()


class RLock(AsyncRLock, Shared, _core.RLock):
    """A lock that its holder may take again; it is free after as many releases.

    Args and errors as for :class:`Lock`; only the holding thread may release it.

    Example:
        >>> import holdfast
        >>> lock = holdfast.RLock()
        >>> with lock, lock:
        ...     pass
    """

    __slots__ = ("__weakref__",)

    def __new__(cls, name: str | None = None, *, ctx: object = None, on_owner_death: str = "warn") -> "Self":
        """Makes the lock, or finds the one of that name."""
        return cls._make(KIND["RLock"], 0, checked(name), flag_bits(on_owner_death, strict=False), 0, 0)

    def _count(self) -> int:
        return self._depth()

    def _get_value(self) -> int:
        return 0 if self.locked() else 1

    def _is_zero(self) -> bool:
        return self.locked()


class Semaphore(Shared, _core.Semaphore):
    """A counter that never goes below zero; permits of a dead process come back.

    They come back unless the semaphore is used for signalling, that is, once somebody has released what another had
    acquired. Permits beyond 4,064 have no owner.

    Args:
        value: Permits at the start.
        ctx: Accepted for compatibility.
        name: The same name is the same semaphore for every process of this user.
        on_owner_death: As for :class:`Lock`.

    Raises:
        BadArgument: The value is negative or too large.

    Example:
        >>> import holdfast
        >>> slots = holdfast.Semaphore(2)
        >>> with slots:
        ...     slots.get_value()
        1
    """

    __slots__ = ("__weakref__",)
    _free = "nobody holds a permit"
    _extra = 0

    def __new__(
        cls, value: int = 1, *, ctx: object = None, name: str | None = None, on_owner_death: str = "warn"
    ) -> "Self":
        """Makes the semaphore, or finds the one of that name."""
        if not 0 <= value <= SEM_VALUE_MAX:
            from holdfast.errors import BadArgument

            message = f"a semaphore's value is between 0 and {SEM_VALUE_MAX}, not {value}"
            raise BadArgument(message)
        size = size_class(value)
        cells = value if size >= 0 else 0
        flags = flag_bits(on_owner_death, strict=False) | cls._extra
        made = cls._make(KIND["Semaphore"], max(size, 0), checked(name), flags, value, cells)
        same(made, name, maximum=value, flags=flags)
        return made

    def __repr__(self) -> str:
        """What it is, its value, and who holds permits."""
        text = super().__repr__()
        return f"{text[:-1]}, value {self.get_value()}>" if "[HF" not in text else text

    def _get_value(self) -> int:
        return self.get_value()

    def _is_zero(self) -> bool:
        return self.get_value() == 0

    def _is_mine(self) -> bool:
        return bool(self._info()["mine"])


class BoundedSemaphore(Semaphore):
    """A semaphore that refuses to be released above its first value.

    Args and errors as for :class:`Semaphore`; a release too many raises :class:`NotHeld` (a ``ValueError``).

    Example:
        >>> import holdfast
        >>> holdfast.BoundedSemaphore(1).get_value()
        1
    """

    __slots__ = ()
    _extra = BOUNDED


class Event(AsyncEvent, Shared, _core.Event):
    """A flag to wait for. ``set()`` never waits for anybody, so a signal handler may call it.

    Args:
        ctx: Accepted for compatibility.
        name: The same name is the same event for every process of this user.

    Example:
        >>> import holdfast
        >>> ready = holdfast.Event()
        >>> ready.set()
        >>> ready.wait(timeout=1.0)
        True
    """

    __slots__ = ("__weakref__",)
    _free = "unset"

    def __new__(cls, name: str | None = None, *, ctx: object = None) -> "Self":
        """Makes the event, or finds the one of that name."""
        return cls._make(KIND["Event"], 0, checked(name), 0, 0, 0)

    def __repr__(self) -> str:
        """What it is, how many wait, and whether it is set; the form of ``threading.Event``."""
        from holdfast.errors import HoldfastError

        try:
            now, state = self.stats(), "set" if self.is_set() else "unset"
        except HoldfastError as error:
            return f"<Event at {id(self):#x} {error}>"
        words = [f"<Event at {id(self):#x}", repr(now.name) if now.name else "", f"{len(now.waiters)} waiting,", state]
        return " ".join(word for word in words if word) + ">"


class _NoCounter:
    """Stands where the standard library's condition counts its sleepers; here they are a list."""

    def get_value(self) -> int:
        raise NotImplementedError


class Condition(AsyncCondition, Shared, _core.Condition):
    """A place to wait until something has changed, under a lock.

    ``acquire``, ``release`` and ``with`` are those of the lock. ``wait(timeout=None)`` releases it, sleeps until
    notified (False: the time in seconds was over first) and takes it again; ``notify(n=1)`` and ``notify_all()`` wake
    the longest-waiting, which are told apart up to 2,032 of them. A waiter that is killed is forgotten: nobody ever
    waits for a sleeper's answer.

    Args:
        lock: A holdfast :class:`Lock` or :class:`RLock`; a new ``RLock`` if None.
        ctx: Accepted for compatibility.
        name: The same name is the same condition, with the same lock, for every process of this user.

    Raises:
        BadArgument: ``lock`` is not a holdfast lock, or both a lock and a name are given.

    Example:
        >>> import holdfast
        >>> changed = holdfast.Condition()
        >>> with changed:
        ...     changed.wait(timeout=0.0)
        False
    """

    __slots__ = ("__weakref__",)
    # CPython's own tests ask these, and take "not implemented" for an answer.
    _sleeping_count = _woken_count = _wait_semaphore = _NoCounter()

    def __new__(cls, lock: "Lock | RLock | None" = None, *, ctx: object = None, name: str | None = None) -> "Self":
        """Makes the condition, or finds the one of that name."""
        if lock is not None and (name is not None or not isinstance(lock, (_core.Lock, _core.RLock))):
            from holdfast.errors import BadArgument

            message = f"a Condition takes a holdfast Lock or RLock, or a name; not {lock!r} and name {name!r}"
            raise BadArgument(message)
        condition = cls._make(KIND["Condition"], 2, checked(name), 0, 0, 0)
        condition._bind(RLock(name=name and f"{name} (its lock)") if lock is None else lock)
        return condition

    def __reduce__(self) -> "tuple[Any, ...]":
        """Travels as its list of waiters and its lock."""
        return _rebuild_condition, (type(self), self._lock, *self._handle())

    def __repr__(self) -> str:
        """What it is, who holds its lock, and how many wait."""
        from holdfast.errors import HoldfastError

        try:
            return f"<holdfast.Condition of {self._lock!r}, {self._waiting()} waiting>"
        except HoldfastError as error:
            return f"<holdfast.Condition {error}>"

    def stats(self) -> "Stats":
        """As for a lock; the holders are those of the condition's lock, the waiters those of the condition.

        Raises:
            ClosedError: It was closed in this process.
        """
        waiters = super().stats().waiters
        now: Stats = self._lock.stats()
        return now._replace(kind="Condition", waiters=waiters, name=self.name)

    def wait_for(self, predicate: "Callable[[], Any]", timeout: float | None = None) -> "Any":
        """Waits until ``predicate()`` is true; its last value.

        Args:
            predicate: Called with the lock held.
            timeout: In seconds, for the whole wait; None waits for ever.

        Raises:
            AssertionError: The calling thread does not hold the lock.
        """
        result = predicate()
        if result:
            return result
        end = None if timeout is None else monotonic() + timeout
        while not result:
            left = None
            if end is not None:
                left = end - monotonic()
                if left <= 0:
                    break
            self.wait(left)
            result = predicate()
        return result


def _rebuild_condition(
    cls: "Any", lock: "Lock | RLock", arena: str, slot: int, generation: int, kind: int
) -> Condition:
    condition: Condition = cls._find(arena, slot, generation, kind)
    condition._bind(lock)
    return condition


class _Parties(Shared, _core.Barrier):
    """The shared words of a barrier."""

    __slots__ = ("__weakref__",)
    _LAST, _BROKEN, _TIMED_OUT = -1, -2, -3


class Barrier(AsyncBarrier):
    """A point that a fixed number of parties pass together; it breaks when one of them is killed there.

    Args:
        parties: How many, at most 1,016.
        action: Called by the last party before all go on.
        timeout: Seconds every ``wait`` has if it names none; None waits for ever.
        ctx: Accepted for compatibility.
        name: The same name is the same barrier for every process of this user.

    Raises:
        BadArgument: Fewer than one party, or too many.

    Example:
        >>> import holdfast
        >>> holdfast.Barrier(1).wait()
        0
    """

    __slots__ = ("__weakref__", "_action", "_shared", "_timeout")

    def __init__(
        self,
        parties: int,
        action: "Callable[[], object] | None" = None,
        timeout: float | None = None,
        *,
        ctx: object = None,
        name: str | None = None,
    ) -> None:
        """Makes the barrier, or finds the one of that name."""
        most = WORDS[2] // 4
        if not 1 <= parties <= most:
            from holdfast.errors import BadArgument

            message = f"a barrier has between 1 and {most} parties, not {parties}"
            raise BadArgument(message)
        # Two pairs a party: those of the last round may not have read their verdicts yet.
        shared = _Parties._make(KIND["Barrier"], size_class(4 * parties), checked(name), 0, parties, 0)
        same(shared, name, maximum=parties)
        self._shared, self._action, self._timeout = shared, action, timeout

    def __reduce__(self) -> "tuple[Any, ...]":
        """Travels as its words, its action and its timeout."""
        return _rebuild_barrier, (self._shared, self._action, self._timeout)

    def __repr__(self) -> str:
        """What it is and how many wait."""
        state = "broken" if self.broken else f"{self.n_waiting} of {self.parties} waiting"
        return f"<holdfast.Barrier {state}>"

    def stats(self) -> "Stats":
        """As for a lock; the holders are the parties that wait.

        Raises:
            ClosedError: It was closed in this process.
        """
        return self._shared.stats()

    @property
    def name(self) -> str:
        """Its name, "" if it has none."""
        return self._shared.name

    def close(self) -> None:
        """Lets go of it in this process."""
        self._shared.close()

    def wait(self, timeout: float | None = None) -> int:
        """Waits until all parties have come; this party's index, 0 to ``parties - 1``.

        Args:
            timeout: Seconds; None takes the barrier's own.

        Raises:
            BarrierBroken: A party was killed or timed out, the action raised, or somebody called ``abort`` or
                ``reset``.
        """
        shared = self._shared
        index = shared._arrive(self._timeout if timeout is None else timeout)
        return self._judge(self._act() if index == shared._LAST else index)

    def _act(self) -> int:
        """The last party runs the action and opens."""
        shared = self._shared
        if self._action is not None:
            try:
                self._action()
            except BaseException:
                shared._abort()
                raise
        return shared._open()

    def _judge(self, index: int) -> int:
        if index < 0:
            from holdfast.errors import BarrierBroken

            late = index == self._shared._TIMED_OUT
            why = "this party's time was over" if late else "a party was killed, or it was aborted"
            message = f"the barrier of {self.parties} parties is broken: {why}; call reset() to use it again"
            raise BarrierBroken(message)
        return index

    def reset(self) -> None:
        """Makes it new; parties that wait get :class:`BarrierBroken`."""
        self._shared._reset()

    def abort(self) -> None:
        """Breaks it until it is reset."""
        self._shared._abort()

    @property
    def parties(self) -> int:
        """How many have to come."""
        return int(self._shared._info()["maximum"])

    @property
    def n_waiting(self) -> int:
        """How many have come."""
        return self._shared._waiting()

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self._shared._is_broken()


def _rebuild_barrier(shared: _Parties, action: "Callable[[], object] | None", timeout: float | None) -> Barrier:
    barrier = Barrier.__new__(Barrier)
    barrier._shared, barrier._action, barrier._timeout = shared, action, timeout
    return barrier


class RWLock(Shared, _core.RWLock):
    """Many readers or one writer. A waiting writer keeps new readers out, so it does not starve.

    A reader may read again while it reads. Dead readers are counted out, a dead writer is taken over with a warning.
    At most 224 readings at a time; more wait.

    Args:
        ctx: Accepted for compatibility.
        name: The same name is the same lock for every process of this user.
        on_owner_death: As for :class:`Lock`, for writers.

    Example:
        >>> import holdfast
        >>> lock = holdfast.RWLock()
        >>> with lock.read():
        ...     lock.readers
        1
        >>> with lock.write():
        ...     pass
    """

    __slots__ = ("__weakref__",)

    def __new__(cls, name: str | None = None, *, ctx: object = None, on_owner_death: str = "warn") -> "Self":
        """Makes the lock, or finds the one of that name."""
        return cls._make(KIND["RWLock"], 1, checked(name), flag_bits(on_owner_death, strict=False), 0, 0)

    def read(self) -> "Side":
        """The reading side: a context manager with ``acquire(block, timeout)`` and ``release()``."""
        return Side(self, self._acquire_read, self._release_read, "read")

    def write(self) -> "Side":
        """The writing side: a context manager with ``acquire(block, timeout)`` and ``release()``."""
        return Side(self, self._acquire_write, self._release_write, "write")

    @property
    def readers(self) -> int:
        """How many read now."""
        return self._readers()


class Side(AsyncSide):
    """One side of a :class:`RWLock`, to be used like a lock."""

    __slots__ = ("_lock", "_way", "acquire", "release")

    def __init__(self, lock: RWLock, acquire: "Callable[..., bool]", release: "Callable[[], None]", way: str) -> None:
        """Made by :meth:`RWLock.read` and :meth:`RWLock.write`."""
        self._lock, self.acquire, self.release, self._way = lock, acquire, release, way

    def __enter__(self) -> bool:
        """Takes it."""
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        """Gives it back."""
        self.release()


class all_of:  # noqa: N801 - reads like a verb in `with all_of(a, b):`
    """Takes several locks together, in a way that cannot deadlock whatever order others use.

    It never waits for one lock while it holds another: it waits for one, tries the rest, and if one of them is taken it
    lets go of all and waits for that one. Source: the try-and-back-off algorithm of C++ ``std::lock``.

    Args:
        *locks: Holdfast's locks, semaphores, conditions, sides of an RWLock; the same lock given twice is taken once.

    Raises:
        BadArgument: No lock was given, or something else than holdfast's.

    Example:
        >>> import holdfast
        >>> a, b = holdfast.Lock(), holdfast.Lock()
        >>> with holdfast.all_of(a, b):
        ...     a.locked() and b.locked()
        True
    """

    __slots__ = ("_locks",)

    def __init__(self, *locks: "Any") -> None:
        """Names the locks; nothing is taken yet."""
        strangers = [lock for lock in locks if not isinstance(lock, (Shared, Side)) or not hasattr(lock, "acquire")]
        if strangers or not locks:
            from holdfast.errors import BadArgument

            what = f"; {strangers[0]!r} is none" if strangers else ""
            message = f"all_of() takes holdfast locks (of an RWLock its read() or write() side), at least one{what}"
            raise BadArgument(message)
        unique = {_identity(lock): lock for lock in locks}
        # One agreed order, so that two of these seldom get in each other's way.
        self._locks = [unique[key] for key in sorted(unique)]

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Takes all of them or none.

        Args:
            block: Whether to wait.
            timeout: In seconds, for all together; None waits for ever.

        Returns:
            Whether they were taken.

        Raises:
            BadTimeout: The timeout is NaN or negative.
        """
        end = None if timeout is None else monotonic() + timeout
        first, left = 0, timeout
        while True:
            if not self._locks[first].acquire(block, left):
                return False
            missing = self._try_rest(first)
            if missing is None:
                return True
            self._locks[first].release()
            if not block:
                return False
            first = missing
            if end is not None:
                left = max(0.0, end - monotonic())

    def _try_rest(self, first: int) -> int | None:
        taken: list[Any] = []
        for i, lock in enumerate(self._locks):
            if i == first:
                continue
            try:
                got = lock.acquire(False)
            except BaseException:
                for other in reversed([self._locks[first], *taken]):
                    other.release()
                raise
            if not got:
                for other in reversed(taken):
                    other.release()
                return i
            taken.append(lock)
        return None

    def release(self) -> None:
        """Releases all of them.

        Raises:
            NotHeld: One of them was not held; the others are released all the same.
        """
        error: BaseException | None = None
        for lock in reversed(self._locks):
            try:
                lock.release()
            except ValueError as e:
                error = e
        if error is not None:
            raise error

    def __enter__(self) -> bool:
        """Takes all of them."""
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        """Releases all of them."""
        for lock in reversed(self._locks):
            leave = getattr(lock, "__exit__", None)
            if leave is None:
                lock.release()
            else:
                leave(*exc)


def _identity(lock: "Any") -> "tuple[Any, ...]":
    if isinstance(lock, Side):
        info = lock._lock._info()
        return (info["arena"], info["slot"], str(lock.acquire.__name__))
    if isinstance(lock, Condition):
        lock = lock._lock
    if isinstance(lock, Shared):
        info = lock._info()
        return (info["arena"], info["slot"], "")
    return ("", id(lock), "")


#: multiprocessing.synchronize has this name; code that catches barrier errors finds it here too.
BrokenBarrierError = threading.BrokenBarrierError
