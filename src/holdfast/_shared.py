"""What all primitives and queues have in common; without the primitives, which the workers of pools do without."""

import sys
from multiprocessing.process import current_process

from holdfast import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from holdfast._stats import Stats

__all__ = [
    "BOUNDED",
    "KIND",
    "RAISE",
    "STRICT",
    "WORDS",
    "Shared",
    "checked",
    "flag_bits",
    "rebuild",
    "same",
    "size_class",
]

# The first use of a primitive in this process: the core learns what the process is called and how it was started.
_core.set_process_name(current_process().name)
if (_installer := sys.modules.get("holdfast.install")) is not None:
    _core.set_lenient(_installer.is_installed())

KIND = {name: number for number, name in enumerate(_core.kinds())}
STRICT, RAISE, BOUNDED = 1, 2, 4
# Words behind a slot of each size class (see rust/holdfast-core/src/arena/layout.rs).
WORDS = (0, 224, 4064)


def flag_bits(on_owner_death: str, *, strict: bool) -> int:
    """A lock's options as the core takes them.

    Raises:
        BadArgument: The first one is neither "warn" nor "raise".
    """
    if on_owner_death not in ("warn", "raise"):
        from holdfast.errors import BadArgument

        message = f'on_owner_death is "warn" or "raise", not {on_owner_death!r}'
        raise BadArgument(message)
    return (RAISE if on_owner_death == "raise" else 0) | (STRICT if strict else 0)


def checked(name: object) -> str | None:
    """A name as the core takes it.

    Raises:
        BadArgument: It is not a text, empty, or has characters that no name can have.
    """
    if name is None:
        return None
    if not isinstance(name, str) or not name or not name.isprintable():
        from holdfast.errors import BadArgument

        message = f"a name is a text of at least one printable character, not {name!r}"
        raise BadArgument(message)
    return name


def same(made: "Any", name: str | None, **expected: int) -> None:
    """Checks that an object was made with these parameters, or is new.

    Raises:
        NameClash: It was found by its name and has others.
    """
    if name is not None:
        info = made._info()
        for key, value in expected.items():
            if info[key] != value:
                from holdfast.errors import NameClash

                message = f"the name {name!r} belongs to a {info['kind']} whose {key} is {info[key]}, not {value}"
                raise NameClash(message)


def size_class(words: int) -> int:
    """The least size class of a slot with room for so many words behind it; -1 if none has."""
    for size, room in enumerate(WORDS):
        if words <= room:
            return size
    return -1


class Shared:
    """What all primitives have in common; mixed in front of a native class."""

    __slots__ = ()
    _free = "free"

    def __reduce__(self) -> "tuple[Any, ...]":
        return rebuild, (type(self), *self._handle())

    def __repr__(self) -> str:
        from holdfast._stats import describe
        from holdfast.errors import HoldfastError

        try:
            return describe(type(self), self._info(), self._free)
        except HoldfastError as error:
            return f"<holdfast.{type(self).__name__} {error}>"

    def stats(self) -> "Stats":
        """Who holds it, since when and from which line, who waits, and how often it was contended and recovered.

        Raises:
            ClosedError: It was closed in this process.

        Example:
            >>> import holdfast
            >>> lock = holdfast.Lock()
            >>> with lock:
            ...     lock.stats().holder.thread
            'MainThread'
        """
        from holdfast._stats import stats_of

        return stats_of(self._info())

    @property
    def name(self) -> str:
        """Its name, "" if it has none."""
        name: str = self._info()["name"]
        return name

    # The standard library's queues and tests reach through these.
    @property
    def _semlock(self) -> "Self":
        return self

    if TYPE_CHECKING:

        def _handle(self) -> tuple[str, int, int, int]: ...
        def _info(self) -> dict[str, Any]: ...


def rebuild(cls: "Any", arena: str, slot: int, generation: int, kind: int) -> "Any":
    """What a handle unpickles to."""
    return cls._find(arena, slot, generation, kind)
