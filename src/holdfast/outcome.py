"""How the result of a process reaches its parent: an anonymous file in memory, one for each process.

The child writes what it has (a value, an exception, or why neither can travel) and then, in one small write, the
header that makes it count. So a huge result never blocks the child as a pipe would, a kill at any instruction leaves
either nothing or all, and nothing has a name that could be left behind. The descriptor is checked before it is used:
the user's code may have closed it, and its number may be another file's by now.

``None``, the usual result, is told without a write: by the position in the file, which parent and child share.

Layout: 1 byte kind (0 nothing yet, S simple value, V value, E exception, L lost), 7 bytes unused, 8 bytes length of the
description, 8 bytes length of the payload, the description (pickled tuple of plain texts; none for a simple value), the
payload (pickled; a simple value marshalled).
"""

from __future__ import annotations

import marshal
import os
import pickle
import struct
from contextlib import suppress

TYPE_CHECKING = False  # importing typing would make the start of every child milliseconds longer
if TYPE_CHECKING:
    from typing import Any

_HEADER = struct.Struct("=c7xQQ")
_SIMPLE, _VALUE, _EXCEPTION, _LOST = b"S", b"V", b"E", b"L"
_NONE_AT = 78  # the position that means None, in an empty file
_PLAIN = (bool, bytes, float, int, str)  # types that need no pickling
_SMALL = 4000  # bytes
_SPARES = 8  # making and destroying a file costs as much as a tenth of a fork

_open: dict[int, tuple[int, int]] = {}  # every file of this process, spare ones too: device and inode
_spare: list[tuple[int, tuple[int, int]]] = []


class RemoteTraceback(Exception):
    """Stands as the cause of an exception that came from another process, and shows that process's traceback."""

    def __str__(self) -> str:
        return str(self.args[0])


class Account:
    """What a process left: exactly one of the three.

    Attributes:
        value: what ``run()`` returned.
        error: what it raised, with the remote traceback as its cause.
        lost: why neither could be carried over.
    """

    __slots__ = ("error", "lost", "value")

    def __init__(self, value: Any = None, error: BaseException | None = None, lost: str | None = None) -> None:  # noqa: ANN401
        self.value = value
        self.error = error
        self.lost = lost


