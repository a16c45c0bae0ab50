"""Pickling what goes to a worker and comes back, so that an object that cannot travel harms only its own task.

Plain values (numbers, texts, flat tuples of them) go as they are, many in one message. Everything else is sealed:
pickled by itself and opened by itself, so that what raises, exits or crashes in between belongs to one task. Big
buffers stay outside of the pickle and take the queue's short way.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
from multiprocessing.reduction import ForkingPickler
from types import BuiltinFunctionType, FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["PLAIN", "open_sealed", "packed", "seal", "seal_all", "seal_function", "unpacked"]

PLAIN = frozenset({bool, bytes, complex, float, int, str, type(None)})
_LEAST_BYTES = 16 << 10  # smaller buffers are as fast within the pickle
_KEPT_FUNCTIONS = 64
_WORTH_PACKING = 64  # numbers


class Sealed:
    """A pickle whose big buffers lie beside it.

    Args:
        body: the pickle.
        buffers: what it refers to.
    """

    __slots__ = ("body", "buffers")

    def __init__(self, body: bytes, *buffers: Any) -> None:  # noqa: ANN401 - anything with the buffer protocol
        self.body = body
        self.buffers = buffers

    def __len__(self) -> int:
        return len(self.body) + sum(memoryview(buffer).nbytes for buffer in self.buffers)

    def __reduce__(self) -> tuple[Any, ...]:
        return Sealed, (self.body, *self.buffers)


class _Sealer:
    """A pickler that is used again and again, one a thread."""

    def __init__(self) -> None:
        self.busy = False
        self._file = io.BytesIO()
        self._buffers: list[pickle.PickleBuffer] = []
        self._pickler: Any = ForkingPickler(self._file, 5, True, self._keep)

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < _LEAST_BYTES:
            return True
        self._buffers.append(buffer)
        return False

    def seal(self, obj: object) -> bytes | Sealed:
        file = self._file
        self.busy = True
        try:
            self._pickler.dump(obj)
            body = file.getvalue()
            return Sealed(body, *self._buffers) if self._buffers else body
        finally:
            self._pickler.clear_memo()
            self._buffers.clear()
            file.seek(0)
            file.truncate()
            self.busy = False


class _Local(threading.local):
    sealer: _Sealer | None = None


_local = _Local()


def seal(obj: object) -> bytes | Sealed:
    """Pickle an object by itself.

    Raises:
        BaseException: what its pickling raises.
    """
    sealer = _local.sealer
    if sealer is None or sealer.busy:  # busy: pickling one object pickles another one
        sealer = _Sealer()
        if _local.sealer is None:
            _local.sealer = sealer
    try:
        return sealer.seal(obj)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        sealed = _by_value(obj)
        if sealed is None:
            raise
        del error
        return sealed


def _by_value(obj: object) -> bytes | None:
    """Lambdas, closures and what a notebook defines: cloudpickle's work, where it is installed."""
    try:
        import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - optional
    except ImportError:
        return None
    file = io.BytesIO()
    try:
        pickler = cloudpickle.Pickler(file, 5)
        pickler.dispatch_table = pickler.dispatch_table.new_child(ForkingPickler._extra_reducers)  # type: ignore[attr-defined]  # noqa: SLF001
        pickler.dump(obj)
    except Exception:  # noqa: BLE001 - then the first error is the one to tell
        return None
    return file.getvalue()


def open_sealed(sealed: bytes | Sealed) -> Any:  # noqa: ANN401 - what was sealed
    """The object that was sealed.

    Raises:
        BaseException: what its unpickling raises.
    """
    if isinstance(sealed, bytes):
        return pickle.loads(sealed)  # noqa: S301 - our own process wrote it
    return pickle.loads(sealed.body, buffers=sealed.buffers)  # noqa: S301 - as above


def seal_all(values: Sequence[Any], most: int | None = None) -> tuple[list[Any], list[tuple[int, BaseException]]]:
    """Seal each value.

    Args:
        values: what to seal.
        most: bytes after which no further value is sealed.

    Returns:
        The sealed ones, None where that failed; and the failures, with their positions.
    """
    sealed: list[Any] = []
    failures: list[tuple[int, BaseException]] = []
    left = sys.maxsize if most is None else most
    for index, value in enumerate(values):
        try:
            one = seal(value)
        except BaseException as error:  # noqa: BLE001 - a user's __reduce__ may raise or exit
            sealed.append(None)
            failures.append((index, error))
            continue
        sealed.append(one)
        left -= len(one)
        if left <= 0:
            break
    return sealed, failures


def packed(values: Any) -> Any:  # noqa: ANN401 - a list or a range; beside those, bytes
    """Plain values as they travel: many numbers as bytes, which are made and read in a fraction of a pickle's time."""
    if type(values) is range or len(values) < _WORTH_PACKING:
        return values
    from holdfast import _core  # noqa: PLC0415 - cannot be loaded in a subinterpreter, which opens what is sealed

    found = _core._pack(values)  # noqa: SLF001 - the core's half of this
    return values if found is None else found


def unpacked(values: Any) -> list[Any]:  # noqa: ANN401 - what travelled
    """The list that was `packed`, or that a range stands for."""
    if type(values) is bytes:
        return memoryview(values).cast("q").tolist()
    return values if type(values) is list else list(values)


_functions: dict[Any, bytes] = {}


def seal_function(function: Callable[..., Any]) -> tuple[bytes | Sealed, bool]:
    """Seal what the workers shall call.

    Returns:
        The pickle; and whether it is a mere reference, so that a worker needs to open it only once.

    Raises:
        BaseException: what its pickling raises.
    """
    if type(function) not in (FunctionType, BuiltinFunctionType, type):
        return seal(function), False
    known = _functions.get(function)
    if known is not None:
        return known, True
    if function.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        by_value = _by_value(function)  # a notebook: workers cannot import it
        if by_value is not None:
            return by_value, False
    body = seal(function)
    if isinstance(body, bytes) and len(body) < 256 and "<" not in function.__qualname__:  # noqa: PLR2004 - a name
        if len(_functions) >= _KEPT_FUNCTIONS:
            _functions.clear()
        _functions[function] = body
        return body, True
    return body, False
