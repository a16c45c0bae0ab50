"""Every error and warning of holdfast, each with a code that never changes its meaning.

A message begins with its code, ``[HF101] ...``, and ``holdfast explain HF101`` prints the page of that code.
Each class also derives from the nearest standard one, so that code written for ``multiprocessing`` catches it.

Codes: HF1xx locks, HF2xx queues, HF3xx processes and pools, HF4xx pickling, HF5xx start-up and the machine,
HF8xx logs and managers.
One code may have an error and a warning (HF101): the same event, and the caller's choice how to hear of it.

``WorkerDied``, ``ResultTimeout`` and ``ShutDown`` need ``concurrent.futures``, ``multiprocessing`` and ``queue``, which
cost milliseconds to import; they live in ``_late_errors`` and come into being when somebody first asks for them.
"""

from __future__ import annotations

import errno
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from types import FrameType

    from holdfast._late_errors import InitializerFailed, KeyRefused, ManagerGone, ResultTimeout, ShutDown, WorkerDied

    CODES: dict[str, type[HoldfastError | HoldfastWarning]]

__all__ = [
    "CODES",
    "ArenaCorrupt",
    "ArenaDirectory",
    "ArenaFull",
    "BadArgument",
    "BadCommand",
    "BadTimeout",
    "BarrierBroken",
    "ClosedError",
    "ForeignRelease",
    "ForeignReleaseWarning",
    "ForkWithThreadsWarning",
    "ForkedReleaseWarning",
    "HandleGone",
    "HoldfastError",
    "HoldfastWarning",
    "InitializerFailed",
    "ItemsBroken",
    "KeyRefused",
    "LayoutMismatch",
    "LinesLostWarning",
    "LogHomeGoneWarning",
    "LostUpdate",
    "MainGuardMissing",
    "ManagerGone",
    "NameClash",
    "NotHeld",
    "NotOwner",
    "OwnerDied",
    "OwnerDiedWarning",
    "QueueClosed",
    "RecordsDroppedWarning",
    "RemoteError",
    "ResultLost",
    "ResultTimeout",
    "RotationFailedWarning",
    "ShutDown",
    "TaskTimeout",
    "TasksDropped",
    "TasksDroppedWarning",
    "TasksLost",
    "TooManyProcesses",
    "UnknownArena",
    "UnsupportedPlatform",
    "WorkerDied",
    "explain",
    "make",
    "warn",
]


class _Coded(Exception):  # the common half of errors and warnings, never raised itself
    """Puts the code in front of the message and keeps the fields through pickling."""

    code: ClassVar[str] = ""

    def __init__(self, message: str = "", **fields: object) -> None:
        prefix = f"[{self.code}] "
        # Unpickling calls the class with the finished message: it must not get a second prefix.
        super().__init__(message if message.startswith(prefix) else prefix + message)
        for name, value in fields.items():
            setattr(self, name, value)


class HoldfastError(_Coded):
    """Mixed into every error of holdfast: ``except HoldfastError`` catches them all."""


class HoldfastWarning(_Coded, Warning):
    """Mixed into every warning of holdfast: one category for ``warnings.filterwarnings``."""


class _SystemTrouble(HoldfastError, OSError):
    """An ``OSError`` whose ``errno`` belongs to the class, so that nobody has to pass it."""

    _errno: ClassVar[int]

    def __init__(self, message: str = "", **fields: object) -> None:
        super().__init__(message, **fields)
        self.errno = self._errno
        self.strerror = str(self.args[0])

    def __str__(self) -> str:
        return str(self.args[0])  # without OSError's "[Errno 28]", so that the code stands first


# HF1xx: locks and the other primitives


class OwnerDied(HoldfastError, RuntimeError):
    """The holder of a lock died; raised instead of warned by ``Lock(on_owner_death="raise")``."""

    code = "HF101"
    lock: object = None
    pid: int | None = None
    where: str | None = None


class OwnerDiedWarning(HoldfastWarning, RuntimeWarning):
    """The holder of a lock died; the caller has the lock now, what it guards may be half changed."""

    code = "HF101"
    lock: object = None
    pid: int | None = None
    where: str | None = None


class ForeignRelease(HoldfastError, RuntimeError):
    """A strict lock was to be released by somebody who does not hold it; it stays held."""

    code = "HF102"
    lock: object = None
    holder: int | None = None


class ForeignReleaseWarning(HoldfastWarning, RuntimeWarning):
    """A lock was released by somebody who did not hold it, as the standard library allows."""

    code = "HF102"
    lock: object = None
    holder: int | None = None


class NotHeld(HoldfastError, ValueError, RuntimeError):
    """A lock or semaphore was released too many times: nobody holds it."""

    code = "HF103"


