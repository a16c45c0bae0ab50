"""The compiled core: what the Python classes are made of.

Every class is over a slot of shared memory. Its constructor is the class method ``_make``; pickles go through
``_handle`` and ``_find``. Times are seconds unless the name says otherwise (``held_ms``: milliseconds). Blocking calls
give the GIL away, run signal handlers, and raise what those raise.
"""

from collections.abc import Awaitable, Iterable
from typing import Any, Self, final

from typing_extensions import disjoint_base

class _Slot:
    """What all classes over a slot have (a name of this stub only)."""

    @property
    def owner_died(self) -> bool:
        """Whether it was taken over from a dead holder; true while it is held after that."""
    @classmethod
    def _make(cls, kind: int, size: int, name: str | None, flags: int, maximum: int, cells: int, /) -> Self:
        """Makes an object, or finds the named one. ``size`` is the slot's class, 0 to 2.

        Raises: ArenaFull, ArenaDirectory, LayoutMismatch, ArenaCorrupt, TooManyProcesses, NameClash.
        """
    @classmethod
    def _find(cls, arena: str, slot: int, generation: int, kind: int, /) -> Self:
        """The object a handle names; counts one pickle as loaded.

        Raises: UnknownArena, HandleGone, and as `_make`.
        """
    @classmethod
    def _like(cls, other: Any, /) -> Self:
        """Another object over the same slot."""
    def _handle(self) -> tuple[str, int, int, int]:
        """Arena, slot, generation, kind; counts one pickle as on its way. Raises: ClosedError."""
    def _info(self) -> dict[str, Any]:
        """Everything reports want to know. Raises: ClosedError."""
    def _title(self) -> str:
        """How messages call it."""
    def close(self) -> None:
        """Lets go of it in this process; every later use here raises ClosedError."""
    def _address(self) -> int:
        """A number that its slot has in this process. Raises: ClosedError."""
    def _tasks(self, more: bool, /) -> None:
        """One task more, or one less, waits here."""
    def _waited_for(self) -> bool:
        """Whether tasks wait here."""

@disjoint_base
class Lock(_Slot):
    """A mutex that names its holder."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Takes it; False if ``timeout`` seconds were over first.

        Raises: BadTimeout, ClosedError, ArenaCorrupt; OwnerDied if it was made with ``on_owner_death="raise"``.
        """
    def release(self) -> None:
        """Releases it, for whoever holds it. Raises: NotHeld; ForeignRelease if it is strict."""
    def locked(self) -> bool:
        """Whether somebody holds it."""
    def __enter__(self) -> bool:
        """Takes it."""
    def __exit__(self, *exc: object) -> None:
        """Releases it; in a child forked inside the block only a warning."""
    def _is_mine(self) -> bool:
        """Whether the calling thread holds it."""
    def _depth(self) -> int:
        """How often the calling thread has taken it."""
    def acquire_async(self, timeout: float | None = None) -> Awaitable[bool]:
        """Awaitable twin of `acquire`. Raises: as `acquire`; RuntimeError without an event loop."""
    def __aenter__(self) -> Awaitable[bool]:
        """Takes it, without blocking the event loop."""
    def __aexit__(self, *exc: object) -> Awaitable[None]:
        """Releases it."""
    def _attempt(self) -> bool:
        """One try of a task that waits. Raises: as `acquire`."""

