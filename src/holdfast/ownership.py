"""Who owns which block of shared memory: this process's side of the ``reaper``.

A block belongs to the process that made it. The reaper learns of it before the block has a name, and hears of every
unlink; what a killed owner leaves, it removes. A connection is made when this process makes its first block, so
programs without shared memory have no reaper.

States of this process: unconnected ─claim()▶ connected ─depart(), at exit▶ gone. A forked child starts unconnected.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import util

from holdfast import family
from holdfast.reaper import WELCOME, remove

_REAPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reaper.py")  # noqa: PTH100, PTH118, PTH120
_PATIENCE_SECONDS = 5.0  # for a reaper that another process is just starting
_EXIT_PRIORITY = -500  # of multiprocessing's exit functions: when all children are joined

_lock = threading.RLock()
_connection = -1  # a descriptor: as an object it would warn at exit that nobody closed it
_own: dict[tuple[str, int], None] = {}


def claim(name: str, inode: int) -> None:
    """Declare a block this process's own.

    Args:
        name: with a leading slash; the block need not have it yet.
        inode: of the block.
    """
    with _lock:
        if not _own:
            util.Finalize(None, depart, exitpriority=_EXIT_PRIORITY)
        _own[name, inode] = None
        if _connection < 0 and not _connect(start=True):
            return  # no reaper can be had; `depart` still removes the block at an orderly end
        if not _send(_own_message(name, inode)) and _connect(start=True):  # the reaper was killed: a new one needs all
            for known in list(_own):
                _send(_own_message(*known))


def drop(name: str, inode: int) -> None:
    """Declare that a block was unlinked, whoever owned it."""
    with _lock:
        _own.pop((name, inode), None)
        if _connection >= 0 or _connect(start=False):
            _send(f"drop\0{name}\0{inode}")


def adopt(pid: int) -> None:
    """Declare that this process is about to end a child, so that what the child owned passes to its heirs."""
    with _lock:
        if _connection >= 0 or _connect(start=False):
            _send(f"adopt\0{pid}")


def depart() -> None:
    """Leave in an orderly way: a child's blocks pass to its parent, those of a program's first process are removed."""
    with _lock:
        if _connection >= 0 and family.ancestors():
            _send("bye")
        else:
            for name, inode in list(_own):
                remove(name, inode)
                if _connection >= 0:
                    _send(f"drop\0{name}\0{inode}")
        _own.clear()


def _own_message(name: str, inode: int) -> str:
    return f"own\0{name}\0{inode}\0{','.join(map(str, family.ancestors()))}"


def _send(message: str) -> bool:
    """Send a message; whether there was somebody to hear it."""
    global _connection  # noqa: PLW0603 - one connection a process
    if _connection < 0:
        return False
    try:
        os.write(_connection, os.fsencode(message))
    except OSError:
        with suppress(OSError):
            os.close(_connection)
        _connection = -1
        return False
    return True


def _connect(*, start: bool) -> bool:
    """Connect to the program's reaper.

    Args:
        start: whether to start one if there is none.

    Returns:
        Whether there is a connection now.
    """
    global _connection  # noqa: PLW0603 - one connection a process
    address = f"\0holdfast-reaper-{os.getuid()}-{family.token()}"
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(_PATIENCE_SECONDS)
        try:
            connection.connect(address)
            if connection.recv(1) == WELCOME:
                connection.settimeout(None)
                _connection = connection.detach()
                return True
        except OSError:
            pass
        connection.close()
        if not start or time.monotonic() > deadline:
            return False
        try:
            if not _start(address):
                time.sleep(0.001)  # between another process's bind() and listen()
        except OSError as error:
            util.sub_warning("holdfast: the helper for shared memory could not be started: %s", error)
            return False


def _start(address: str) -> bool:
    """Start the reaper, unless another process is first; whether it was started.

    Raises:
        OSError: it could not be started.
    """
    if not sys.executable:
        raise OSError(errno.ENOENT, "sys.executable is not known")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        listener.listen(1024)
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", _REAPER],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, listener.fileno(), 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
            setsigmask=[],
        )
    with suppress(ChildProcessError):  # somebody ignores SIGCHLD, or was faster
        os.waitpid(pid, 0)  # a moment: it forks and leaves
    return True


def _let_go() -> None:
    """A forked child owns nothing yet; what the parent owns stays the parent's."""
    global _lock, _connection  # noqa: PLW0603 - as above
    _lock = threading.RLock()
    _own.clear()
    if _connection >= 0:
        with suppress(OSError):
            os.close(_connection)
        _connection = -1


family.in_forked_child(_let_go)
