"""Shared bytes, for what needs neither a lock nor ctypes, whose import costs milliseconds in every child."""

from holdfast import _core
from holdfast._shared import rebuild

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Block"]


class Block(_core.Bytes):
    """Shared bytes with the buffer protocol."""

    __slots__ = ("__weakref__",)

    def __reduce__(self) -> "tuple[Any, ...]":
        """Travels as a handle."""
        return rebuild, (type(self), *self._handle())