class HandleGone(HoldfastError, RuntimeError):
    """The shared object behind this handle was reclaimed, because nobody could reach it any more."""

    code = "HF104"


class ClosedError(HoldfastError, ValueError):
    """The object was closed by this process before this use."""

    code = "HF105"


class BadTimeout(HoldfastError, ValueError):
    """A timeout is negative, not a number, or too large for the clock."""

    code = "HF106"


class NotOwner(HoldfastError, AssertionError, RuntimeError):
    """An operation that only the holder may do was tried by somebody else."""

    code = "HF107"


class ForkedReleaseWarning(HoldfastWarning, RuntimeWarning):
    """A child forked inside a ``with lock:`` block left the block; the parent still holds the lock."""

    code = "HF108"


class BarrierBroken(HoldfastError, threading.BrokenBarrierError):
    """A party of the barrier died, timed out, or aborted it."""

    code = "HF109"


class LostUpdate(HoldfastError, RuntimeError):
    """A read-modify-write on a shared value would have overwritten somebody else's change."""

    code = "HF110"


class NameClash(HoldfastError, ValueError):
    """The name belongs to a shared object of another kind or with other parameters."""

    code = "HF111"


class BadArgument(HoldfastError, ValueError):
    """An argument has a value that the function cannot accept."""

    code = "HF112"


# HF2xx: queues. ``ShutDown`` (HF201) needs ``queue`` and is among the late ones.


class QueueClosed(HoldfastError, ValueError, OSError):
    """A queue was used after this process had closed it; the standard library raises both kinds for that."""

    code = "HF202"


class ItemsBroken(HoldfastError, RuntimeError):
    """Some items of a ``get_many`` could not be rebuilt; ``items`` has the others, ``errors`` what went wrong."""

    code = "HF203"
    items: list[Any]
    errors: list[BaseException]


class TasksLost(HoldfastError, RuntimeError):
    """A process was killed with tasks of a joinable queue, so that ``join()`` would wait for ever."""

    code = "HF204"
    pids: tuple[int, ...] = ()
    tasks: int = 0


# HF3xx: processes and pools (WorkerDied HF301 and ResultTimeout HF302 stand in _late_errors)


class ResultLost(HoldfastError, RuntimeError):
    """A process finished, but its result or exception could not be carried to the parent."""

    code = "HF303"


class TasksDropped(HoldfastError, RuntimeError):
    """A pool was terminated before this task had a result."""

    code = "HF304"


class TasksDroppedWarning(HoldfastWarning, RuntimeWarning):
    """The ``with`` block of a pool was left, which terminates it, while tasks had no result yet."""

    code = "HF304"
    tasks: int = 0


class TaskTimeout(HoldfastError, TimeoutError):
    """A task ran for longer than it may, and was stopped."""

    code = "HF305"
    task: int | None = None
    arguments: str = ""


class RemoteError(HoldfastError, RuntimeError):
    """Stands for an exception of a task that could not be carried over; its class has the name of the original's."""

    code = "HF306"
    original: str = ""
    text: str = ""
    why: str = ""


# HF4xx: pickling and what it carries


class UnknownArena(HoldfastError, RuntimeError):
    """A pickled handle belongs to an arena that does not exist on this machine any more."""

    code = "HF401"


# HF5xx: start-up and the machine


class ArenaFull(_SystemTrouble):
    """There is no room for more shared memory."""

    code = "HF501"
    _errno = errno.ENOSPC


class ArenaDirectory(_SystemTrouble, PermissionError):
    """The directory for shared memory cannot be written, or belongs to another user."""

    code = "HF502"
    _errno = errno.EACCES


class LayoutMismatch(HoldfastError, RuntimeError):
    """An arena was made by a release of holdfast that lays out memory differently."""

    code = "HF503"


class ArenaCorrupt(HoldfastError, RuntimeError):
    """An arena file was truncated or overwritten by something else."""

    code = "HF504"


class TooManyProcesses(_SystemTrouble):
    """No room for another process: the arena's table or the system's limit is full."""

    code = "HF505"
    _errno = errno.EAGAIN


class ForkWithThreadsWarning(HoldfastWarning, RuntimeWarning):
    """A fork happened while other threads were running; what they hold stays held in the child."""

    code = "HF506"


class UnsupportedPlatform(HoldfastError, ImportError):
    """This system lacks something that holdfast needs."""

    code = "HF507"


class BadCommand(HoldfastError, ValueError):
    """The command line of ``holdfast`` was not understood."""

    code = "HF508"


class MainGuardMissing(HoldfastError, RuntimeError):
    """The main module starts processes as it is imported, which each of them would do, too."""

    code = "HF509"


