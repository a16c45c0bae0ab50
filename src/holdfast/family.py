"""Which processes belong together: the token of a program, and the line of ancestors of this process.

Both are inherited: by fork through memory, by spawn and forkserver through the boarding pass (``popen``). They are
what lets a helper find the program it belongs to, and a block of shared memory find its heir.

This module also has the one hook that runs in every forked child. Each call there costs copied pages, so modules that
have something to let go of in a child register it when they first have it (`in_forked_child`).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing would make the start of every child milliseconds longer
if TYPE_CHECKING:
    from collections.abc import Callable

_pid = os.getpid()
_token = ""
_ancestors: tuple[int, ...] = ()


def token() -> str:
    """A random word that all processes of this program share; made at the first call, before a child can need it."""
    global _token  # noqa: PLW0603 - one value a process, as os.getpid() is
    if not _token:
        _token = os.urandom(12).hex()
    return _token


def ancestors() -> tuple[int, ...]:
    """The pids of parent, grandparent and so on, as far as they belong to this program."""
    return _ancestors


def join(program: str, line: tuple[int, ...]) -> None:
    """Make this spawned process a member of the program that started it.

    Args:
        program: the program's token.
        line: pids of parent, grandparent and so on.
    """
    global _token, _ancestors
    _token, _ancestors = program, line


def descent() -> tuple[str, tuple[int, ...]]:
    """What a spawned child passes to `join`: the token, and its ancestors, this process first."""
    return token(), (_pid, *_ancestors)


_let_go: list[Callable[[], None]] = []


def in_forked_child(let_go: Callable[[], None]) -> None:
    """Have a function called in every process forked from now on; registering it again changes nothing."""
    if let_go not in _let_go:
        _let_go.append(let_go)


def _after_fork_in_child() -> None:
    global _pid, _ancestors
    _pid, _ancestors = os.getpid(), (_pid, *_ancestors)
    for let_go in _let_go:
        let_go()


os.register_at_fork(after_in_child=_after_fork_in_child)
