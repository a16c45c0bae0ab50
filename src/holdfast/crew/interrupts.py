"""Keeping a Ctrl-C out of what must not stop half-way: a process started but not watched, a pool nobody knows of.

``KeyboardInterrupt`` is raised in the main thread between any two bytecodes, whatever that thread's signal mask, since
another thread may take the signal. Here it waits; it is raised when the block ends.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["held_back"]


@contextmanager
def held_back() -> Iterator[None]:
    """Let an interrupt from the keyboard wait until the block ends; for blocks of milliseconds.

    Raises:
        KeyboardInterrupt: one came meanwhile (or whatever else the program's handler raises).
    """
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])