@disjoint_base
class RLock(_Slot):
    """A re-entrant mutex."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """As of `Lock`."""
    def release(self) -> None:
        """Releases one level. Raises: NotOwner."""
    def locked(self) -> bool:
        """Whether somebody holds it."""
    def __enter__(self) -> bool:
        """Takes it."""
    def __exit__(self, *exc: object) -> None:
        """Releases one level."""
    def _is_mine(self) -> bool:
        """Whether the calling thread holds it."""
    def _depth(self) -> int:
        """How often the calling thread has taken it."""
    def _attempt(self) -> bool:
        """One try of a task that waits. Raises: as `Lock.acquire`."""

@disjoint_base
class Semaphore(_Slot):
    """A counter whose permits know who took them."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """As of `Lock`."""
    def release(self) -> None:
        """Gives a permit back. Raises: NotHeld at the bound."""
    def get_value(self) -> int:
        """Free permits."""
    def __enter__(self) -> bool:
        """Takes a permit."""
    def __exit__(self, *exc: object) -> None:
        """Gives it back."""
    def acquire_async(self, timeout: float | None = None) -> Awaitable[bool]:
        """Awaitable twin of `acquire`. Raises: as `acquire`; RuntimeError without an event loop."""
    def __aenter__(self) -> Awaitable[bool]:
        """Takes it, without blocking the event loop."""
    def __aexit__(self, *exc: object) -> Awaitable[None]:
        """Releases it."""
    def _attempt(self) -> bool:
        """One try of a task that waits. Raises: as `acquire`."""

@disjoint_base
class RWLock(_Slot):
    """Many readers or one writer."""

    def _acquire_read(self, block: bool = True, timeout: float | None = None) -> bool: ...
    def _acquire_write(self, block: bool = True, timeout: float | None = None) -> bool: ...
    def _release_read(self) -> None: ...
    def _release_write(self) -> None: ...
    def _readers(self) -> int: ...
    def _attempt_read(self, again: bool, /) -> bool: ...
    def _attempt_word(self) -> int | None:
        """First half of writing: from whom the word came, 0 if it was free, None if it is not to be had."""
    def _attempt_write(self, word: int, /) -> bool:
        """Second half: whether no reader is left."""
    def _abandon_write(self, word: int, /) -> None: ...

@disjoint_base
class Condition(_Slot):
    """A list of waiters and the lock around it."""

    @property
    def _lock(self) -> Any: ...
    def _bind(self, lock: Any, /) -> None: ...
    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Takes the lock."""
    def release(self) -> None:
        """Releases the lock."""
    def __enter__(self) -> bool:
        """Takes the lock."""
    def __exit__(self, *exc: object) -> None:
        """Releases the lock."""
    def wait(self, timeout: float | None = None) -> bool:
        """Releases the lock, sleeps until notified (False: ``timeout`` seconds were over first), takes it again.

        Raises: AssertionError if the lock is not held; BadTimeout.
        """
    def notify(self, n: int = 1) -> None:
        """Wakes up to ``n`` waiters, the longest-waiting first. Raises: AssertionError if the lock is not held."""
    def notify_all(self) -> None:
        """Wakes all waiters. Raises: AssertionError if the lock is not held."""
    def _waiting(self) -> int: ...
    def _enlist(self) -> tuple[bool, int, int]:
        """Joins the list and releases the lock: whether it has a pair, its mark, the depth. Raises: AssertionError."""
    def _notified(self, paired: bool, mark: int, /) -> bool: ...
    def _delist(self, paired: bool, mark: int, depth: int = ..., /) -> bool:
        """Leaves the list, with the lock held again: whether it was notified."""

@disjoint_base
class Event(_Slot):
    """A flag to wait for."""

    def is_set(self) -> bool:
        """Whether it is set."""
    def set(self) -> None:
        """Sets it and wakes all; never waits."""
    def clear(self) -> None:
        """Clears it."""
    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set; False if ``timeout`` seconds were over first. Raises: BadTimeout."""
    def _mark(self) -> int: ...
    def _happened(self, mark: int, /) -> bool:
        """Whether it is set, or was since `_mark`."""

@disjoint_base
class Barrier(_Slot):
    """The words of a barrier."""

    def _arrive(self, timeout: float | None, /) -> int:
        """The party's index, or -1 (last), -2 (broken), -3 (timed out)."""
    def _open(self) -> int: ...
    def _abort(self) -> None: ...
    def _reset(self) -> None: ...
    def _waiting(self) -> int: ...
    def _is_broken(self) -> bool: ...
    def _come(self) -> tuple[int, int]:
        """As `_arrive` without waiting: the pair, or -1 (last), -2 (broken), -4 (busy, and the gate's value)."""
    def _opened(self, gate: int, /) -> bool: ...
    def _verdict(self, pair: int, /) -> int | None: ...
    def _give_up(self, pair: int, /) -> int: ...

@disjoint_base
class Value(_Slot):
    """A shared number with its own re-entrant lock."""

    value: Any
    """The number. Setting it in an augmented assignment that lost a race raises LostUpdate."""
    def add(self, n: Any = 1, /) -> Any:
        """Adds exactly; the new number."""
    def _bytes(self) -> memoryview: ...

