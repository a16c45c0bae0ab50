"""A Ctrl-C that neither stops half-way what must not, nor is lost.

Must not: a process started but not watched, a pool nobody knows of.

``KeyboardInterrupt`` is raised in the main thread between any two bytecodes, whatever that thread's signal mask, since
another thread may take the signal. Here it waits; it is raised when the block ends.
"""

from __future__ import annotations

import signal
import sys
import threading
from _signal import getsignal  # type: ignore[import-not-found]  # the module around it makes an enumeration of what it returns, which takes longer
from _signal import signal as set_handler

from holdfast import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

__all__ = ["HeldBack", "rescue"]

_SIGINT = int(signal.SIGINT)

_hook: Any = None


def rescue() -> None:
    """Have interrupts that hit a finalizer or the callback of a weak reference raised in what runs below it.

    CPython prints those and goes on. The work of a pool drops objects all the time, so that one in some hundred
    interrupts would be lost.
    """
    global _hook  # noqa: PLW0603 - there is one in a process
    before: Any = sys.unraisablehook  # None: the interpreter prints by itself, which is not for a finalizer's sake
    if before is not None and before is not _hook:
        _hook = sys.unraisablehook = _core._rescue_interrupts(before)  # noqa: SLF001 - of this package


class HeldBack:
    """Lets an interrupt from the keyboard wait until the block ends; for blocks of milliseconds.

    Raises:
        KeyboardInterrupt: one came meanwhile (or whatever else the program's handler raises).
    """

    __slots__ = ("_came", "_handler")

    def __init__(self) -> None:
        self._came: list[tuple[int, Any]] = []
        self._handler: Any = None

    def __enter__(self) -> None:
        if threading.get_ident() == threading.main_thread().ident:
            handler = getsignal(_SIGINT)
            if callable(handler):
                self._handler = handler
                set_handler(_SIGINT, self._note)

    def _note(self, number: int, frame: Any) -> None:  # noqa: ANN401 - as signal handlers get it
        self._came.append((number, frame))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        handler = self._handler
        if handler is not None:
            set_handler(_SIGINT, handler)
            if self._came:
                handler(*self._came[0])
