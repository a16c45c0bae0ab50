"""The helper process that removes shared memory whose owner was killed; one for each program, started on demand.

It is run as a program, ``python -I -S reaper.py``, with a listening socket as standard input, and imports nothing of
holdfast. Every process that owns a block is connected to it; the kernel says who is at the other end::

    owner ── "own name inode heirs" ──▶ reaper ── pidfd of the owner, pidfds of the heirs
          ── "drop name inode" ───────▶
          ── "bye" ───────────────────▶         (the owner ends in an orderly way)
    parent ─ "adopt pid" ─────────────▶         (the parent is about to terminate a child: as if that had said bye)

States of a block: owned ─drop▶ forgotten; owned ─owner ends after bye or adopt▶ inherited by the nearest living heir
(parent, grandparent ...), or removed in silence if there is none; owned ─owner is killed▶ removed, with one line
on standard error; inherited ─heir ends▶ inherited by the next heir.

A name may have been given to a new block since: only the inode that was owned is removed. The helper is the leader of
its own session, so that what kills the program's group spares it. It ends when nobody is connected and nothing owned.
"""

import os
import select
import signal
import socket
import struct
import sys
from contextlib import suppress

FOLDER = "/dev/shm"  # noqa: S108 - where POSIX shared memory lives on Linux
SO_PEERPIDFD = 77  # Linux 6.5
GRACE_MS = 5000  # how long to wait for the first connection
MESSAGE_BYTES = 8192
WELCOME = b"w"  # sent to whoever connects, so that nobody talks to a reaper that is about to end

Key = tuple[str, int]  # name with a leading slash, inode


class Watched:
    """A process that owns blocks, or will inherit some.

    Attributes:
        pid: of the process.
        pidfd: -1 if the process was gone before it could be looked at.
        orderly: whether its end is none that calls for cleaning up.
        made: the blocks it made, each with those who will inherit it.
        inherited: the blocks others left to it, likewise.
    """

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.orderly = False
        self.made: dict[Key, list[Watched]] = {}
        self.inherited: dict[Key, list[Watched]] = {}


class Reaper:
    """All the state, and the loop.

    Args:
        listener: where owners connect.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.listener.setblocking(False)
        self.poll = select.poll()
        self.poll.register(listener, select.POLLIN)
        self.connections: dict[int, tuple[socket.socket, Watched]] = {}
        self.watched: dict[int, Watched] = {}  # by pid
        self.pidfds: dict[int, Watched] = {}

    def run(self) -> None:
        """Serve until nobody is left."""
        timeout: int | None = GRACE_MS
        while True:
            fds = {fd for fd, _ in self.poll.poll(timeout)}
            timeout = None
            if self.listener.fileno() in fds:
                self.accept()
            # Everything that was said before a death is heard before the death is judged.
            for fd in list(self.connections):
                self.listen(fd)
            connected = {owner.pid for _, owner in self.connections.values()}
            for process in list(self.watched.values()):
                if process.pidfd in fds or (process.pidfd < 0 and process.pid not in connected):
                    self.ended(process)
            if not self.connections and not any(p.made or p.inherited for p in self.watched.values()):
                return

    def accept(self) -> None:
        """Let a process in, if it is of the same user."""
        connection, _ = self.listener.accept()
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (os.getuid(), 0):
            connection.close()
            return
        connection.setblocking(False)
        with suppress(OSError):
            connection.send(WELCOME)
        self.connections[connection.fileno()] = connection, self.watch(pid, connection)
        self.poll.register(connection, select.POLLIN)

    def watch(self, pid: int, connection: socket.socket | None = None) -> Watched:
        """Begin to watch a process, or find that it is watched already."""
        if pid in self.watched:
            return self.watched[pid]
        pidfd = -1
        if connection is not None:
            with suppress(OSError):  # an older kernel
                pidfd = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
        if pidfd < 0:
            with suppress(OSError):  # it is gone
                pidfd = os.pidfd_open(pid)
        process = self.watched[pid] = Watched(pid, pidfd)
        if pidfd >= 0:
            self.poll.register(pidfd, select.POLLIN)
        return process

    def listen(self, fd: int) -> None:
        """Read all that a connection has to say."""
        connection, process = self.connections[fd]
        while True:
            try:
                message = connection.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self.poll.unregister(fd)
                del self.connections[fd]
                connection.close()
                return
            self.obey(process, os.fsdecode(message).split("\0"))

    def obey(self, process: Watched, words: list[str]) -> None:
        """Do what one message says."""
        if words[0] == "own":
            heirs = [self.watch(int(pid)) for pid in words[3].split(",") if pid]
            process.made[words[1], int(words[2])] = heirs
        elif words[0] == "drop":
            for owner in self.watched.values():
                owner.made.pop((words[1], int(words[2])), None)
                owner.inherited.pop((words[1], int(words[2])), None)
        elif words[0] == "bye":
            process.orderly = True
        elif words[0] == "adopt" and int(words[1]) in self.watched:
            self.watched[int(words[1])].orderly = True

    def ended(self, process: Watched) -> None:
        """Pass on or remove what an ended process owned."""
        if process.pidfd >= 0:
            self.poll.unregister(process.pidfd)
            os.close(process.pidfd)
        del self.watched[process.pid]
        if process.orderly:
            process.inherited.update(process.made)
        elif process.made:
            clean_up(process)
        for key, heirs in process.inherited.items():
            living = [heir for heir in heirs if self.watched.get(heir.pid) is heir]
            if living:
                living[0].inherited[key] = living[1:]
            else:
                remove(*key)


def clean_up(process: Watched) -> None:
    """Remove the blocks of a killed process, and say so in the words of the standard library."""
    said = "holdfast: resource_tracker: "
    names = ", ".join(name for name, _ in process.made)
    text = (
        f"{said}There appear to be {len(process.made)} leaked shared_memory objects to clean up at shutdown: "
        f"{names} of pid {process.pid}, which was killed\n"
    )
    for key in process.made:
        error = remove(*key)
        if error is not None:
            text += f"{said}{key[0]!r}: {error}\n"
    with suppress(OSError):
        os.write(2, os.fsencode(text))


def remove(name: str, inode: int) -> OSError | None:
    """Remove a block if it is still the one that was owned.

    Args:
        name: with a leading slash.
        inode: of the block.

    Returns:
        Why it could not be removed; None if it was, or another block has the name now.
    """
    path = FOLDER + name
    try:
        if os.stat(path).st_ino == inode:  # noqa: PTH116 - this program imports as little as it can
            os.unlink(path)  # noqa: PTH108 - as above
    except OSError as error:
        error.filename = name
        return error
    return None


def main() -> None:
    """Detach from the program and serve."""
    if os.fork():
        os._exit(0)  # the program waits for this one, and so has no child that it did not start
    os.chdir("/")
    with suppress(OSError), open("/proc/self/comm", "w") as comm:  # noqa: PTH123 - as above
        comm.write("holdfast-reaper")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    Reaper(socket.socket(fileno=0)).run()


if __name__ == "__main__":
    main()
    sys.exit()
