"""A log file that any number of processes write to and rotate, related or not.

Every line is one ``write`` to a file opened for appending, inside a lock that all processes share by the file's path::

    emit() ─▶ formatted here ─▶ [ lock ─▶ still the file of that name? ─▶ room for it? ─▶ write ─▶ unlock ]
                                            no: open it again       no: rotate

The file system is the only state: the size, and whether somebody has moved, removed or truncated the file, is asked of
the system at each line. So nothing can be out of date, whoever was killed where. What a killed process can leave is a
line half written (the kernel stops a fatal signal's victim between two pages) or a rotation half done; both are seen
to by the next one that writes (`_Intent`, `_numbered`).
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import re
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import _core, family
from holdfast._logends import say, taken
from holdfast._logwire import SecondClock
from holdfast.errors import BadArgument, OwnerDied
from holdfast.sharedctypes import RawArray
from holdfast.synchronize import RLock

if TYPE_CHECKING:
    from typing import Any

__all__ = ["FileHandler"]

# What a period is called, which is what its file is called; the names sort by time.
_PERIODS = {
    "S": "%Y-%m-%d_%H-%M-%S",
    "M": "%Y-%m-%d_%H-%M",
    "H": "%Y-%m-%d_%H",
    "D": "%Y-%m-%d",
    "MIDNIGHT": "%Y-%m-%d",
    **{f"W{day}": "%Y-%m-%d" for day in range(7)},
}
_DAY = 86_400  # seconds
_HOLE = 4096  # bytes: the rest of a file's last block may have room on a full disk
_DATED = re.compile(r"\.(\d{4}-\d\d-\d\d[\d_-]*)(?:\.(\d+))?$")
_START, _LENGTH, _INODE, _SAID = range(4)


class _Intent:
    """What the holder of the lock is about to write, in shared memory: where it begins, how long, in which file.

    It lies there only while the write is under way. Found by the next holder, it tells which piece of a line, if
    any, a killed process has left at the end of the file.
    """

    def __init__(self, name: str) -> None:
        self._array = RawArray("q", 4, name=name)
        self.words = memoryview(self._array).cast("B").cast("q")
        self.address = ctypes.addressof(self._array)

    def mend(self, path: str) -> None:
        """Cut off the piece that a killed process left."""
        start, length = self.words[_START] - 1, self.words[_LENGTH]
        with suppress(OSError):
            status = os.stat(path)  # noqa: PTH116 - this path is taken by every killed writer; strings suffice
            if status.st_ino == self.words[_INODE] and start < status.st_size < start + length:
                os.truncate(path, start)
        self.words[_START] = 0


class FileHandler(logging.Handler):
    r"""A handler for :mod:`logging` whose file may be written and rotated by many processes at once.

    Every line arrives whole and once; a file exceeds `max_bytes` only if a single line does. Processes that name the
    same path find each other by themselves, whether they are related or not; all should be of one user. Somebody
    else's rotation (the file moved, removed or truncated) is noticed at the next line.

    If lines cannot be written (a full disk), that is said once on standard error, and how many were lost when it is
    over; what comes then is written again.

    Args:
        path: of the file; its folder must exist.
        max_bytes: the file is rotated before it would grow beyond so many bytes; 0: it is not.
        backups: how many old files are kept; None: all. Old files are ``path.1`` (the youngest), ``path.2`` ...; with
            `when` they are named after their period: ``path.2026-11-24``, then ``path.2026-11-24.1`` ...
        when: a new file for every second "S", minute "M", hour "H", day "D" or "midnight", or week, "W0" (from Monday)
            to "W6" (from Sunday).
        utc: whether periods are those of UTC rather than of local time.
        encoding: of the file; what it cannot express is written with backslashes.
        level: as of every handler.

    Raises:
        BadArgument: a size or number of files that is not positive, or a period that does not exist.
        ArenaFull: no space for shared memory.
        OSError: the file cannot be opened.

    Example:
        >>> import holdfast.logs, logging, os, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = os.path.join(folder.name, "app.log")
        >>> handler = holdfast.logs.FileHandler(path, max_bytes=1_000_000, backups=5)
        >>> logger = logging.getLogger("doctest")
        >>> logger.addHandler(handler)
        >>> logger.warning("it is %s", "raining")
        >>> open(path).read()
        'it is raining\n'
        >>> logger.removeHandler(handler); handler.close(); folder.cleanup()
    """

    terminator = "\n"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 0,
        backups: int | None = None,
        when: str | None = None,
        utc: bool = False,
        encoding: str = "utf-8",
        level: int | str = logging.NOTSET,
    ) -> None:
        super().__init__(level)
        if max_bytes < 0:
            message = f"max_bytes is a positive number of bytes, or 0 for no limit, not {max_bytes}"
            raise BadArgument(message)
        if backups is not None and backups < 1:
            message = f"backups is at least 1, or None to keep all, not {backups}: rotating without would lose lines"
            raise BadArgument(message)
        if when is not None and when.upper() not in _PERIODS:
            message = f"when is one of {', '.join(_PERIODS)}, not {when!r}"
            raise BadArgument(message)
        real = os.path.realpath(path)
        self.baseFilename = real if max_bytes or when else os.path.abspath(path)  # noqa: PTH100 - not resolved
        self._path = os.fsencode(self.baseFilename)
        self.max_bytes = max_bytes
        self.backups = backups
        self.when = when.upper() if when is not None else None
        self.utc = utc
        self.encoding = encoding
        name = f"log {Path(real).name[:40].encode('ascii', 'replace').decode()} {_digest(real)}"
        self._shared = RLock(name, on_owner_death="raise")
        self._intent = _Intent(f"{name} (its state)")
        self._words = self._intent.words
        self._fd = self._inode = self._device = -1
        self._in_trouble = False
        self._lost = 0
        self._longest = self._written = 0  # bytes: of the longest lost line, and since the last one
        self._clock: SecondClock | None = None
        self._now = (-1, "")  # a second, and the period it is in
        self._rotation_failed = False
        with taken(self._shared):
            self._open()

    def __repr__(self) -> str:
        return f"<holdfast.logs.FileHandler {self.baseFilename} ({logging.getLevelName(self.level)})>"

    def handle(self, record: logging.LogRecord) -> Any:  # noqa: ANN401 - as the base class
        """Write a record if the filters let it pass; without the lock of other handlers, for the file has its own."""
        passed: Any = self.filter(record) if self.filters else True
        if passed:
            self.emit(record if passed is True else passed)  # a record: that of a filter, since Python 3.12
        return passed

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record: what the formatter makes of it, in less time where that is a plain one."""
        layout = self.formatter
        if type(layout) is not logging.Formatter or "formatTime" in layout.__dict__ or record.exc_info:
            return super().format(record)
        if record.exc_text or record.stack_info:
            return super().format(record)
        record.message = record.getMessage()
        if layout.usesTime():
            if self._clock is None or self._clock.layout is not layout:
                self._clock = SecondClock(layout)
            record.asctime = self._clock(record, layout.datefmt)
        return layout.formatMessage(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        data = b""
        try:
            data = (self.format(record) + self.terminator).encode(self.encoding, "backslashreplace")
            while True:
                try:
                    self._shared.acquire()
                    break
                except OwnerDied:  # it is free, and the next attempt succeeds, here or elsewhere
                    continue
            try:
                if not self._append_at_once(data):
                    self._append(data)
                if self._in_trouble:
                    self._recover(len(data))
            finally:
                self._shared.release()
        except OSError as error:
            self._complain(error, len(data))
        except Exception:  # noqa: BLE001 - as all of logging's handlers
            self.handleError(record)

    def _append_at_once(self, data: bytes) -> bool:
        """Put a line into the file, with the lock held, if nothing is in the way; whether it is there."""
        if self._fd < 0 or (self.when and int(time.time()) != self._now[0]):
            return False
        return _core._append(  # noqa: SLF001 - ours
            self._fd, self._path, data, self._inode, self._device, self.max_bytes, self._intent.address
        )

    def _append(self, data: bytes) -> None:
        """Put a line into the file, with the lock held, whatever that takes.

        Raises:
            OSError: it could not be written; nothing of it is in the file.
        """
        words = self._words
        if words[_START]:
            self._intent.mend(self.baseFilename)
        try:
            status = os.stat(self.baseFilename)  # noqa: PTH116 - a Path costs more than the call
            if self._fd < 0 or status.st_ino != self._inode or status.st_dev != self._device:
                status = self._open()
        except FileNotFoundError:
            status = self._open()
        size = status.st_size
        if size and ((self.max_bytes and size + len(data) > self.max_bytes) or (self.when and self._is_over(status))):
            size = self._rotate(status).st_size
        words[_LENGTH] = len(data)
        words[_INODE] = self._inode
        words[_START] = size + 1
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                self._write_rest(data[written:], size)
        finally:
            words[_START] = 0

    def _write_rest(self, data: bytes, size: int) -> None:
        """Go on after a short write, or take back the piece that is in the file.

        Raises:
            OSError: it could not be written.
        """
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, size)
            raise

    def _open(self) -> os.stat_result:
        """Open the file of this name, anew.

        The descriptor is set last and forgotten first: a child forked in between finds none, and opens the file itself.
        """
        old, self._fd = self._fd, -1
        self._inode = self._device = -1
        if old >= 0:
            os.close(old)
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        status = os.fstat(fd)
        self._inode, self._device = status.st_ino, status.st_dev
        self._fd = fd
        if status.st_size and self.terminator == "\n" and not self._words[_START] and self._is_cut_off():
            os.write(self._fd, b"\n")
            status = os.fstat(self._fd)
        return status

    def _is_cut_off(self) -> bool:
        """Whether the file ends within a line: its only writer was killed, and nobody was left who knew of it."""
        try:
            with open(self._path, "rb") as file:  # noqa: PTH123 - a path in bytes
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except OSError:  # it is not to be read, or has no end
            return False

    def close(self) -> None:
        """Close the file; a later record opens it again."""
        self.acquire()
        try:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = self._inode = self._device = -1
        finally:
            self.release()
        super().close()

    # rotation, with the lock held

    def _is_over(self, status: os.stat_result) -> bool:
        """Whether the last line of the file belongs to an earlier period than now."""
        second = int(time.time())
        if self._now[0] != second:
            self._now = second, self._period(second)
        written = int(status.st_mtime)
        return written < second and self._period(written) < self._now[1]

    def _period(self, second: int) -> str:
        """The name of the period of a time in seconds since the epoch."""
        assert self.when is not None  # noqa: S101 - only asked for then
        split = time.gmtime if self.utc else time.localtime
        parts = split(second)
        if self.when.startswith("W"):
            days = (parts.tm_wday - int(self.when[1])) % 7
            noon = (
                second - parts.tm_hour * 3600 - parts.tm_min * 60 - parts.tm_sec + _DAY // 2
            )  # whatever the clocks do
            parts = split(noon - days * _DAY)
        return time.strftime(_PERIODS[self.when], parts)

    def _rotate(self, status: os.stat_result) -> os.stat_result:
        """Give the file another name and begin a new one; if that is not possible, go on with the old one."""
        try:
            if self.when:
                self._dated(self._period(int(status.st_mtime)))
            else:
                _numbered(self.baseFilename, self.backups)
        except OSError as error:
            if not self._rotation_failed:
                self._rotation_failed = True
                say("HF802", f"{self.baseFilename} cannot be rotated and grows on: {error}")
        else:
            self._rotation_failed = False
        return self._open()

    def _dated(self, period: str) -> None:
        """Rename the file after its period, and remove the oldest files beyond those to keep."""
        target = f"{self.baseFilename}.{period}"
        number = 0
        while os.path.lexists(target):
            number += 1
            target = f"{self.baseFilename}.{period}.{number}"
        os.rename(self.baseFilename, target)  # noqa: PTH104 - strings suffice
        if self.backups is not None:
            folder, base = os.path.split(self.baseFilename)
            found = []
            for name in os.listdir(folder):  # noqa: PTH208 - as above
                match = _DATED.fullmatch(name, len(base)) if name.startswith(base) else None
                if match:
                    found.append((match[1], int(match[2] or 0), name))
            for _, _, name in sorted(found)[: -self.backups]:
                os.unlink(os.path.join(folder, name))  # noqa: PTH108, PTH118 - as above

    # trouble

    def _complain(self, error: OSError, length: int) -> None:
        """Count a lost line of so many bytes, and say why, once a program until lines can be written again."""
        self._lost += 1
        self._longest, self._written = max(self._longest, length), 0
        program = zlib.crc32(family.token().encode()) + 1
        if not self._in_trouble and self._words[_SAID] != program:
            say("HF801", f"{self.baseFilename} cannot be written; lines are lost until it can: {error}")
        self._in_trouble = True
        self._words[_SAID] = program

    def _recover(self, length: int) -> None:
        """A line was written; end the trouble, unless that line is one that fits into the last hole of a full disk."""
        self._written += length
        if length < self._longest and self._written <= _HOLE:
            return
        lost, self._lost, self._longest, self._in_trouble = self._lost, 0, 0, False
        self._words[_SAID] = 0
        say("", f"{self.baseFilename} can be written again; {lost} lines of process {os.getpid()} were lost")


def _numbered(path: str, backups: int | None) -> None:
    """Rename path.1 to path.2 and so on up to the first number that is free, then the file itself to path.1.

    Killed between any two of these steps it leaves a gap, and only up to that gap the next rotation moves files: no
    old file is overwritten but the oldest one when all numbers are in use.
    """
    gap = 1
    while gap != backups and os.path.lexists(f"{path}.{gap}"):
        gap += 1
    for number in range(gap, 1, -1):
        os.rename(f"{path}.{number - 1}", f"{path}.{number}")  # noqa: PTH104 - strings suffice
    os.rename(path, f"{path}.1")  # noqa: PTH104 - as above


def _digest(path: str) -> str:
    return hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()
