"""The child's side of a start: what happens between its first breath and the user's ``run()``.

A forked child has everything in memory. A spawned one, or one of the forkserver, gets a boarding pass: the first
thing it unpickles, before the main module is imported and before any of the user's objects, and unpickling it is
boarding (`board`)::

    parent                                      child
    Popen(process)                              spawn.spawn_main / forkserver._serve_one
      outcome file, lifeline                      unpickles the preparation data
      preparation data: name = BoardingPass ──▶     board(): lifeline, arena, install(), outcome, log
      the process object                          imports the main module (see `main_module`)
                                                  unpickles the process object
                                                  process._bootstrap() ─▶ live() ─▶ run()

The pass travels as the process's *name*, which every version of the standard library puts into the preparation data
as it is; so nothing of the standard library has to be replaced or copied to get a word in first.
"""

from __future__ import annotations

import operator
import os
import signal
import sys
import threading
from multiprocessing import reduction, util

from holdfast import family, forks, lifeline, outcome  # noqa: F401 - importing forks puts its hook in place

TYPE_CHECKING = False  # importing typing would make the start of every child milliseconds longer
if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess
    from types import FrameType
    from typing import Any, Protocol

    class _Handle(Protocol):
        def detach(self) -> int: ...


__all__ = ["BoardingPass", "Passenger", "board", "defer_interrupts", "launch", "leave_to_parent", "live"]

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib costs 3 ms
_EXITS_LATE = sys.version_info >= (3, 12)  # from then on, exit functions run after bootstrap()
MARK_PRIORITY = -1000  # of multiprocessing's exit functions: after everything that may still take a lock


class _Launch(threading.local):
    """What the starting thread hands to the child that it starts; in a child, what was handed to it."""

    outcome: outcome.Outcome | None = None
    dies_with_parent: bool = False
    leaves_interrupts: bool = False  # an interrupt from the keyboard is its parent's to answer
    limits: dict[str, str] | None = None  # of the threads of libraries, for a pool's worker
    starting: bool = False  # a Popen is at work: it wakes afterwards what rests during a fork


launch = _Launch()


def find_package() -> str:
    """Source code that makes ``holdfast`` importable in another interpreter, where the path does not know it."""
    return f"try:\n import holdfast\nexcept ImportError:\n import sys; sys.path.append({_ROOT!r})"


