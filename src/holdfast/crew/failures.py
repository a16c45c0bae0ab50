"""From what a worker told of a failed task to the exception that the caller gets.

The exception is the original one where it can be rebuilt, else a stand-in of the same name. Its cause shows the
worker's traceback, the user's frames first, and a note names the task.
"""

from __future__ import annotations

from holdfast._records import NamedTuple
from holdfast.crew import cargo, worker
from holdfast.outcome import RemoteTraceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from holdfast.errors import RemoteError, ResultLost

__all__ = ["Marks", "Told", "note", "opened", "rebuilt"]


_MAIN = ("on <module '__main__'", "on <module '__mp_main__'")
_NOT_THERE = """holdfast: workers that were forked have the program as it was then. Others import its main module, if \
that is a file or a module of a package (no __main__.py, command line or prompt), without what is below its main \
guard. Put what tasks use into a module of its own."""


class Told(NamedTuple):
    """A worker's `Failure`, with what the parent knows of the task: name, number, arguments, the worker's pid."""

    body: bytes | None
    name: str
    text: str
    traceback: str
    lost: str = ""
    shown: str = ""
    unopened: bool = False
    function: str = ""
    task: int = 0
    arguments: str = ""
    pid: int = 0


class Marks(bytes):
    """The marks of a message of results, which know whose results those are.

    Attributes:
        name_task: puts into what is told of a task, whose number is given, its name, arguments and worker.
    """

    name_task: Callable[[int, Told], Told]


def rebuilt(
    told: Told, cause: type[Exception] = RemoteTraceback, unopened: type[RemoteError] | None = None
) -> BaseException:
    """The exception of a failed task.

    Args:
        told: what is known.
        cause: the class that shows the remote traceback.
        unopened: the kind of the error where arguments could not be rebuilt; by default it is what they raised.
    """
    if unopened is not None and told.unopened:
        error: BaseException = stand_in(told.name, told.text, "raised as the task's arguments were rebuilt", unopened)
    else:
        error = _original(told)
    if told.function:
        note(error, f"holdfast: task {told.task}, {told.function}{told.arguments}, in worker process {told.pid}")
    if told.name == "AttributeError" and _is_of_main(told.text):
        note(error, _NOT_THERE)
    BaseException.__setattr__(error, "__cause__", cause(f'\n"""\n{told.traceback}"""'))  # as in note
    return error


def _is_of_main(text: str) -> bool:
    """Whether an error says that unpickling did not find something in the program's main module."""
    return text.startswith("Can't get attribute ") and any(name in text for name in _MAIN)


def note(error: BaseException, text: str) -> None:
    """Add a note to a user's exception, whose class may forbid that attributes are set (a frozen dataclass)."""
    BaseException.__setattr__(error, "__notes__", [*getattr(error, "__notes__", ()), text])


def _original(told: Told) -> BaseException:
    if told.body is not None:
        try:
            error = cargo.open_sealed(told.body)
        except BaseException as why:  # noqa: BLE001 - a user's __setstate__ may raise anything
            return stand_in(told.name, told.text, f"it cannot be rebuilt here: {type(why).__name__}: {why}")
        if isinstance(error, BaseException):
            return error
    return stand_in(told.name, told.text, "it could not be pickled, or not be rebuilt")


def stand_in(name: str, text: str, why: str = "", base: type[RemoteError] | None = None) -> RemoteError:
    """An exception of a class with the same name as one that cannot travel; `base`: of what kind it is."""
    from holdfast.errors import RemoteError  # noqa: PLC0415 - only where something failed

    short = name.rpartition(".")[2]
    kind = type(short, (base or RemoteError,), {"__module__": "holdfast.errors", "__reduce__": _reduced})
    error: RemoteError = kind(f"{name}: {text} (a stand-in for the original exception: {why})")
    error.original, error.text, error.why = name, text, why
    return error


def _reduced(error: RemoteError) -> tuple[Any, ...]:
    return stand_in, (error.original, error.text, error.why, type(error).__base__)


def lost(told: Told, kind: type[ResultLost] | None = None) -> BaseException:
    """The error, of a class of its own if one is given, for a task whose result cannot be carried over."""
    from holdfast import errors  # noqa: PLC0415 - only where something failed

    where = f" in worker process {told.pid}" if told.pid else ""
    message = f"task {told.task}, {told.function}{told.arguments}, finished{where}, but {told.lost}"
    error = (kind or errors.ResultLost)(message)
    error.__cause__ = RemoteTraceback(f'\n"""\n{told.traceback}"""')
    return error


def opened(start: int, marks: bytes, values: list[Any]) -> Iterator[tuple[int, int, Any]]:
    """Open what has arrived.

    Yields:
        The task's number, a mark (`worker.PLAIN` or `worker.FAILED`), and the result or what is told of the failure.
    """
    for index, (mark, value) in enumerate(zip(marks, values, strict=True), start):
        if mark == worker.PLAIN:
            yield index, mark, value
        elif mark == worker.SEALED:
            try:
                result = cargo.open_sealed(value)
            except BaseException as error:  # noqa: BLE001 - a user's __setstate__ may raise or exit
                why = f"its result cannot be rebuilt here: {type(error).__name__}: {error}"
                import traceback  # noqa: PLC0415 - as above

                text = "".join(traceback.format_exception(error))
                told = Told(None, type(error).__name__, str(error), text, why, "", False, "task", index)
                yield index, worker.FAILED, marks.name_task(index, told) if isinstance(marks, Marks) else told
                continue
            yield index, worker.PLAIN, result
        elif mark == worker.FAILED:
            yield index, mark, value


__all__ += ["lost", "stand_in"]
