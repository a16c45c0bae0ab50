"""Shared values and arrays: the contract of :mod:`multiprocessing.sharedctypes`, in holdfast's memory.

A :class:`Value` of a plain number type is native: reading and writing take no Python code, ``add`` is exact. Values of
other types and arrays are ctypes objects in shared memory with a re-entrant lock. All of them go through any pickle.
"""

import ctypes
from multiprocessing import sharedctypes as _std
from multiprocessing.reduction import ForkingPickler

from holdfast import _core
from holdfast._block import Block
from holdfast._shared import KIND, Shared, checked, rebuild
from holdfast.synchronize import RLock

TYPE_CHECKING = False

if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Self

    from holdfast._stats import Stats

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]

typecode_to_type: "dict[str, Any]" = _std.typecode_to_type  # type: ignore[attr-defined]

_NATIVE = "?bBhHiIlLqQfd"
_UNIT = 2  # bytes of an instruction
_LAST_INPLACE_BACK = 10
_FIRST_INPLACE_OPERATOR = 13


def _to_type(typecode_or_type: "Any") -> "Any":
    return typecode_to_type.get(typecode_or_type, typecode_or_type)


def _at(type_: "Any", block: Block) -> "Any":
    """A ctypes object of a type over a block."""
    ForkingPickler.register(type_, _reduce_raw)
    obj = type_.from_buffer(block)
    obj._wrapper = block
    return obj


def _reduce_raw(obj: "Any") -> "Any":
    block = getattr(obj, "_wrapper", None)
    if not isinstance(block, Block):
        return obj.__reduce__()
    return _rebuild_raw, _raw_parts(obj)


def _raw_parts(obj: "Any") -> "tuple[Any, Block, int | None]":
    if isinstance(obj, ctypes.Array):
        array: Any = obj
        return array._type_, array._wrapper, array._length_
    return type(obj), obj._wrapper, None


def _rebuild_raw(type_: "Any", block: Block, length: int | None) -> "Any":
    return _at(type_ if length is None else type_ * length, block)


def _new(type_: "Any", name: str | None = None) -> "Any":
    return _at(type_, Block._new(max(1, ctypes.sizeof(type_)), checked(name)))


def _lock_of(name: str) -> RLock:
    return RLock(f"{name} (its lock)")


def _fill(obj: "Any", values: "Any", name: str | None) -> "Any":
    """Gives a new object its first values; a named one is filled once, by whoever comes first."""
    if name is None:
        obj.__init__(*values)
    elif values:
        with _lock_of(name):
            if obj._wrapper._first():
                obj.__init__(*values)
    return obj


def RawValue(typecode_or_type: "Any", *args: "Any", name: str | None = None) -> "Any":  # noqa: N802
    """A ctypes object in shared memory, without a lock.

    Args:
        typecode_or_type: A ctypes type or a letter as of the array module.
        *args: Passed to the type.
        name: The same name is the same object for every process of this user on this machine.

    Raises:
        ArenaFull: No space for shared memory.
        NameClash: The name belongs to something else.

    Example:
        >>> import holdfast
        >>> holdfast.RawValue("i", 7).value
        7
    """
    return _fill(_new(_to_type(typecode_or_type), name), args, name)


