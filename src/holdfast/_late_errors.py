"""The errors whose standard base classes are slow to import; ask ``holdfast.errors`` for them."""

from __future__ import annotations

import queue
from concurrent.futures import BrokenExecutor
from multiprocessing import TimeoutError as MultiprocessingTimeout

from holdfast.errors import HoldfastError


class WorkerDied(HoldfastError, BrokenExecutor):
    """A process ended before it could deliver its result.

    ``exitcode`` is as in ``multiprocessing`` (negative for a signal), ``signal`` the signal's name or None.
    """

    __module__ = "holdfast.errors"  # its public home: shown in tracebacks, and where pickle finds it
    code = "HF301"
    pid: int | None = None
    exitcode: int | None = None
    signal: str | None = None


class ResultTimeout(HoldfastError, MultiprocessingTimeout, TimeoutError):
    """A result did not arrive within the timeout; the process is still working on it."""

    __module__ = "holdfast.errors"
    code = "HF302"


class ShutDown(HoldfastError, getattr(queue, "ShutDown", Exception)):  # type: ignore[misc]  # since Python 3.13
    """A queue was shut down: nothing more can be put, or nothing more will come."""

    __module__ = "holdfast.errors"
    code = "HF201"
