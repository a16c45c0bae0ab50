"""``holdfast run``: a program as ``python PROGRAM`` would run it, with holdfast behind its ``multiprocessing``."""

from __future__ import annotations

import builtins
import importlib.util
import io
import os
import pkgutil
import runpy
import sys
import types
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from typing import TYPE_CHECKING, Any

from holdfast.cli.main import misuse

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

USAGE = """\
usage: holdfast run [--log FILE] PROGRAM [ARGUMENT ...]
       holdfast run [--log FILE] -m MODULE [ARGUMENT ...]

Runs PROGRAM (a file, or a folder or zip file with a __main__.py) or MODULE as
python does, with holdfast's locks, processes and shared memory behind its
multiprocessing, in all its children too. The exit code is the program's.

options:
  --log FILE   every record that any of its processes logs is also appended to
               FILE, with time, process and pid, whatever handlers the program
               sets up; children log at the levels of their parent
"""


def main(arguments: list[str]) -> int:
    """Run the program; returns only if that was not possible, or the program ended by reaching its end.

    Args:
        arguments: ``[--log FILE] [-m] PROGRAM ARGUMENT ...``.

    Returns:
        0, or 2 if there is no such program.

    Raises:
        BaseException: what the program raised.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    log, words = _take_log(arguments)
    as_module = words[:1] == ["-m"]
    words = words[1:] if as_module else words
    if not words:
        return misuse("-m needs the name of a module" if as_module else "--log needs the name of a file, and a program")
    program = words[0]
    if program.startswith("-"):
        return misuse(f"run knows no option {program!r}; options of the program stand after it")
    if as_module:
        _set_first_path(os.getcwd())  # noqa: PTH109 - a text for sys.path
        missing = None if _has_module(program) else f"no module named {program!r}"
    else:
        missing = None if os.path.exists(program) else f"there is no file {program!r}"  # noqa: PTH110 - as given
    if missing:
        return misuse(missing)
    sys.argv[:] = words
    from holdfast.install import install  # noqa: PLC0415 - not for a program that does not exist

    install()
    if log is not None:
        from holdfast.logs import record_all  # noqa: PLC0415 - only where a log is asked for

        try:
            record_all(log)
        except OSError as error:
            return misuse(f"the log {log!r} cannot be written: {error.strerror or error}")
    _run(_module_runner(program) if as_module else _file_runner(program))
    return 0


def _take_log(words: list[str]) -> tuple[str | None, list[str]]:
    """The file of ``--log``, if that stands first, and the other words."""
    if words[0].startswith("--log="):
        return words[0].partition("=")[2], words[1:]
    if words[0] == "--log":
        return (words[1], words[2:]) if len(words) > 1 else (None, [])
    return None, words


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its package does not exist
        return False
    except (ImportError, ValueError):  # it exists and fails: running it will say how
        return True


def _set_first_path(folder: str) -> None:
    """Put the program's folder where Python put this command's; in safe-path mode Python put nothing."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _fresh_main() -> types.ModuleType:
    """A new, empty ``__main__``, in place for good: pickles, threads and exit functions of the program refer to it."""
    module = types.ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __annotations__={})
    sys.modules["__main__"] = module
    if "__mp_main__" in sys.modules:  # multiprocessing's alias
        sys.modules["__mp_main__"] = module
    return module


def _module_runner(name: str) -> Callable[[], None]:
    _fresh_main()
    return lambda: runpy._run_module_as_main(name)  # type: ignore[attr-defined]  # noqa: SLF001 - what `python -m` calls


def _file_runner(path: str) -> Callable[[], None]:
    module = _fresh_main()
    full = os.path.abspath(path)  # noqa: PTH100 - not resolved, as Python does it
    if _is_importable(path):  # a folder or a zip file
        sys.path.insert(0, full) if sys.flags.safe_path else _set_first_path(full)
        return lambda: runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]  # noqa: SLF001
    _set_first_path(os.path.dirname(os.path.realpath(path)))  # noqa: PTH120 - a text for sys.path
    loader: Any = SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader
    module.__dict__.update(__file__=full, __cached__=None, __loader__=loader("__main__", full))

    def run_file() -> None:
        with io.open_code(full) as file:
            code = pkgutil.read_code(file) if path.endswith(".pyc") else None
            source = b"" if code is not None else file.read()
        exec(code or compile(source, full, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the very purpose

    return run_file


def _is_importable(path: str) -> bool:
    return not isinstance(pkgutil.get_importer(path), types.NoneType)


def _run(runner: Callable[[], None]) -> None:
    """Run the program so that a traceback of it shows its own frames only.

    Raises:
        BaseException: what it raised; the interpreter reports it, as always, through ``sys.excepthook``.
    """
    try:
        runner()
    except SystemExit:
        raise
    except BaseException:
        # Only now: the program may have set a hook of its own, and may look at sys.excepthook while it runs.
        sys.excepthook = _hide_own_frames(sys.excepthook)
        raise


_OWN_FILES = frozenset({__file__, runpy.__file__, "<frozen runpy>"})


def _hide_own_frames(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook, called with a traceback that begins at the program."""

    def report(kind: type[BaseException], error: BaseException, tb: types.TracebackType | None) -> None:
        while tb is not None and tb.tb_frame.f_code is not _run.__code__:
            tb = tb.tb_next
        while tb is not None and tb.tb_frame.f_code.co_filename in _OWN_FILES:
            tb = tb.tb_next
        error.__traceback__ = tb
        hook(kind, error, tb)

    return report
