"""What a table is made of: a scenario, its anchor, and what is aimed for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Aim:
    """A promise: the ratio of ``who`` to ``versus`` (or the figure itself) is at most or at least ``bound``."""

    who: str
    versus: str | None
    sign: str
    bound: float

    def met(self, medians: dict[str, float]) -> tuple[float, bool] | None:
        """Return the ratio and whether it meets the bound; None where something is missing."""
        if self.who not in medians or (self.versus is not None and self.versus not in medians):
            return None
        ratio = medians[self.who] / (medians[self.versus] if self.versus is not None else 1)
        return ratio, ratio <= self.bound if self.sign == "<=" else ratio >= self.bound


@dataclass(frozen=True)
class Scenario:
    """One table: how to measure it, in which unit, which direction is better, against whom, and what is aimed for."""

    measure: Callable[[], Iterator[tuple[str, float]]]
    unit: str
    anchor: str
    aims: tuple[Aim, ...]
    higher: bool = False
