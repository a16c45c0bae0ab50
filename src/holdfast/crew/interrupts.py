"""Keeping a Ctrl-C out of what must not stop half-way: a process started but not watched, a pool nobody knows of.

``KeyboardInterrupt`` is raised in the main thread between any two bytecodes, whatever that thread's signal mask, since
another thread may take the signal. Here it waits; it is raised when the block ends.
"""

from __future__ import annotations

import signal
import threading
from _signal import getsignal  # type: ignore[import-not-found]  # the module around it makes an enumeration of what it returns, which takes longer
from _signal import signal as set_handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

__all__ = ["HeldBack"]

_SIGINT = int(signal.SIGINT)


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
