"""Shared memory whose blocks belong to their creator.

Attaching to a block takes no part in its ownership: an unrelated program that attaches and ends destroys nothing.
A block goes when somebody unlinks it, when its program ends, or when the process that made it is killed (within two
seconds; ``reaper``). A child that ends in an orderly way leaves its blocks to its parent.
"""

from __future__ import annotations

import errno
import mmap
import os
import types
from _posixshmem import shm_open, shm_unlink  # type: ignore[import-not-found]
from multiprocessing import resource_tracker
from multiprocessing import shared_memory as _std
from typing import TYPE_CHECKING, Any

from holdfast import ownership
from holdfast.errors import ArenaFull, HoldfastError

__all__ = ["ShareableList", "SharedMemory"]

_FOLDER = "/dev/shm"  # noqa: S108 - where POSIX shared memory lives on Linux


class SharedMemory(_std.SharedMemory):
    """A block of memory that any process can attach to by its name.

    Args:
        name: of the block; by default a new one is made up.
        create: whether to make the block, or attach to one that exists.
        size: in bytes, of a new block; it may be rounded up to whole pages.
        track: if false, a new block belongs to nobody and lives until somebody unlinks it. If it is given as true, the
            standard library's resource tracker is told of an attached block, as Python 3.13 documents: it destroys the
            block when this program ends.

    Raises:
        ValueError: a bad size, or no name to attach to.
        FileExistsError: `create`, and the name is in use.
        FileNotFoundError: there is no block of this name.
        ArenaFull: no space for a new block; it is taken at once, so that no later write can fail.

    Example:
        >>> from holdfast.shared_memory import SharedMemory
        >>> block = SharedMemory(create=True, size=100)
        >>> block.buf[0] = 42
        >>> block.close()
        >>> block.unlink()
    """

    _inode = 0
    if TYPE_CHECKING:  # the standard library's own attributes
        _flags: int
        _mode: int
        _prepend_leading_slash: bool

    def __init__(
        self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool | None = None
    ) -> None:
        if not size >= 0:
            message = "'size' must be a positive integer"
            raise ValueError(message)
        if create:
            self._flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
            if size == 0:
                message = "'size' must be a positive number different from zero"
                raise ValueError(message)
        if name is None and not self._flags & os.O_EXCL:
            message = "'name' can only be None if create=True"
            raise ValueError(message)
        self._track = track is not False
        self._told_tracker = bool(track) and not create
        if name is not None:
            self._name: str = "/" + name if self._prepend_leading_slash else name
            self._fd = self._create(self._name, size) if create else self._attach(self._name)
            if self._told_tracker:
                resource_tracker.register(self._name, "shared_memory")
        else:
            self._create_somewhere(size)
        self._map()

    def _create_somewhere(self, size: int) -> None:
        """Make the block under a name that is not in use."""
        while True:
            name = _std._make_filename()  # type: ignore[attr-defined]
            try:
                self._fd = self._create(name, size)
            except FileExistsError:
                continue
            self._name = name
            return

    def _attach(self, name: str) -> int:
        """Open the block of this name; its descriptor."""
        fd: int = shm_open(name, self._flags, mode=self._mode)
        self._inode = os.fstat(fd).st_ino
        return fd

    def _create(self, name: str, size: int) -> int:
        """Make the block; its descriptor.

        It is made without a name, claimed, and only then named: killed at any moment, it is either nobody's and gone
        with this process, or known to the reaper.
        """
        try:
            fd = os.open(_FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, self._mode)
        except OSError:
            return self._create_named(name, size)
        try:
            _take_space(fd, size)
            self._inode = os.fstat(fd).st_ino
            if self._track:
                ownership.claim(name, self._inode)
            # The folder's descriptor is not used; with it, Python calls the function that follows the link in /proc.
            os.link(f"/proc/self/fd/{fd}", _path(name), src_dir_fd=fd, follow_symlinks=True)
        except OSError as error:
            os.close(fd)
            if self._track:
                ownership.drop(name, self._inode)
            if isinstance(error, HoldfastError):
                raise
            if error.errno == errno.EEXIST:
                raise OSError(error.errno, os.strerror(error.errno), name) from None
            return self._create_named(name, size)
        return fd

    def _create_named(self, name: str, size: int) -> int:
        """Make the block as the standard library does, where the better way does not work; its descriptor."""
        fd: int = shm_open(name, self._flags, mode=self._mode)
        try:
            _take_space(fd, size)
        except OSError:
            os.close(fd)
            shm_unlink(name)
            raise
        self._inode = os.fstat(fd).st_ino
        if self._track:
            ownership.claim(name, self._inode)
        return fd

    def _map(self) -> None:
        try:
            self._size = os.fstat(self._fd).st_size
            self._mmap = mmap.mmap(self._fd, self._size)
        except OSError:
            if self._flags & os.O_EXCL:
                self.unlink()
            raise
        self._buf = memoryview(self._mmap)

    def unlink(self) -> None:
        """Destroy the block: its name is free at once, its memory when nobody is attached any more.

        Raises:
            FileNotFoundError: it is unlinked already.
        """
        if self._name:
            shm_unlink(self._name)
            if self._told_tracker:
                resource_tracker.unregister(self._name, "shared_memory")
            if self._track:
                ownership.drop(self._name, self._inode)


def _take_space(fd: int, size: int) -> None:
    """Give a new block its memory now: in a full file system, touching it later would be SIGBUS.

    Args:
        fd: its descriptor.
        size: in bytes.

    Raises:
        ArenaFull: there is no space.
    """
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG):
            raise
        message = (
            f"no space for {size} bytes of shared memory in {_FOLDER} ({error.strerror}); free some or make it larger"
        )
        raise ArenaFull(message) from None


def _path(name: str) -> str:
    """The file of a block.

    Raises:
        OSError: the name is not one of POSIX shared memory; then the system says why.
    """
    if not name.startswith("/") or "/" in name[1:] or name in ("/", "/.", "/.."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    return _FOLDER + name


def _over_ours(function: types.FunctionType) -> types.FunctionType:
    """A function of the standard library's module, with our `SharedMemory` in place of its own."""
    ours = types.FunctionType(
        function.__code__,
        {**vars(_std), "SharedMemory": SharedMemory},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    ours.__kwdefaults__ = function.__kwdefaults__
    ours.__doc__ = function.__doc__
    return ours


if TYPE_CHECKING:
    ShareableList = _std.ShareableList
else:

    class ShareableList(_std.ShareableList):
        """A list in shared memory: of fixed length, of numbers, texts, bytes, booleans and None.

        Args:
            sequence: the items.
            name: of the block; to attach to one, give no `sequence`.
        """

        __init__ = _over_ours(_std.ShareableList.__init__)


def __getattr__(name: str) -> Any:
    """Everything else is the standard library's."""
    return getattr(_std, name)
