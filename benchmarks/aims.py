"""What a table is made of: a scenario, its anchor, and what is aimed for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEST = "the best rival"
NO_RIVALS = ("holdfast", "limit", "threads")  # how names begin that are not looked at for it


@dataclass(frozen=True)
class Aim:
    """A promise: the ratio of ``who`` to ``versus`` (or the figure itself) is at most or at least ``bound``.

    ``BEST`` is whichever rival has the best median: the highest where a promise says at least, else the lowest.
    """

    who: str
    versus: str | None
    sign: str
    bound: float

    def met(self, medians: dict[str, float]) -> tuple[float, bool] | None:
        """Return the ratio and whether it meets the bound; None where something is missing."""
        versus = self.named(medians)
        if self.who not in medians or (versus is not None and versus not in medians):
            return None
        ratio = medians[self.who] / (medians[versus] if versus is not None else 1)
        return ratio, ratio <= self.bound if self.sign == "<=" else ratio >= self.bound

    def named(self, medians: dict[str, float]) -> str | None:
        """Return who it is against, by name."""
        rivals = [who for who in medians if not who.startswith(NO_RIVALS)]
        if self.versus != BEST or not rivals:
            return self.versus
        return min(rivals, key=lambda who: medians[who] if self.sign == "<=" else -medians[who])


@dataclass(frozen=True)
class Scenario:
    """One table: how to measure it, in which unit, which direction is better, against whom, and what is aimed for."""

    measure: Callable[[], Iterator[tuple[str, float]]]
    unit: str
    anchor: str
    aims: tuple[Aim, ...]
    higher: bool = False
