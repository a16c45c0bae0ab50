"""What a program without a main guard is told: one line, with the fix.

A child that does not share memory imports the main module. Without ``if __name__ == "__main__":`` it gets to the line
that started it, and would start children of its own. That is refused here, where the standard library raises an error
that each child prints in full, and where its pools start such children for ever::

    parent ──starts──▶ child: imports the main module ──reaches the same line──▶ MainGuardMissing
      a Process: the child prints the one line, and its result is that error
      a worker of a pool: the child says nothing and ends with `EXIT`; every call of the pool raises that error
"""

from __future__ import annotations

import os
import sys
from functools import partial
from multiprocessing import process

TYPE_CHECKING = False  # importing typing would make the start of every child milliseconds longer
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any

    from holdfast.errors import MainGuardMissing

__all__ = ["EXIT", "check", "missing", "set_start_method"]

EXIT = 251  # the exit code of such a worker
_MAIN = "__mp_main__"  # what the main module is called while a child imports it


def check() -> None:
    """See that this process is not importing the main module for its parent.

    Raises:
        MainGuardMissing: it is. If nobody catches that, one line is printed instead of a traceback.
    """
    if not getattr(process.current_process(), "_inheriting", False):
        return
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - CPython's
    while frame is not None and frame.f_globals.get("__name__") != _MAIN:
        frame = frame.f_back
    error = missing() if frame is None else missing(frame.f_code.co_filename, frame.f_lineno)
    sys.excepthook = partial(_tell, error, sys.excepthook)
    raise error


def missing(file: str | None = None, line: int | None = None) -> MainGuardMissing:
    """The error.

    Args:
        file: the main module's; by default that of this process.
        line: the one that starts processes, if it is known.
    """
    from holdfast.errors import MainGuardMissing  # noqa: PLC0415 - only where something is wrong

    name = file or getattr(sys.modules.get("__main__"), "__file__", None) or "the main module"
    place = name if line is None else f"{name}, line {line}"
    return MainGuardMissing(
        f"{place}: every child imports this file and would start children of its own; "
        'put what is to run once under  if __name__ == "__main__":'
    )


def _tell(
    error: BaseException,
    before: Callable[..., Any],
    kind: type[BaseException],
    value: BaseException,
    tb: TracebackType | None,
) -> None:
    """In place of ``sys.excepthook``."""
    if value is not error:
        before(kind, value, tb)
        return
    from holdfast.boarding import launch  # noqa: PLC0415 - boarding needs much of holdfast

    sys.stdout.flush()
    if launch.leaves_interrupts:
        os._exit(EXIT)
    sys.stderr.write(f"{error}\n")
    if launch.outcome is not None:
        launch.outcome.put_error(error, f"{kind.__name__}: {error}\n")


def set_start_method(context: Any, method: str | None, force: bool) -> None:  # noqa: ANN401 - the default context
    """Choose the start method, as the standard library does.

    Raises:
        MainGuardMissing: a child does so while it imports the main module.
        RuntimeError: it was chosen before, and `force` is false.
        ValueError: there is no such start method here.
    """
    if context._actual_context is not None and not force:  # noqa: SLF001 - what is replaced
        check()
        message = "context has already been set"
        raise RuntimeError(message)
    context._actual_context = None if method is None and force else context.get_context(method)  # noqa: SLF001 - as above