# HF8xx: logs and managers (ManagerGone HF805 and KeyRefused HF806 stand in _late_errors). The warnings are lines on
# standard error or in the log: a process that logs is not to be interrupted by them.


class LinesLostWarning(HoldfastWarning, RuntimeWarning):
    """A log file cannot be written, and lines are lost until it can."""

    code = "HF801"


class RotationFailedWarning(HoldfastWarning, RuntimeWarning):
    """A log file cannot be rotated, and grows on."""

    code = "HF802"


class LogHomeGoneWarning(HoldfastWarning, RuntimeWarning):
    """The process whose handlers got all records has ended; the others print theirs themselves."""

    code = "HF803"


class RecordsDroppedWarning(HoldfastWarning, RuntimeWarning):
    """Records were dropped, because the handlers were slower than what logged, and the log was set up to drop."""

    code = "HF804"


# What exists without the late modules, so that the way of a common error imports nothing.
_EARLY = [c for c in list(globals().values()) if isinstance(c, type) and issubclass(c, _Coded) and c.code]
_WARNINGS: dict[str, type[HoldfastWarning]] = {c.code: c for c in _EARLY if issubclass(c, HoldfastWarning)}
_ERRORS: dict[str, type[HoldfastError]] = {c.code: c for c in _EARLY if issubclass(c, HoldfastError)}
_LATE = ("InitializerFailed", "WorkerDied", "ResultTimeout", "ShutDown", "ManagerGone", "KeyRefused")


def __getattr__(name: str) -> Any:  # noqa: ANN401 - classes and a table
    """Make what is too dear for import time: the late classes, and the table that contains them."""
    if name not in _LATE and name != "CODES":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from holdfast import _late_errors  # noqa: PLC0415 - late on purpose, see the module's docstring

    late = {name: getattr(_late_errors, name) for name in _LATE}
    table = {**_WARNINGS, **_ERRORS, **{c.code: c for c in late.values()}}  # where a code has both, the error counts
    globals().update(late, CODES=dict(sorted(table.items())))
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def make(code: str, message: str, **fields: object) -> HoldfastError | HoldfastWarning:
    """Build the error of a code, ready to be raised.

    Args:
        code: such as ``"HF101"``.
        message: what happened; the code is put in front of it.
        fields: become attributes of the error (``pid=``, ``lock=``, ``where=`` ...).

    Returns:
        The instance; of a code that has only a warning, the warning.

    Raises:
        KeyError: there is no such code.

    Example:
        >>> str(make("HF103", "lock released too many times"))
        '[HF103] lock released too many times'
    """
    cls = _ERRORS.get(code) or _WARNINGS.get(code) or __getattr__("CODES")[code]
    return cls(message, **fields)


def warn(code: str, message: str, **fields: object) -> None:
    """Issue the warning of a code, at the line of the user that led to it.

    Args:
        code: such as ``"HF101"``.
        message: what happened; the code is put in front of it.
        fields: become attributes of the warning.

    Raises:
        KeyError: there is no warning with this code.
        HoldfastWarning: the user's filters turn this warning into an error.
    """
    warning = _WARNINGS[code](message, **fields)
    frame = _user_frame(sys._getframe().f_back)  # noqa: SLF001 - what `inspect` would do, without importing it
    if frame is None:  # called from a native thread: there is no line to show
        warnings.warn_explicit(warning, category=type(warning), filename="<holdfast>", lineno=0)
        return
    # Explicit rather than with a stacklevel: a level is counted without importlib's frames, and would miss the line.
    warnings.warn_explicit(
        warning,
        category=type(warning),
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


# Packages whose frames are passed over in search of the user's line.
_LIBRARY = frozenset({"holdfast", "multiprocessing", "concurrent", "threading", "contextlib"})


def _user_frame(innermost: FrameType | None) -> FrameType | None:
    """The nearest frame that is not a library's, else the innermost one."""
    frame = innermost
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _LIBRARY:
            return frame
        frame = frame.f_back
    return innermost


def explain(code: str) -> str:
    """Explain a code: what happened, why, what became of the rest, what to do next.

    Args:
        code: such as ``"HF101"``, in either case.

    Returns:
        A page of Markdown, the same as ``docs/errors/HF101.md``.

    Raises:
        BadArgument: there is no such code.

    Example:
        >>> explain("HF101").splitlines()[0]
        '# HF101: the holder of a lock died'
    """
    from holdfast._explanations import PAGES  # noqa: PLC0415 - long texts that only this function needs

    page = PAGES.get(code.strip().upper())
    if page is None:
        msg = f"there is no code {code!r}; known are {', '.join(PAGES)}"
        raise BadArgument(msg)
    return page