class Outcome:
    """One end of the file, in the parent or in the child.

    Args:
        fd: the descriptor; made anew without one.

    Raises:
        OSError: no more descriptors or no memory.
    """

    __slots__ = ("ended", "fd", "file", "pid")

    def __init__(self, fd: int = -1) -> None:
        self.pid = os.getpid()
        self.ended = False  # the process has, so that nobody writes any more
        while fd < 0 and _spare:
            self.fd, self.file = _spare.pop()
            if self._is_ours():
                _open[self.fd] = self.file
                return
        self.fd = os.memfd_create("holdfast-result") if fd < 0 else fd
        self.file = _identity(self.fd)
        _open[self.fd] = self.file

    def _is_ours(self) -> bool:
        """Whether the descriptor is still that of the file."""
        try:
            return _identity(self.fd) == self.file
        except OSError:
            return False

    def close(self) -> None:
        """Give the file up; doing so twice is harmless, and so is a copy that a fork has left in a child."""
        if self.ended and self.fd >= 0 and self.pid == os.getpid() and len(_spare) < _SPARES and self._is_ours():
            self.recycle()
            return
        fd, self.fd = self.fd, -1
        if fd >= 0 and self.pid == os.getpid():
            _open.pop(fd, None)
            with suppress(OSError):
                if _identity(fd) == self.file:
                    os.close(fd)

    def recycle(self) -> None:
        """Give the file up for use by a later process; the one that had it has ended."""
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        _spare.append((self.fd, self.file))
        self.fd = -1

    def __del__(self) -> None:
        try:
            self.close()
        except (OSError, AttributeError, TypeError):  # the last two: at the end of the interpreter, which has
            return  # taken `suppress` away, too

    # the child's side

    def put_value(self, value: object) -> None:
        """Leave what ``run()`` returned; if it cannot be pickled, that is what is left."""
        # The user may have forked within run(), and this be the other process, or have closed the descriptor.
        if self.pid != os.getpid() or not self._is_ours():
            return
        if value is None:
            os.lseek(self.fd, _NONE_AT, os.SEEK_SET)
            return
        if isinstance(value, _PLAIN) and type(value) in _PLAIN:
            payload = marshal.dumps(value)
            if len(payload) <= _SMALL:  # with the header in one page: such a write is whole or not there at all
                with suppress(OSError):
                    os.pwrite(self.fd, _HEADER.pack(_SIMPLE, 0, len(payload)) + payload, 0)
                return
        name = _type_name(type(value))
        try:
            self._write(_VALUE, (name,), value)
        except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
            self._lose(f"the result of type {name} cannot be pickled: {_type_name(type(error))}: {error}")

    def put_error(self, error: BaseException, text: str) -> None:
        """Leave what ``run()`` raised.

        Args:
            error: the exception.
            text: its traceback.
        """
        if self.pid != os.getpid() or not self._is_ours():  # as above
            return
        name, said = _type_name(type(error)), _text(error)
        try:
            self._write(_EXCEPTION, (name, said, text), error)
        except Exception as why:  # noqa: BLE001 - a user's __reduce__ may raise anything
            reason = f"{_type_name(type(why))}: {why}"
            self._lose(f"the exception {name}: {said} cannot be pickled ({reason})\n\n{text}")

    def _write(self, kind: bytes, about: tuple[str, ...], content: object) -> None:
        from multiprocessing.reduction import ForkingPickler  # noqa: PLC0415 - not needed for None

        description = pickle.dumps(about)
        os.lseek(self.fd, _HEADER.size, os.SEEK_SET)
        with open(self.fd, "wb", closefd=False) as file:
            file.write(description)
            ForkingPickler(file, pickle.HIGHEST_PROTOCOL).dump(content)
            length = file.tell() - _HEADER.size - len(description)
        os.pwrite(self.fd, _HEADER.pack(kind, len(description), length), 0)

    def _lose(self, why: str) -> None:
        with suppress(OSError):  # the memory is full as well: then the exit code must do
            os.ftruncate(self.fd, 0)
            self._write(_LOST, (why,), None)

    # the parent's side

    def is_none(self) -> bool:
        """Whether ``None`` was left."""
        try:
            status = os.fstat(self.fd)
        except OSError:
            return False
        if (status.st_dev, status.st_ino) != self.file or status.st_size:
            return False
        return os.lseek(self.fd, 0, os.SEEK_CUR) == _NONE_AT

    def take(self) -> Account | None:
        """Read what the process left, once, after its end.

        Returns:
            What was left, or None if nothing was, or only a part when the process was killed.
        """
        head = os.pread(self.fd, _HEADER.size, 0) if self._is_ours() else b""
        if len(head) < _HEADER.size or head[:1] == b"\0":
            return None
        kind, described, length = _HEADER.unpack(head)
        if kind == _SIMPLE:
            return Account(value=marshal.loads(os.pread(self.fd, length, _HEADER.size)))  # noqa: S302 - our child
        about: tuple[str, ...] = pickle.loads(os.pread(self.fd, described, _HEADER.size))  # noqa: S301 - our child
        if kind == _LOST:
            return Account(lost=about[0])
        try:
            os.lseek(self.fd, _HEADER.size + described, os.SEEK_SET)
            with open(self.fd, "rb", closefd=False) as file:
                content = pickle.load(file)  # noqa: S301 - our child wrote it
        except Exception as error:  # noqa: BLE001 - a user's __setstate__ may raise anything
            return Account(lost=_not_rebuilt(kind, about, error))
        return Account(value=content) if kind == _VALUE else _of_error(content, about)


def _of_error(content: object, about: tuple[str, ...]) -> Account:
    """The account of an exception, with the remote traceback as its cause."""
    if not isinstance(content, BaseException):
        return Account(lost=_not_rebuilt(_EXCEPTION, about, TypeError(f"got a {type(content).__name__}")))
    # Past the class of the exception, which may forbid that attributes are set, as a frozen dataclass does.
    BaseException.__setattr__(content, "__cause__", RemoteTraceback(f'\n"""\n{about[2]}"""'))
    return Account(error=content)


def _identity(fd: int) -> tuple[int, int]:
    """Device and inode of an open file."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _not_rebuilt(kind: bytes, about: tuple[str, ...], error: Exception) -> str:
    reason = f"{_type_name(type(error))}: {error}"
    if kind == _VALUE:
        return f"the result of type {about[0]} cannot be rebuilt here ({reason})"
    return f"the exception {about[0]}: {about[1]} cannot be rebuilt here ({reason})\n\n{about[2]}"


def _type_name(cls: type) -> str:
    return (
        cls.__qualname__
        if cls.__module__ in ("builtins", "__main__", "__mp_main__")
        else f"{cls.__module__}.{cls.__qualname__}"
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return "(its text cannot be read)"


def take_over(own: Outcome | None) -> None:
    """In a child: make its own file its own, and close those of its siblings, whose results they would keep in memory.

    Args:
        own: the child's file, if it has one.
    """
    keep = -1
    if own is not None:
        own.pid = os.getpid()
        keep = own.fd
    for fd, file in _open.items():
        with suppress(OSError):
            if fd != keep and _identity(fd) == file:
                os.close(fd)
    _open.clear()
    _spare.clear()


def without_own_frames(error: BaseException, code: object) -> None:
    """Take the frames of holdfast's own function off the head of a traceback.

    Args:
        error: the exception, as caught in that function.
        code: the function's code object.
    """
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_code is code:
        tb = tb.tb_next
    BaseException.__setattr__(error, "__traceback__", tb)  # as in _of_error
