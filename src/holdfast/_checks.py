"""What numbers among arguments must be."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["number", "seconds", "whole"]


def whole(name: str, value: Any) -> int:  # noqa: ANN401 - whatever was given
    """A whole number.

    Raises:
        TypeError: it is none.
    """
    try:
        found: int = value.__index__()
    except (AttributeError, TypeError):  # the second: a class of numbers was given
        message = f"{name} must be a whole number, not {value!r}"
        raise TypeError(message) from None
    return found


def number(name: str, value: Any, least: int) -> int:  # noqa: ANN401 - whatever was given
    """A whole number of at least that.

    Raises:
        TypeError, ValueError: it is none.
    """
    found = whole(name, value)
    if found < least:
        message = f"{name} must be at least {least}, not {found}"
        raise ValueError(message)
    return found


def seconds(value: Any) -> float:  # noqa: ANN401 - whatever was given
    """A time limit of a task.

    Raises:
        TypeError, ValueError: it is not a number, or not a finite one above 0.
    """
    if isinstance(value, (str, bytes, bytearray)) or not hasattr(value, "__float__"):
        message = f"timeout must be a number of seconds, not {value!r}"
        raise TypeError(message)
    found = float(value)
    if not found > 0 or math.isinf(found):
        message = f"timeout must be a number of seconds above 0, not {value!r}"
        raise ValueError(message)
    return found
