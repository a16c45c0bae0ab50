"""What an executor needs once it is made; programs, and children, that only name the class do without."""

from __future__ import annotations

import os
import sys
import time
import weakref
from itertools import islice
from multiprocessing import TimeoutError as _Timeout

from holdfast.crew import TERMINATED
from holdfast.crew.crew import Crew, before_exit
from holdfast.crew.interrupts import HeldBack
from holdfast.crew.trades import Trades
from holdfast.futures import TaskFuture
from holdfast.pool_results import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["Crew", "HeldBack", "Results", "Trades", "is_exiting", "keep", "results"]

_crews: weakref.WeakSet[Crew] = weakref.WeakSet()
_exiting = False


def is_exiting() -> bool:
    """Whether the program is at its end."""
    return _exiting


def keep(crew: Crew, owner: object) -> weakref.finalize[..., Any]:
    """Have a crew finish what it accepted when its executor is dropped, and before the program ends.

    Args:
        crew: which.
        owner: the executor.

    Returns:
        What waits for the executor to be dropped.
    """
    _crews.add(crew)
    finalizer = weakref.finalize(owner, _dropped, crew)
    finalizer.atexit = False
    return finalizer


def _dropped(crew: Crew) -> None:
    crew.later(crew.close)


def _at_exit() -> None:
    """Finish what was accepted, as the standard library does; after a Ctrl-C, end at once."""
    global _exiting  # noqa: PLW0603 - there is one interpreter
    _exiting = True
    crews = [crew for crew in _crews if crew.pid == os.getpid() and crew.state != TERMINATED]  # forks have ours, too
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    for crew in crews:
        if interrupted:  # from the keyboard: nobody wants to wait for what runs
            crew.terminate()
        else:
            crew.close()
    for crew in crews:
        crew.join()


before_exit(_at_exit)


class Results(Stream):
    """The job of `ProcessExecutor.map`."""

    pulled = True
    error_of = staticmethod(TaskFuture.error_of)


def results(crew: Crew, job: Stream, rounds: Iterator[Any], given: int, end: float | None) -> Iterator[Any]:
    """The results of `ProcessExecutor.map`, after a first item to begin with; each takes another round of arguments.

    It has to be begun: else what is at its end would not be done when it is dropped.

    Args:
        crew: who works.
        job: what was submitted.
        rounds: the arguments that are left.
        given: how many were given.
        end: when results must be there, by ``time.monotonic()``.

    Raises:
        TimeoutError: a result did not come in time.
        RuntimeError: there is another round, and the executor was shut down.
        BaseException: what a call raised, or how its worker died.
    """
    coming = not job.ended
    try:
        yield None
        while True:
            try:
                run = job.take(None if end is None else max(0.0, end - time.monotonic()))
            except StopIteration:
                return
            except _Timeout:
                raise TimeoutError from None
            values = run.values
            values.reverse()
            for place in range(len(values)):
                if coming:
                    more = list(islice(rounds, 1))
                    given += len(more)
                    if not more:
                        coming = False
                        job.tell_total(given)
                    crew.feed(job, more, credit=None, ended=not more)
                if place in run.failed:
                    raise values.pop()
                yield values.pop()  # and keep nothing of it
    finally:
        crew.abandon(job)
