"""Where a worker's time goes: sums in its ledger, which the parent reads at any time and after its death.

A worker is always in one phase. Entering the next one adds the time since the last change to the sum of the phase that
ends, which costs a look at the clock and a store or two. Words of the ledger::

    NOW    when the present phase began, in ns of the system's monotonic clock, times eight, plus the phase
    SUMS   one word a phase: ns spent in it, without the present one
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ENDED", "SENDING", "STARTING", "WAITING", "WORDS", "WORKING", "Timesheet", "begin", "read"]

WORDS = 16  # of the ledger
NOW, SUMS = 8, 9
STARTING, WAITING, WORKING, SENDING, ENDED = range(5)
_SHOWN = 4  # phases whose time is of interest


class Timesheet:
    """The worker's side.

    Args:
        words: of its ledger, in which `begin` has noted the start.
    """

    __slots__ = ("_phase", "_since", "_words")

    def __init__(self, words: Any) -> None:  # noqa: ANN401 - a memory view, or a list
        self._words = words
        self._since, self._phase = divmod(words[NOW], 8)

    def enter(self, phase: int, clock: Any = time.monotonic_ns) -> float:  # noqa: ANN401 - a default is a fast name
        """Begin another phase.

        Returns:
            Seconds that the last one took.
        """
        words, now = self._words, clock()
        spent: int = now - self._since
        words[SUMS + self._phase] += spent
        words[NOW] = now << 3 | phase
        self._since, self._phase = now, phase
        return spent / 1e9


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
