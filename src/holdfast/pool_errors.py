"""Errors of a `Pool` that are the standard library's, too."""

from __future__ import annotations

from multiprocessing import pool as _std

from holdfast.errors import ResultLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["EncodingError", "RemoteTraceback"]

RemoteTraceback: type[Exception] = _std.RemoteTraceback  # type: ignore[attr-defined]


class EncodingError(ResultLost, _std.MaybeEncodingError):  # type: ignore[name-defined,misc]
    """A task finished, but its result could not be pickled; as the standard library's error of that name."""

    code = "HF303"

    def __init__(self, message: str = "", exc: str = "", value: str = "") -> None:
        ResultLost.__init__(self, message)
        self.exc, self.value = exc, value

    def __str__(self) -> str:
        return str(self.args[0])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return EncodingError, (self.args[0], self.exc, self.value)
