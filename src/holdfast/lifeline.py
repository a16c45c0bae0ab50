"""The lifeline: a process that is killed takes its daemons and workers with it, however busy they are.

A parent has one pipe and holds its only writing end; nothing is ever written. Each child opens the reading end anew
and asks the kernel to send it SIGKILL when something happens to it. The one thing that can happen is that the last
writer is gone, so the kernel ends the child as the parent ends, without a thread, a lock or the GIL of the child::

    parent ──w═══════r──▶ child: open("/proc/self/fd/r"), F_SETOWN self, F_SETSIG SIGKILL, O_ASYNC
                  └─────▶ child: its own opening of the same pipe

States of a child: unarmed ─arm()▶ armed ─parent ends▶ killed. The parent may have ended before or while the child
arms itself, and then no event comes any more; hence `arm` looks once at the pipe when the signal is in place.

Whatever is forked from the parent inherits the writing end and would keep the pipe open; it is closed in the child
of every fork, and by exec.
"""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress

from holdfast import family

_F_SETSIG = 10  # Linux; the fcntl module has no name for it

_reader = _writer = -1  # the pipe of this process as a parent
_armed = -1  # this process's opening of its parent's pipe


def reader() -> int:
    """The reading end of this process's lifeline, made at the first call.

    Returns:
        A descriptor to be inherited or passed on; it stays this process's property.

    Raises:
        OSError: no more descriptors.
    """
    global _reader, _writer
    if _reader < 0:
        _reader, _writer = os.pipe()
        family.in_forked_child(_let_go)
    return _reader


def arm(inherited: int) -> None:
    """Tie the life of this process to the one whose `reader` is given.

    Args:
        inherited: the reading end as it came here; it stays open, for it may be shared with others.

    Raises:
        OSError: /proc is not mounted.
    """
    global _armed  # noqa: PLW0603 - one parent a process
    # Opened anew: owner, signal and O_ASYNC belong to the opening, and the inherited one is shared with all siblings.
    _armed = os.open(f"/proc/self/fd/{inherited}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    family.in_forked_child(_let_go)
    fcntl.fcntl(_armed, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(_armed, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(_armed, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    try:
        os.read(_armed, 1)
    except BlockingIOError:  # there is a writer
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _let_go() -> None:
    """Let go of what belongs to the parent: its pipe's ends, and its own tie to the grandparent."""
    global _reader, _writer, _armed  # noqa: PLW0603 - as above
    # The reading end is needed for a moment by the child that arms itself; `arm` opens it anew, then it may go.
    for fd in (_writer, _armed):
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
    drop = _reader
    _reader = _writer = _armed = -1
    if drop >= 0:
        _inherited.append(drop)


# Reading ends of ancestors that forked children still hold: the child that dies with its parent arms itself with the
# newest one, then all are closed (`settle`).
_inherited: list[int] = []


def settle(*, dies_with_parent: bool) -> None:
    """In a forked child: arm with the parent's pipe if the child is one that dies with it, and close what came along.

    Args:
        dies_with_parent: whether this child is a daemon or an executor's worker.
    """
    if dies_with_parent and _inherited:
        arm(_inherited[-1])
    while _inherited:
        with suppress(OSError):
            os.close(_inherited.pop())
