"""Functions as crews take them, sealed once."""

from __future__ import annotations

from holdfast.crew import cargo
from holdfast.crew.plan import Trade

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Trades", "Unsealed", "name_of"]

_KEPT = 64


def name_of(function: object) -> str:
    """What a function is called in messages."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))


class Trades:
    """A trade for each function of one front; kept where a function's pickle is a mere reference to it.

    Args:
        timeout: seconds that a task may run.
        retries: how often a task that failed is run again.
    """

    def __init__(self, timeout: float | None = None, retries: int = 0) -> None:
        self._timeout, self._retries = timeout, retries
        self._kept: dict[int, tuple[Any, Trade]] = {}  # by id, with the function, so that the id stays its own

    def get(self, function: Callable[..., Any]) -> Trade | BaseException:
        """The trade of a function; or the exception that its pickling raised, which is the result of every call."""
        known = self._kept.get(id(function))
        if known is not None:
            return known[1]
        try:
            body, reference = cargo.seal_function(function)
        except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
            return error
        trade = Trade(body, reference, name_of(function), self._timeout, self._retries)
        if reference:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[id(function)] = function, trade
        return trade


class Unsealed(Trades):
    """Trades of a crew that shares memory with its callers."""

    def get(self, function: Callable[..., Any]) -> Trade:
        """The trade of a function, which stays what it is."""
        return Trade(function, True, name_of(function))