def RawArray(typecode_or_type: "Any", size_or_initializer: "Any", *, name: str | None = None) -> "Any":  # noqa: N802
    """A ctypes array in shared memory, without a lock.

    Args:
        typecode_or_type: A ctypes type or a letter as of the array module.
        size_or_initializer: Number of elements (they start as zero), or the elements.
        name: As for :func:`RawValue`.

    Raises:
        ArenaFull: No space for shared memory.
        NameClash: The name belongs to something else.

    Example:
        >>> import holdfast
        >>> list(holdfast.RawArray("i", [1, 2]))
        [1, 2]
    """
    element = _to_type(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _new(element * size_or_initializer, name)  # fresh shared memory is zero
    return _fill(_new(element * len(size_or_initializer), name), size_or_initializer, name)


class SharedValue(Shared, _core.Value):
    """A shared number with its lock. Made by :func:`Value`."""

    __slots__ = ("__weakref__", "_lock")
    _lock: RLock

    def __reduce__(self) -> "tuple[Any, ...]":
        """Travels as a handle."""
        return rebuild, (type(self), *self._handle())

    def __repr__(self) -> str:
        """The number and who holds its lock."""
        text = super().__repr__()
        return f"{text[:-1]}, value {self.value!r}>" if "[HF" not in text else text

    def get_lock(self) -> RLock:
        """The re-entrant lock of the value; ``with value.get_lock():`` makes several steps one."""
        try:
            lock = self._lock
        except AttributeError:
            lock = self._lock = RLock._like(self)
        return lock

    def get_obj(self) -> "Any":
        """The number as a ctypes object over the same memory."""
        type_ = typecode_to_type[chr(self._info()["flags"])]
        obj = type_.from_buffer(self._bytes())
        obj._wrapper = self
        return obj

    def acquire(self, *args: "Any", **kwargs: "Any") -> bool:
        """Takes the value's lock; arguments as of ``Lock.acquire`` (the timeout in seconds)."""
        return self.get_lock().acquire(*args, **kwargs)

    def release(self) -> None:
        """Releases the value's lock.

        Raises:
            NotOwner: This thread does not hold it.
        """
        self.get_lock().release()

    def __enter__(self) -> bool:
        """Takes the value's lock."""
        return self.get_lock().__enter__()

    def __exit__(self, *exc: object) -> None:
        """Releases the value's lock."""
        self.get_lock().__exit__(*exc)

    def __iadd__(self, n: "Any") -> "Self":
        """Adds exactly."""
        self.add(n)
        return self

    def __isub__(self, n: "Any") -> "Self":
        """Subtracts exactly."""
        self.add(-n)
        return self


def Value(  # noqa: N802
    typecode_or_type: "Any", *args: "Any", lock: "Any" = True, ctx: object = None, name: str | None = None
) -> "Any":
    """A shared value with a lock.

    Args:
        typecode_or_type: A ctypes type or a letter as of the array module.
        *args: Passed to the type.
        lock: True for a lock of its own, False for none, or a lock object.
        ctx: Accepted for compatibility.
        name: The same name is the same value, with the same lock, for every process of this user.

    Raises:
        AttributeError: ``lock`` has no method ``acquire``.
        ArenaFull: No space for shared memory.
        NameClash: The name belongs to something else.

    Example:
        >>> import holdfast
        >>> counter = holdfast.Value("i", 0)
        >>> counter.add(1)
        1
    """
    type_ = _to_type(typecode_or_type)
    letter = getattr(type_, "_type_", None)
    if lock in (True, None) and isinstance(letter, str) and letter in _NATIVE and type_.__base__ is ctypes._SimpleCData:
        if len(args) > 1:
            message = f"{type_.__name__} takes at most 1 argument"
            raise TypeError(message)
        value = SharedValue._make(KIND["Value"], 0, checked(name), ord(letter), 0, 0)
        _check_type(value, letter, name)
        if args:
            with value.get_lock():
                if name is None or value._info()["version"] == 0:
                    value.value = args[0]
        return value
    return _with_lock(RawValue(type_, *args, name=name), lock, name)


def _check_type(value: SharedValue, letter: str, name: str | None) -> None:
    found = chr(value._info()["flags"])
    if found != letter:
        from holdfast.errors import NameClash

        message = f"the name {name!r} belongs to a Value of type {found!r}, not {letter!r}"
        raise NameClash(message)


def Array(  # noqa: N802
    typecode_or_type: "Any",
    size_or_initializer: "Any",
    *,
    lock: "Any" = True,
    ctx: object = None,
    name: str | None = None,
) -> "Any":
    """A shared array with a lock.

    Args:
        typecode_or_type: A ctypes type or a letter as of the array module.
        size_or_initializer: Number of elements, or the elements.
        lock: True for a lock of its own, False for none, or a lock object.
        ctx: Accepted for compatibility.
        name: As for :func:`Value`.

    Raises:
        AttributeError: ``lock`` has no method ``acquire``.
        ArenaFull: No space for shared memory.
        NameClash: The name belongs to something else.

    Example:
        >>> import holdfast
        >>> holdfast.Array("d", [0.5, 1.5])[1]
        1.5
    """
    return _with_lock(RawArray(typecode_or_type, size_or_initializer, name=name), lock, name)


def _with_lock(obj: "Any", lock: "Any", name: str | None) -> "Any":
    if lock is False:
        return obj
    if lock in (True, None):
        lock = RLock() if name is None else _lock_of(name)
    if not hasattr(lock, "acquire"):
        message = f"{lock!r} has no method 'acquire'"
        raise AttributeError(message)
    return synchronized(obj, lock)


def copy(obj: "Any") -> "Any":
    """A copy of a ctypes object, in shared memory of its own.

    Raises:
        ArenaFull: No space for shared memory.
    """
    new = _new(type(obj))
    ctypes.pointer(new)[0] = obj
    return new


class _Travels:
    """Pickles through any channel: as the type, the block and the lock."""

    def __reduce__(self) -> "tuple[Any, ...]":
        return _rebuild_synchronized, (*_raw_parts(self._obj), self._lock)

    def __repr__(self) -> str:
        return f"<holdfast.{type(self).__name__} of {type(self._obj).__name__}, lock {self._lock!r}>"

    def stats(self) -> "Stats":
        """The stats of its lock."""
        now: Stats = self._lock.stats()
        return now

    if TYPE_CHECKING:
        _obj: Any
        _lock: Any


class Synchronized(_Travels, _std.Synchronized):  # type: ignore[type-arg]
    """A single value with a lock."""


class SynchronizedArray(_Travels, _std.SynchronizedArray):  # type: ignore[type-arg]
    """An array with a lock."""


class SynchronizedString(_Travels, _std.SynchronizedString):
    """An array of characters with a lock."""


class SynchronizedStructure(_Travels, _std.SynchronizedBase):  # type: ignore[type-arg]
    """A structure with a lock; each field is a property."""


_structures: "dict[Any, Any]" = {}


def synchronized(obj: "Any", lock: "Any" = None, ctx: object = None) -> "Any":
    """A wrapper of a shared ctypes object that takes the lock for every access.

    Args:
        obj: A ctypes object, in holdfast's shared memory if it shall travel.
        lock: Its lock; a new ``RLock`` if None.
        ctx: Accepted for compatibility.

    Raises:
        AssertionError: The object has a lock already.
    """
    if isinstance(obj, (_std.SynchronizedBase, SharedValue)):
        message = "object already synchronized"
        raise AssertionError(message)  # noqa: TRY004 - what the standard library raises
    lock = RLock() if lock is None else lock
    if isinstance(obj, ctypes._SimpleCData):
        return Synchronized(obj, lock, ctx)
    if isinstance(obj, ctypes.Array):
        return (SynchronizedString if obj._type_ is ctypes.c_char else SynchronizedArray)(obj, lock, ctx)
    type_ = type(obj)
    if type_ not in _structures:
        property_of = _std.make_property  # type: ignore[attr-defined]
        fields = {field[0]: property_of(field[0]) for field in type_._fields_}
        _structures[type_] = type(f"Synchronized{type_.__name__}", (SynchronizedStructure,), fields)
    return _structures[type_](obj, lock, ctx)


def _rebuild_synchronized(type_: "Any", block: Block, length: int | None, lock: "Any") -> "Any":
    return synchronized(_rebuild_raw(type_, block, length), lock)


def _is_augmented(frame: "FrameType") -> bool:
    """Whether a frame is at the store of ``x.value += n`` or the like: BINARY_OP in place, SWAP, STORE_ATTR."""
    from dis import opmap

    code, at = frame.f_code.co_code, frame.f_lasti
    if code[at] != opmap["STORE_ATTR"] or code[max(0, at - _UNIT)] != opmap["SWAP"]:
        return False
    for back in range(at - 2 * _UNIT, max(-1, at - _LAST_INPLACE_BACK * _UNIT), -_UNIT):
        if code[back] == opmap["BINARY_OP"]:
            return code[back + 1] >= _FIRST_INPLACE_OPERATOR
    return False
