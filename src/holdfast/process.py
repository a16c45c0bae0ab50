"""Processes: the standard library's contract, plus `BaseProcess.result`.

A process that is a daemon, or a worker of an executor, ends with its parent, whatever ends that (``lifeline``); what
it returned or raised comes back to the parent (``outcome``); how both get into the child stands in ``boarding``.

States of a result: not started (AssertionError) ─start()▶ running (waits, ResultTimeout) ─ends▶ one of: the value;
the exception; lost on the way (ResultLost); nothing left behind (None after exit code 0, else WorkerDied).
"""

from __future__ import annotations

import signal
from multiprocessing import process as _std

from holdfast import boarding

TYPE_CHECKING = False  # importing typing would make the start of every child milliseconds longer
if TYPE_CHECKING:
    from multiprocessing.process import active_children, current_process, parent_process
    from typing import Any

    from holdfast.popen import Reporting

__all__ = ["BaseProcess", "active_children", "current_process", "parent_process"]


class BaseProcess(_std.BaseProcess):
    """What processes of all start methods have in common."""

    _keeps_outcome = True
    _popen: Reporting | None

    def run(self) -> Any:  # noqa: ANN401 - whatever the user's function returns
        """Do the work, in the child; may be overridden, and what it returns is the `result`."""
        if self._target:  # type: ignore[attr-defined]
            return self._target(*self._args, **self._kwargs)  # type: ignore[attr-defined]
        return None

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - as run()
        """Wait for the process to end and get what its ``run()`` (or target) returned.

        Args:
            timeout: seconds to wait at most; without it, as long as it takes.

        Returns:
            The value. None also if ``run()`` was left by ``sys.exit(0)``.

        Raises:
            BaseException: what ``run()`` raised, with the remote traceback as its ``__cause__``.
            WorkerDied: the process was killed, or ended with an exit code, before it returned.
            ResultTimeout: the process still runs after `timeout` seconds.
            ResultLost: the value or the exception could not be pickled there or rebuilt here, or the process ended with
                exit code 0 without leaving any (``os._exit``, ``exec``, a closed descriptor).
            BadTimeout: the timeout is negative or not a number.
            AssertionError: the process was not started, or not by this process.
            ValueError: the process object is closed.

        Example:
            >>> import holdfast
            >>> process = holdfast.Process(target=pow, args=(2, 10))
            >>> process.start()
            >>> process.result(timeout=10)
            1024
        """
        if timeout is not None and not timeout >= 0:
            raise _error(106, f"timeout must be a number of seconds, zero or more, not {timeout!r}")
        self.join(timeout)
        popen = self._popen
        assert popen is not None  # noqa: S101 - join() has seen to it
        code = popen.poll()
        if code is None:
            raise _error(302, f"{self.name} (pid {popen.pid}) still runs after {timeout} seconds")
        account = popen.account()
        if account is None:
            if code != 0:
                raise self._death(popen.pid, code)
            how = "os._exit or exec was called, or its descriptors were closed"
            raise _error(303, f"{self.name} (pid {popen.pid}) ended with exit code 0 and left no result: {how}")
        if account.lost is not None:
            raise _error(303, f"{self.name} (pid {popen.pid}) finished, but {account.lost}")
        if account.error is not None:
            raise account.error.with_traceback(None)
        return account.value

    def _death(self, pid: int, code: int) -> BaseException:
        name = _signal_name(-code) if code < 0 else None
        how = f"was killed by {name}" if name else f"ended with exit code {code}"
        message = f"{self.name} (pid {pid}) {how} before it returned a result"
        return _error(301, message, pid=pid, exitcode=code, signal=name)

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        return boarding.live(self, super()._bootstrap, parent_sentinel)  # type: ignore[misc]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _error(number: int, message: str, **fields: object) -> BaseException:
    from holdfast import errors  # noqa: PLC0415 - only where something failed

    return errors.make(f"HF{number}", message, **fields)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes
    """Everything else is the standard library's, and its state is shared with it."""
    return getattr(_std, name)