@disjoint_base
class Bytes:
    """Shared memory with the buffer protocol."""

    @classmethod
    def _new(cls, length: int, name: str | None, /) -> Self: ...
    def _first(self) -> bool: ...
    @classmethod
    def _make(cls, kind: int, size: int, name: str | None, flags: int, maximum: int, cells: int, /) -> Self: ...
    @classmethod
    def _find(cls, arena: str, slot: int, generation: int, kind: int, /) -> Self: ...
    @classmethod
    def _like(cls, other: Any, /) -> Self: ...
    def _handle(self) -> tuple[str, int, int, int]: ...
    def _info(self) -> dict[str, Any]: ...
    def _title(self) -> str: ...
    def close(self) -> None: ...

@disjoint_base
class Queue(_Slot):
    """Messages in shared memory."""

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Puts an object; it is there for every process when this returns.

        Raises: queue.Full if ``timeout`` seconds were over first (or without ``block``), ShutDown, QueueClosed,
        BadTimeout, ArenaFull; whatever pickling raises, with nothing else touched.
        """
    def put_nowait(self, obj: Any, /) -> None:
        """`put` without waiting for room."""
    def put_many(self, items: Iterable[Any], block: bool = True, timeout: float | None = None) -> None:
        """Puts all in order, as room allows; all are pickled before the first is put.

        Raises: as `put`; the ``accepted`` of a queue.Full says how many are in.
        """
    def get(self, block: bool = True, timeout: float | None = None, *, copy: bool = True) -> Any:
        """Takes the first object. Without ``copy`` big buffers are read-only views that keep their block.

        Raises: queue.Empty if ``timeout`` seconds were over first (or without ``block``), ShutDown, QueueClosed,
        BadTimeout; whatever unpickling raises, which costs this object only.
        """
    def get_nowait(self, *, copy: bool = True) -> Any:
        """`get` without waiting for an item."""
    def get_many(
        self, n: int = 100, block: bool = True, timeout: float | None = None, *, copy: bool = True
    ) -> list[Any]:
        """Waits for one object, then takes up to ``n`` that are there.

        Raises: as `get`; ItemsBroken if some cannot be rebuilt.
        """
    def qsize(self) -> int:
        """How many are in it."""
    def empty(self) -> bool:
        """Whether nothing is in it."""
    def full(self) -> bool:
        """Whether there is no room."""
    def close(self) -> None:
        """No more puts and gets through this object."""
    def _put_now(self, obj: Any, /) -> bool: ...
    def _get_now(self, copy: bool = True, /) -> Any: ...
    def _is_closed(self) -> bool: ...
    def _shut(self, at_once: bool, /) -> int: ...
    def _holders(self) -> tuple[int, int]:
        """Pids of those who are inside the readers' and the writers' side, 0 for nobody."""
    def _counts(self) -> tuple[int, int, int, int, bool]: ...
    def _task_done(self) -> None: ...
    def _join(self, timeout: float | None = None, /) -> bool: ...

@disjoint_base
class Parcel:
    """Blocks of shared memory that live as long as somebody has the object; with the buffer protocol for a view."""

    @classmethod
    def _make(cls, kind: int, size: int, name: str | None, flags: int, maximum: int, cells: int, /) -> Self: ...
    @classmethod
    def _find(cls, arena: str, slot: int, generation: int, kind: int, /) -> Self: ...
    @classmethod
    def _like(cls, other: Any, /) -> Self: ...
    def _handle(self) -> tuple[str, int, int, int]: ...
    def _info(self) -> dict[str, Any]: ...
    def _title(self) -> str: ...
    def _pack(self, obj: Any, least: int, most: int, /) -> bytes | tuple[str, int, int, int, int, int] | None:
        """The pickle if it has under ``least`` bytes; what `_unpack` takes if it went into a block; else None.

        It goes into no block while more than ``most`` bytes would be under way.
        """

@disjoint_base
class _Sink:
    """What a pickler of queues writes to."""

    def write(self, piece: Any, /) -> None: ...
    def __call__(self, buffer: Any, /) -> bool: ...

def _unpack(arena: str, slot: int, generation: int, block: int, tag: int, length: int, /) -> Any:
    """The object that `Parcel._pack` put into a block, which is free then. Raises: HandleGone, UnknownArena."""

def _run_batch(
    function: Any,
    how: int,
    values: list[Any],
    results: list[Any],
    ledger: Any,
    notes: int,
    noted: int,
    patience: float,
    /,
) -> int:
    """Runs what it can claim of ``values``, appends to ``results``, notes each in the ledger from note ``noted`` on.

    Returns 0 when all is claimed, 1 when the last result could not be noted, 2 when the notes are full or the results
    have waited for ``patience`` seconds. Raises: what a task raised, after the results before it are appended.
    """

def _are_plain(values: list[Any], how: int, /) -> bool:
    """Whether no value can do harm on its way: exact numbers, texts, None, flat tuples; ``how`` 2: calls with such."""

def _pack(values: list[Any], /) -> bytes | None:
    """A list of exact ints as the bytes of 64-bit numbers; None if a value is anything else, or too big."""

def _begin(ledger: Any, notes: int, batch: int, count: int, /) -> None:
    """Opens a batch of ``count`` tasks in a worker's ledger: nothing is noted, nothing claimed."""

