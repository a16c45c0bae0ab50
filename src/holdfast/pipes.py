"""Pipes: real connections, whose big messages take a shorter way.

``Pipe()`` returns connections over a pipe or a pair of sockets, as ``multiprocessing`` does: ``fileno()``, ``poll()``,
``wait()``, ``select`` and what fork and closing mean to them are the system's. What ``send()`` pickles, if it is big
(arrays, bytes), goes through a block of shared memory, and the pipe carries only where it lies::

    send(obj) ─▶ small: its pickle ───────────────▶ ═══ pipe ═══ ─▶ recv() unpickles
              └▶ big:   pickle and buffers ─▶ block
                        the block's number ───────▶ ═══ pipe ═══ ─▶ recv() copies it out, frees the block

Blocks that nobody reads any more go with the two ends. ``send_bytes()`` puts its bytes into the pipe, whatever
their size.
"""

from __future__ import annotations

from multiprocessing import connection as _std
from multiprocessing import reduction

from holdfast import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Pipe", "PipeConnection"]

# Fewer bytes than this are as fast through the pipe; and so many may be under way outside of it.
_LEAST_BYTES, _MOST_BYTES = 64 << 10, 64 << 20
_FULL = "HF501"
_PARCEL = _core.kinds().index("Parcel")


class _Packed:
    """Unpickles as the object that lies in a block."""

    def __init__(self, where: tuple[Any, ...]) -> None:
        self._where = where

    def __reduce__(self) -> tuple[Any, ...]:
        return _core._unpack, self._where  # noqa: SLF001 - the other half of _pack


class PipeConnection(_std.Connection):
    """One end of a pipe.

    Args are those of the standard library's ``Connection``, and the parcel that both ends of the pipe share.
    """

    def __init__(self, handle: int, readable: bool = True, writable: bool = True, parcel: Any = None) -> None:  # noqa: ANN401
        super().__init__(handle, readable, writable)
        self._parcel = parcel

    def send(self, obj: Any) -> None:  # noqa: ANN401 - anything that can be pickled
        """Send an object.

        Raises:
            OSError: The connection is closed or read-only, or the other end is gone.
        """
        self.send_bytes(self._pickled(obj))

    def _pickled(self, obj: Any) -> Any:  # noqa: ANN401 - as above
        """The pickle of an object, or of a word where it lies."""
        dumps = reduction.ForkingPickler.dumps
        if self.closed or not self.writable or self._parcel is None:
            return dumps(obj)  # sending says what is wrong
        try:
            packed = self._parcel._pack(obj, _LEAST_BYTES, _MOST_BYTES)  # noqa: SLF001 - the core's half of this class
        except OSError as error:
            if getattr(error, "code", "") != _FULL:
                raise
            packed = None  # the pipe itself needs no shared memory
        if isinstance(packed, bytes):  # a pickle already
            return packed
        return dumps(obj if packed is None else _Packed(packed))


def Pipe(duplex: bool = True) -> tuple[PipeConnection, PipeConnection]:  # noqa: N802 - the standard library's name
    """Make two connected ends.

    Args:
        duplex: Both ends send and receive; otherwise the first one receives and the second one sends.

    Returns:
        The two ends.

    Raises:
        OSError: No more descriptors.
        ArenaFull: No space for shared memory.

    Example:
        >>> import holdfast
        >>> a, b = holdfast.Pipe()
        >>> a.send([1, 2])
        >>> b.recv()
        [1, 2]
    """
    parcel = _core.Parcel._make(_PARCEL, 0, None, 0, 0, 0)
    ends = _std_pipe(duplex)
    both = [PipeConnection(end._handle, end.readable, end.writable, parcel) for end in ends]  # type: ignore[attr-defined]  # noqa: SLF001
    for end in ends:
        end._handle = None  # type: ignore[attr-defined]  # noqa: SLF001 - it belongs to the new object now
    return both[0], both[1]


_std_pipe = _std.Pipe


def _reduce(end: PipeConnection) -> tuple[Any, ...]:
    parcel = end._parcel  # noqa: SLF001 - of this module
    handle = None if parcel is None else parcel._handle()  # noqa: SLF001 - counts the pickle
    return _rebuild, (reduction.DupFd(end.fileno()), end.readable, end.writable, handle)


def _rebuild(fd: Any, readable: bool, writable: bool, handle: tuple[Any, ...] | None) -> PipeConnection:  # noqa: ANN401
    parcel = None if handle is None else _core.Parcel._find(*handle)  # noqa: SLF001 - as above
    return PipeConnection(fd.detach(), readable, writable, parcel)


reduction.register(PipeConnection, _reduce)
