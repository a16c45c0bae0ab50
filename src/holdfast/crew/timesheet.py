"""Where a worker's time goes: sums in its ledger, which the parent reads at any time and after its death.

A worker is always in one phase. Entering the next one adds the time since the last change to the sum of the phase that
ends, which costs a look at the clock and a store or two. Words of the ledger::

    NOW    when the present phase began, in ns of the system's monotonic clock, times eight, plus the phase
    SUMS   one word a phase: ns spent in it, without the present one
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["ENDED", "SENDING", "STARTING", "WAITING", "WORDS", "WORKING", "begin", "keep", "read"]

WORDS = 16  # of the ledger
NOW, SUMS = 8, 9
STARTING, WAITING, WORKING, SENDING, ENDED = _PHASES = range(5)
_SHOWN = 4  # phases whose time is of interest


def keep(words: Any) -> Callable[[int], int]:  # noqa: ANN401 - a memory view, or a list
    """Keep a timesheet, in the worker.

    Args:
        words: of its ledger, in which `begin` has noted the start.

    Returns:
        A function to call with the phase that begins; it returns the nanoseconds that the last one took. A closure,
        since it is called several times for each message.
    """
    clock = time.monotonic_ns
    since, phase = divmod(words[NOW], 8)
    sums = [0] * len(_PHASES)

    def enter(following: int) -> int:
        nonlocal since, phase
        now = clock()
        spent: int = now - since
        sums[phase] = total = sums[phase] + spent
        words[phase + 9] = total  # SUMS and NOW as numbers: constants are faster than names
        words[8] = now * 8 + following
        since, phase = now, following
        return spent

    return enter


def begin(words: Any) -> None:  # noqa: ANN401 - as above
    """Note, in the parent, that a worker is about to be started."""
    words[NOW] = time.monotonic_ns() << 3 | STARTING


def read(words: Sequence[int], now: int) -> tuple[float, ...]:
    """The seconds of each phase but the last.

    Args:
        words: of a ledger, or a copy of them.
        now: until when the present phase counts, in ns of the monotonic clock.
    """
    sums = list(words[SUMS : SUMS + _SHOWN])
    since, phase = divmod(words[NOW], 8)
    if since and phase < _SHOWN:
        sums[phase] += max(0, now - since)
    return tuple(each / 1e9 for each in sums)
