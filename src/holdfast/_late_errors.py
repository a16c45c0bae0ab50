"""The errors whose standard base classes are slow to import; ask ``holdfast.errors`` for them."""

from __future__ import annotations

import queue
from concurrent.futures import BrokenExecutor
from multiprocessing import AuthenticationError
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
    task: int | None = None
    arguments: str = ""


class InitializerFailed(HoldfastError, BrokenExecutor):
    """The initializer of an executor's workers raised, so that no task can be run."""

    __module__ = "holdfast.errors"
    code = "HF307"


class ResultTimeout(HoldfastError, MultiprocessingTimeout, TimeoutError):
    """A result did not arrive within the timeout; the process is still working on it."""

    __module__ = "holdfast.errors"
    code = "HF302"


class ShutDown(HoldfastError, getattr(queue, "ShutDown", Exception)):  # type: ignore[misc]  # since Python 3.13
    """A queue was shut down: nothing more can be put, or nothing more will come."""

    __module__ = "holdfast.errors"
    code = "HF201"


class ManagerGone(
    HoldfastError,
    ConnectionRefusedError,
    ConnectionResetError,
    BrokenPipeError,
    FileNotFoundError,
    EOFError,
):
    """The server of a manager has ended, or is not there: what its proxies stand for is lost.

    The standard library raises any of the base classes for that, depending on the moment.
    """

    __module__ = "holdfast.errors"
    code = "HF805"
    address: object = None


class KeyRefused(HoldfastError, AuthenticationError):
    """The two sides of a connection to a manager have different keys (``authkey``)."""

    __module__ = "holdfast.errors"
    code = "HF806"
    address: object = None
