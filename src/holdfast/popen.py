"""The parent's side of a start, one class for each start method.

They are the standard library's, plus: an outcome file for the result, the lifeline for daemons and workers, the
boarding pass for children that do not share memory, and a clear error when there is no room for another process.
"""

from __future__ import annotations

import errno
import math
import os
import select
import sys
from contextlib import suppress
from importlib import import_module
from multiprocessing import popen_fork

from holdfast import family, guard, lifeline
from holdfast.boarding import launch
from holdfast.outcome import Account, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.process import BaseProcess
    from typing import Any

__all__ = ["ForkPopen", "Reporting", "load", "prepare"]

_LONGEST = 2**31 - 1  # milliseconds that a poll may take
_WORKER = ("holdfast.crew.worker", "main")
# Processes that are not daemons by name, but belong to an object of their parent and are of no use without it.
_SERVANTS = frozenset(
    {
        ("concurrent.futures.process", "_process_worker"),
        _WORKER,
        ("multiprocessing.managers", "_run_server"),
    }
)


_OTHERS = {
    "spawn": ("SpawnPopen", "holdfast.popen_fresh"),
    "forkserver": ("ForkServerPopen", "holdfast.popen_served"),
}


def _target(process: BaseProcess) -> tuple[str | None, str | None]:
    target = getattr(process, "_target", None)
    return getattr(target, "__module__", None), getattr(target, "__name__", None)


class Reporting(popen_fork.Popen):
    """What all start methods have in common."""

    _outcome: Outcome | None = None
    _account: Account | None = None

    def __init__(self, process_obj: BaseProcess) -> None:
        if self.method != "fork":  # as the subclasses have it
            guard.check()
        family.token()
        _found_arena()
        if getattr(process_obj, "_keeps_outcome", False):
            self._outcome = Outcome()
        launch.outcome = self._outcome
        target = _target(process_obj)
        launch.dies_with_parent = target in _SERVANTS or process_obj.daemon
        launch.leaves_interrupts = target == _WORKER
        launch.starting = True
        try:
            if launch.dies_with_parent:
                lifeline.reader()
            super().__init__(process_obj)
        except BaseException as error:
            if self._outcome is not None:
                self._outcome.close()
            _raise_if_no_room(error, process_obj.name)
            raise
        finally:
            launch.outcome, launch.dies_with_parent, launch.starting = None, False, False
            log = sys.modules.get("holdfast._logends")
            if log is not None:
                log.after_fork()

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, or None while the process runs."""
        before = self.returncode
        code: int | None = super().poll(flag)
        if before is None and code is not None:
            core = sys.modules.get("holdfast._core")
            if core is not None:
                core.sweep()  # what the child held of shared memory is free at once, not when somebody needs memory
        if code is not None and self._outcome is not None and not self._outcome.ended:
            self._outcome.ended = True
            if self._outcome.is_none():
                self._account = Account()
                self._outcome.close()
                self._outcome = None
        return code

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the process to end, `timeout` seconds at most.

        As ever, but asks the kernel: the sentinel, which children of the process inherit, may stay open after its end.
        """
        if self.returncode is None and timeout is not None:
            milliseconds = min(math.ceil(max(timeout, 0.0) * 1000), _LONGEST)
            fd = self.sentinel
            if self.method != "forkserver":  # else it is no child of ours
                with suppress(OSError):  # it has ended, and somebody else has taken note of it
                    fd = os.pidfd_open(self.pid)
            try:
                poller = select.poll()
                poller.register(fd, select.POLLIN)
                if not poller.poll(milliseconds):
                    return None
            finally:
                if fd != self.sentinel:
                    os.close(fd)
        return self.poll(os.WNOHANG if timeout == 0 else 0)

    def account(self) -> Account | None:
        """What the ended process left, or None if it left nothing."""
        if self._outcome is not None:
            self._account = self._outcome.take()
            self._outcome.close()
            self._outcome = None
        return self._account

    def terminate(self) -> None:
        """Ask the process to end; its blocks of shared memory become ours."""
        if self.returncode is None:
            from holdfast import ownership  # noqa: PLC0415 - most processes are never terminated

            ownership.adopt(self.pid)
        super().terminate()

    def close(self) -> None:
        """Give up what the start opened."""
        if self._outcome is not None:
            self._outcome.close()
        super().close()


def _found_arena() -> None:
    """Make the program's arena before its first child: what a child makes then outlives the child.

    A process can be started without it: where there is no room, whoever makes the first lock is told.
    """
    from holdfast import _core  # noqa: PLC0415 - most programs start no process before they make a lock

    if _core.home_arena() is None:
        from holdfast.errors import HoldfastError  # noqa: PLC0415 - as above

        with suppress(HoldfastError):
            _core.arena_name()


def _raise_if_no_room(error: BaseException, name: str) -> None:
    """Turn the system's "no more processes" into one that says so, and close what the start left open.

    Raises:
        TooManyProcesses: the error was EAGAIN.
    """
    if not isinstance(error, OSError) or error.errno != errno.EAGAIN:
        return
    tb = error.__traceback__
    while tb is not None:  # fork failed between opening its pipes and registering them: only its frame knows them
        if tb.tb_frame.f_code.co_name == "_launch":
            _close_all(
                v for k, v in tb.tb_frame.f_locals.items() if k in ("parent_r", "child_w", "child_r", "parent_w")
            )
        tb = tb.tb_next
    from holdfast import errors  # noqa: PLC0415 - only where something failed

    message = f"{name} could not be started: the system refuses another process (limit of processes, or of this cgroup)"
    raise errors.TooManyProcesses(message) from error


def _close_all(fds: Iterable[Any]) -> None:
    for fd in fds:
        if isinstance(fd, int):
            with suppress(OSError):
                os.close(fd)


class ForkPopen(Reporting):
    """Start by fork."""


def load(method: str) -> Any:  # noqa: ANN401 - a module
    """The module that starts processes by a method that is not fork; children of a program that forks do without."""
    return import_module(_OTHERS[method][1])


def prepare(method: str) -> None:
    """Start what the first worker of a pool needs beside itself, so that it comes up while other things are done.

    Args:
        method: how the worker will be started.

    Raises:
        MainGuardMissing: this is a child that imports its main module.
        TooManyProcesses: the system refuses another process.
    """
    if method not in _OTHERS:
        return
    guard.check()
    try:
        from multiprocessing import resource_tracker  # noqa: PLC0415 - only where it is of use

        resource_tracker.ensure_running()  # at once: what the server's start has to load takes as long as its own
        module = load(method)
        if method == "forkserver":
            module.prepare()
    except OSError as error:
        _raise_if_no_room(error, f"what the start method {method} needs")
        raise


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class
    """The classes of the other start methods."""
    for method, (kind, _) in _OTHERS.items():
        if name == kind:
            return getattr(load(method), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