class _FindPackage:
    """Unpickles as `find_package`, executed; the unpickler needs nothing but builtins for that."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (find_package(), {})


class _Board:
    """Unpickles as a call of `board`."""

    def __init__(self, name: str, *, installed: bool) -> None:
        self.name = name
        self.installed = installed
        self.outcome = launch.outcome
        self.dies_with_parent = launch.dies_with_parent
        self.leaves_interrupts = launch.leaves_interrupts
        self.limits = launch.limits

    def __reduce__(self) -> tuple[Any, ...]:
        core = sys.modules.get("holdfast._core")
        name = core.home_arena() if core is not None else None
        arena = None if core is None or name is None else (core.directory(), name)
        reader = reduction.DupFd(lifeline.reader()) if self.dies_with_parent else None
        report = reduction.DupFd(self.outcome.fd) if self.outcome is not None else None
        logs = sys.modules.get("holdfast.logs")
        log = None if logs is None else logs.boarding_pass()
        options = (self.leaves_interrupts, self.limits)
        return board, (self.name, family.descent(), arena, reader, report, self.installed, log, *options)


class BoardingPass(str):
    """The name of a process, which unpickles as this very name, but not without boarding first."""

    __slots__ = ("installed",)
    installed: bool

    def __reduce__(self) -> tuple[Any, ...]:
        board_now = _Board(str(self), installed=self.installed)
        return operator.getitem, ((_FindPackage(), board_now), 1)


class Passenger:
    """Stands in for the process object while it is pickled, so that its name can be a boarding pass.

    Args:
        process: the process object.
        installed: whether holdfast stands behind ``multiprocessing`` here.
    """

    def __init__(self, process: BaseProcess, *, installed: bool) -> None:
        self._process = process
        self._name = BoardingPass(process.name)
        self._name.installed = installed

    def __reduce__(self) -> tuple[Any, ...]:
        return _unwrapped, (self._process,)


def _unwrapped(process: BaseProcess) -> BaseProcess:
    return process


def board(
    name: str,
    descent: tuple[str, tuple[int, ...]],
    arena: tuple[str, str] | None,
    reader: _Handle | None,
    report: _Handle | None,
    installed: bool,
    log: tuple[Any, ...] | None,
    leaves_interrupts: bool,
    limits: dict[str, str] | None = None,
) -> str:
    """Become a member of the program that started this process.

    Args:
        name: the process's name.
        descent: the program's token and the pids of the ancestors.
        arena: directory and name of the program's home arena, if it has one.
        reader: the parent's lifeline, if this process dies with it.
        report: the file that takes the outcome, if anybody may ask for it.
        installed: whether holdfast stands behind ``multiprocessing`` in the parent.
        log: how to join the parent's log, if it has one.
        leaves_interrupts: whether this process survives a Ctrl-C, which its parent answers.
        limits: environment variables, for libraries that the main module loads.

    Returns:
        The name.

    Raises:
        KeyboardInterrupt: one came before this process was aboard, and it does not leave them to its parent.
    """
    from holdfast import main_module  # noqa: PLC0415 - only where a main module is imported

    launch.leaves_interrupts = leaves_interrupts
    main_module.prepare()
    if limits:
        from holdfast.crew import seat  # noqa: PLC0415 - only in workers

        seat.board(limits)
    if leaves_interrupts:
        signal.signal(signal.SIGINT, leave_to_parent)
    elif signal.getsignal(signal.SIGINT) is _note_interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if _interrupts:
            raise KeyboardInterrupt
    if reader is not None:
        fd = reader.detach()
        lifeline.arm(fd)
        os.close(fd)
    family.join(*descent)
    if report is not None:
        fd = report.detach()
        os.set_inheritable(fd, False)
        launch.outcome = outcome.Outcome(fd)
    if arena is not None:
        from holdfast import _core  # noqa: PLC0415 - only where the program has an arena

        _core.set_directory(arena[0])
        _core.join_arena(arena[1])
    if installed:
        from holdfast.install import install  # noqa: PLC0415 - as above

        install()
    if log is not None:
        from holdfast import logs  # noqa: PLC0415 - as above

        logs.board(log)
    return name


def leave_to_parent(number: int, frame: object) -> None:
    """Answer to SIGINT in a worker: none. A function, not SIG_IGN, which programs started from it would inherit."""


_interrupts: list[int] = []


def _note_interrupt(number: int, frame: FrameType | None) -> None:
    _interrupts.append(number)
    while frame is not None:
        if frame.f_code.co_name == "_bootstrap":  # a process of the standard library's, which does not board
            raise KeyboardInterrupt
        frame = frame.f_back


def defer_interrupts() -> None:
    """In the forkserver, before it begins: have its children note an interrupt until they are aboard."""
    signal.signal(signal.SIGINT, _note_interrupt)


def live(process: BaseProcess, bootstrap: Callable[[int | None], int], parent_sentinel: int | None) -> int:
    """Run a process in the child: what is between the start method and the standard library's bootstrap.

    Args:
        process: the process object.
        bootstrap: the standard library's ``_bootstrap`` of it.
        parent_sentinel: becomes ready when the parent ends.

    Returns:
        The exit code.
    """
    report, dies = launch.outcome, launch.dies_with_parent
    launch.outcome, launch.dies_with_parent, launch.starting = None, False, False
    lifeline.settle(dies_with_parent=dies)
    outcome.take_over(report)
    core = sys.modules.get("holdfast._core")
    if core is not None:
        core.set_process_name(process.name)
    process.run = _observed(process, report)  # type: ignore[method-assign]
    code = bootstrap(parent_sentinel)
    mark_exiting()
    return code


def _observed(process: BaseProcess, report: outcome.Outcome | None) -> Callable[[], None]:
    """``process.run``, which also leaves its outcome for the parent."""
    attributes = process.__dict__
    earlier = attributes.get("run")
    original: Callable[[], object] = process.run

    def run() -> None:
        if earlier is None:  # the user may pickle the process object from within run()
            del attributes["run"]
        else:
            attributes["run"] = earlier
        if _EXITS_LATE and "holdfast._core" in sys.modules:
            util.Finalize(None, mark_exiting, exitpriority=MARK_PRIORITY)
        logs = sys.modules.get("holdfast.logs")
        if logs is not None:
            logs.settle()
        try:
            value = original()
            if report is not None:
                report.put_value(value)
        except BaseException as error:
            outcome.without_own_frames(error, run.__code__)
            if report is not None and not isinstance(error, SystemExit):
                report.put_error(error, _traceback_text(error))
            elif report is not None and isinstance(error, SystemExit) and not error.code:
                report.put_value(None)
            raise  # without a frame of ours: a re-raise adds none

    return run


def _traceback_text(error: BaseException) -> str:
    """The traceback as it will be shown in the parent: from the user's first frame on."""
    import traceback  # noqa: PLC0415 - only where something failed

    from holdfast.process import BaseProcess  # noqa: PLC0415 - processes need boarding, and the other way round

    tb = error.__traceback__
    if tb is not None and tb.tb_frame.f_code is BaseProcess.run.__code__:
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(error), error, tb))


def mark_exiting() -> None:
    """Tell the core, if this process uses it, that the process ends in an orderly way."""
    core = sys.modules.get("holdfast._core")
    if core is not None:
        core.mark_exiting()
