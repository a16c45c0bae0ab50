"""What runs inside an interpreter of `holdfast.map`: opens tasks, runs them, and packs what becomes of them.

Only pure Python is imported here, for the compiled core does not load in any interpreter but the main one.
"""

import os
import pickle
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["begin", "serve"]

_state: "dict[str, Any]" = {}


def begin(payload: bytes, fd: int) -> None:
    """Take over the program's paths and ``__main__``, open the function, call the initializer.

    Args:
        payload: a pickle of the path of the main program's file (or None) and the pickles of function and initializer.
        fd: where results are written.
    """
    try:
        main, function, initializer, call = pickle.loads(payload)  # noqa: S301 - our own interpreter wrote it
        if main is not None:
            _run_main(main)
        _state["function"], _state["call"] = pickle.loads(function), call  # noqa: S301 - as above
        if initializer is not None:
            start, args = pickle.loads(initializer)  # noqa: S301 - as above
            start(*args)
    except BaseException as error:  # noqa: BLE001 - the user's
        _write(fd, [(False, _told(error))])
    else:
        _write(fd, [])


def serve(payload: bytes, fd: int) -> None:
    """Run tasks.

    Args:
        payload: the pickles of their arguments, pickled.
        fd: where what becomes of them is written: for each its success, and the result's pickle or what is told of
            the failure.
    """
    function, call = _state["function"], _state["call"]
    found: list[tuple[bool, Any]] = []
    for body in pickle.loads(payload):  # noqa: S301 - our own interpreter wrote it
        try:
            value = pickle.loads(body)  # noqa: S301 - as above
            found.append((True, _pickled(function(*value) if call else function(value))))
        except BaseException as error:  # noqa: BLE001 - the user's
            found.append((False, _told(error)))
    _write(fd, found)


def _run_main(path: str) -> None:
    """Make the main program's functions and classes known, as a spawned process does."""
    import runpy  # noqa: PLC0415 - not needed for what modules define
    from types import ModuleType  # noqa: PLC0415 - as above

    module = ModuleType("__mp_main__")
    module.__dict__.update(runpy.run_path(path, run_name="__mp_main__"))
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _pickled(value: object) -> bytes:
    try:
        return pickle.dumps(value, 5)
    except (pickle.PicklingError, AttributeError, TypeError):
        try:
            import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - optional
        except ImportError:
            cloudpickle = None
        if cloudpickle is None:
            raise
        body: bytes = cloudpickle.dumps(value, 5)
        return body


def _told(error: BaseException) -> "tuple[bytes | None, str, str, str]":
    """An exception's pickle if it can be rebuilt, its type's name, its text, its traceback."""
    import traceback  # noqa: PLC0415 - only where something failed

    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_globals.get("__name__") == __name__:
        tb = tb.tb_next
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        text = "(its text cannot be shown)"
    body = None
    try:
        body = _pickled(error)
        if not isinstance(pickle.loads(body), BaseException):  # noqa: S301 - written a line above
            body = None
    except BaseException:  # noqa: BLE001 - a user's __reduce__ may raise or exit
        body = None
    return body, name, text, "".join(traceback.format_exception(kind, error, tb))


def _write(fd: int, found: "list[tuple[bool, Any]]") -> None:
    body = memoryview(pickle.dumps(found, 5))
    os.ftruncate(fd, 0)
    offset = 0
    while offset < len(body):
        offset += os.pwrite(fd, body[offset:], offset)
