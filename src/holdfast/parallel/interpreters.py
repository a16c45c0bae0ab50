"""Runners of `holdfast.map` that have an interpreter of their own, with a GIL of its own.

::

    thread of a Team ──pickles of arguments──▶ its interpreter (`inside.serve`) ──a file in memory──▶ the thread

Which module makes interpreters depends on the version: ``concurrent.interpreters`` from Python 3.14 on, before that the
private ones that it is made of (PEP 734, PEP 684).
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from holdfast.crew import cargo
from holdfast.parallel.team import Team

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.parallel.team import Outcome

__all__ = ["check_fork", "interpreter_team"]

_FIRST = (3, 12)  # the first version in which interpreters have a GIL each
_AT_EXIT = 5.0  # seconds that tasks get to end at the end of the program: Python aborts or complains if one runs on
_ENDING = 2.0  # seconds in which interpreters that are at nothing end
_counting = threading.Lock()
_starting = threading.Lock()  # one at a time: imports of extension modules in a new interpreter are not all safe


def _check() -> None:
    """See that this Python can do it.

    Raises:
        RuntimeError: it is too old.
    """
    if sys.version_info < _FIRST:
        message = (
            f'on="interpreters" needs Python 3.12 or later, and is public from 3.14 on; this is '
            f'{sys.version_info[0]}.{sys.version_info[1]}: take "processes" or "threads"'
        )
        raise RuntimeError(message)


class _Interpreter:
    """One interpreter, whichever module makes it."""

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from concurrent import interpreters  # noqa: PLC0415 - optional

            self._made = interpreters.create()
        elif sys.version_info >= (3, 13):
            import _interpreters  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - as above

            self._module, self._number = _interpreters, _interpreters.create("isolated")
        else:
            import _xxsubinterpreters  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - as above

            self._module, self._number = _xxsubinterpreters, _xxsubinterpreters.create()

    def run(self, code: str, payload: bytes) -> None:
        """Run code in its ``__main__``, which finds `payload` as ``_holdfast_payload``.

        Raises:
            RuntimeError: it raised something.
        """
        if sys.version_info >= (3, 14):
            self._made.prepare_main(_holdfast_payload=payload)
            self._made.exec(code)
            return
        if sys.version_info >= (3, 13):
            problem = self._module.exec(self._number, code, {"_holdfast_payload": payload})
            if problem is not None:
                raise RuntimeError(str(problem.formatted))
            return
        self._module.run_string(self._number, code, {"_holdfast_payload": payload})

    def close(self) -> None:
        """End it."""
        if sys.version_info >= (3, 14):
            self._made.close()
        else:
            self._module.destroy(self._number)


_teams: weakref.WeakSet[Team] = weakref.WeakSet()
_in_use = 0  # interpreters that exist


def check_fork() -> None:
    """See that a fork would not meet a living interpreter, which crashes or hangs the child.

    Raises:
        RuntimeError: there is one.
    """
    for team in list(_teams) if _in_use else ():
        if team.closed:  # they are about to end, or have just started
            team.join(_ENDING)
    if _in_use:
        message = (
            'processes cannot be forked while holdfast.map(on="interpreters") is at work: close its '
            'results first, or take context="spawn"'
        )
        raise RuntimeError(message)


def _count(change: int) -> None:
    global _in_use  # noqa: PLW0603 - there is one program
    with _counting:
        _in_use += change


class _Runner:
    """What runs the tasks of one thread."""

    def __init__(self, payload: bytes) -> None:
        self._file = os.memfd_create("holdfast-results")
        _count(1)
        with _starting:
            self._interpreter = _Interpreter()
            try:
                self._interpreter.run(_BEGIN.format(path=list(sys.path), fd=self._file), payload)
                found = self._found()
            except BaseException:
                self.close()
                raise
        if found:
            self.close()
            raise _rebuilt(found[0][1])

    def __call__(self, values: list[Any]) -> Iterator[Outcome]:
        """Run tasks."""
        bodies, failures = [], {}
        for index, value in enumerate(values):
            try:
                bodies.append(_pickled(value))
            except BaseException as error:  # noqa: BLE001 - a user's __reduce__ may raise or exit
                failures[index] = error
        self._interpreter.run(_SERVE.format(fd=self._file), pickle.dumps(bodies))
        found = iter(self._found())
        for index in range(len(values)):
            if index in failures:
                yield False, failures[index]
                continue
            success, body = next(found)
            try:
                yield success, pickle.loads(body) if success else _rebuilt(body)  # noqa: S301 - our own wrote it
            except Exception as error:  # noqa: BLE001 - a user's __setstate__ may raise anything
                yield False, error

    def _found(self) -> list[Any]:
        found: list[Any] = pickle.loads(_whole(self._file))  # noqa: S301 - our own interpreter wrote it
        return found

    def close(self) -> None:
        """End the interpreter."""
        try:
            self._interpreter.close()
        finally:
            os.close(self._file)
            _count(-1)


_BEGIN = """
import sys
sys.path[:] = {path!r}
import holdfast.parallel.inside
sys.modules["holdfast.parallel.inside"].begin(_holdfast_payload, {fd})
"""
_SERVE = """
import sys as _holdfast_sys
_holdfast_sys.modules["holdfast.parallel.inside"].serve(_holdfast_payload, {fd})
"""


def _whole(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    parts, offset = [], 0
    while offset < size:
        part = os.pread(fd, size - offset, offset)
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _pickled(value: object) -> bytes:
    """As the workers' pickles, but whole, and without what belongs to processes."""
    try:
        return pickle.dumps(value, 5)
    except (pickle.PicklingError, AttributeError, TypeError):
        body = cargo._by_value(value)  # noqa: SLF001 - of this package
        if body is None:
            raise
        return body


def _rebuilt(told: Any) -> BaseException:  # noqa: ANN401 - see `inside`
    from holdfast.crew.failures import Told, rebuilt  # noqa: PLC0415 - only where something failed

    return rebuilt(Told(*told))


def _main_file() -> str | None:
    """The main program's file, if it has one that can be run again."""
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None and getattr(main, "__file__", "").endswith("__main__.py"):
        return None
    path = getattr(main, "__file__", None)
    return os.path.abspath(path) if isinstance(path, str) and os.path.isfile(path) else None  # noqa: PTH100, PTH113


def interpreter_team(
    workers: int,
    function: Callable[..., Any],
    call: int,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> Team:
    """Threads that have an interpreter each.

    Args:
        workers: how many.
        function: as of `thread_runner`, like the others.
        call: as there.
        initializer: as there.
        initargs: as there.

    Raises:
        RuntimeError: this Python is too old.
        BaseException: the function cannot be pickled.
    """
    _check()
    by_value = None
    if getattr(function, "__module__", "") == "__main__" and _main_file() is None:
        by_value = cargo._by_value(function)  # noqa: SLF001 - of this package
    body = by_value or _pickled(function)
    start = None if initializer is None else _pickled((initializer, initargs))
    main = _main_file() if b"__main__" in body or (start is not None and b"__main__" in start) else None
    payload = pickle.dumps((main, body, start, call))
    team = Team(workers, lambda: _Runner(payload))
    _teams.add(team)
    return team


def _at_exit() -> None:
    deadline = time.monotonic() + _AT_EXIT
    teams = list(_teams)
    for team in teams:
        team.end()
    for team in teams:
        team.join(max(0.0, deadline - time.monotonic()))


threading._register_atexit(_at_exit)  # type: ignore[attr-defined]  # noqa: SLF001 - before threads are joined