def _claim(ledger: Any, notes: int, /) -> int:
    """The position of the next task of the batch, for the worker to begin; -1 if none is left."""

def _revoke(ledger: Any, notes: int, batch: int, /) -> tuple[int, int] | None:
    """Takes back what the worker has not claimed of a batch: positions from and to; None if there is nothing."""

def _append(fd: int, path: bytes, line: bytes, inode: int, device: int, limit: int, intent: int, /) -> bool:
    """Appends a line to a log file, with its lock held; ``intent`` is the address of three words that writers share.

    False if more than a write is needed (see ``_logfile``); nothing of the line is in the file then. ``limit``: bytes.
    """

def _libraries() -> tuple[str, ...]:
    """The paths of the shared objects that this process has loaded."""

def _rescue_interrupts(previous: Any, /) -> Any:
    """A ``sys.unraisablehook`` that raises an interrupt from the keyboard again where a finalizer had kept it.

    All else goes to the previous hook.
    """

def release_cache() -> None:
    """Gives the memory that free blocks keep back to the system."""

def arena_name() -> str:
    """Name of this process's home arena, made now if there is none. Raises: as `_Slot._make`."""

def home_arena() -> str | None:
    """Name of this process's home arena, None if it has none yet."""

def join_arena(name: str, /) -> None:
    """Makes the named arena this process's home. Raises: UnknownArena and as `_Slot._make`."""

def directory() -> str:
    """The directory of the arenas, decided at its first use."""

def set_directory(path: str, /) -> None:
    """Decides the directory of the arenas: that of the program this process belongs to."""

def set_process_name(name: str, /) -> None:
    """How reports call this process."""

def mark_exiting() -> None:
    """This process ends in order; the last one out removes the arena's file."""

def set_lenient(on: bool, /) -> None:
    """Whether a negative timeout means zero (as multiprocessing documents) or is an error."""

def sweep() -> int:
    """Gives back what dead processes left; the number of process records freed."""

def arena_stats(name: str | None = None, /) -> dict[str, Any]:
    """Name, path, bytes, slots used and free, living processes. Raises: UnknownArena."""

def kinds() -> tuple[str, ...]:
    """Names of the kinds of slots, by number."""

@final
class _Ready:
    """An awaitable that is done."""

    def __await__(self) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...

def open_desk() -> tuple[int, int]:
    """A desk for an event loop: its number and the descriptor to watch for reading. Raises: OSError."""

def close_desk(desk: int, /) -> None:
    """Gives up whatever its loop waits for."""

def desk_news(desk: int, /) -> tuple[int, ...]:
    """The tickets that should be looked at."""

def watch(desk: int, shared: Any, operation: int, mark: int, /) -> int:
    """Makes the helper thread wait for something: a ticket. Raises: OSError, ClosedError, ArenaCorrupt."""

def watch_again(ticket: int, took: bool, mark: int, /) -> None:
    """The loop looked: whether it took something."""

def unwatch(ticket: int, /) -> None:
    """Nobody waits for it any more."""

def helper_runs() -> bool:
    """Whether the helper thread is there."""

def seconds(timeout: float | None, /) -> float | None:
    """A timeout as the blocking calls understand it; None: for ever. Raises: BadTimeout."""
