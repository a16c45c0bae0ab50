"""Adapters: every rival's lock as an object with ``acquire()``, ``release()``, ``with``, shared by forked children."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

OURS, STANDARD = "holdfast.Lock", "multiprocessing.Lock"
FOLDER = Path(os.environ.get("HOLDFAST_BENCH_FOLDER") or tempfile.gettempdir(), f"holdfast-bench-{os.getuid()}")


def build_limit(name: str = "limit") -> Any:
    """Compile ``limit.c``, or another C file beside it, for this interpreter once, and import it.

    Raises:
        OSError, subprocess.CalledProcessError: there is no C compiler, or no header of Python.
    """
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    source = Path(__file__).with_name(f"{name}.c")
    target = FOLDER / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        unfinished = target.with_suffix(f".{os.getpid()}")
        include = sysconfig.get_path("include")
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", "-pthread", f"-I{include}", str(source), "-o", str(unfinished)],
            check=True,
        )
        unfinished.rename(target)
    spec = importlib.util.spec_from_file_location(name, target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def holdfast_lock() -> Any:
    """Ours."""
    import holdfast

    return holdfast.Lock()


def holdfast_rlock() -> Any:
    """Ours, recursive."""
    import holdfast

    return holdfast.RLock()


def standard_lock() -> Any:
    """multiprocessing's."""
    import multiprocessing

    return multiprocessing.Lock()


def standard_rlock() -> Any:
    """multiprocessing's, recursive."""
    import multiprocessing

    return multiprocessing.RLock()


def thread_lock() -> Any:
    """Between threads only: the yardstick of convenience."""
    import threading

    return threading.Lock()


def posix_ipc_semaphore() -> Any:
    """A named POSIX semaphore; its name is removed at once."""
    import posix_ipc  # type: ignore[import-not-found,unused-ignore]

    semaphore = posix_ipc.Semaphore(None, posix_ipc.O_CREX, initial_value=1)
    semaphore.unlink()
    return semaphore


def file_lock() -> Any:
    """filelock: flock on a file."""
    import filelock

    FOLDER.mkdir(mode=0o700, exist_ok=True)
    return filelock.FileLock(FOLDER / f"filelock-{os.getpid()}", is_singleton=False)


def own(lock: Any) -> Any:
    """Return the object that a forked child must use for the same lock: filelock refuses an inherited one."""
    return type(lock)(lock.lock_file, is_singleton=False) if hasattr(lock, "lock_file") else lock


def fasteners_lock() -> Any:
    """fasteners: fcntl on a file."""
    import fasteners  # type: ignore[import-untyped,unused-ignore]

    FOLDER.mkdir(mode=0o700, exist_ok=True)
    return fasteners.InterProcessLock(FOLDER / f"fasteners-{os.getpid()}")


def c_no_op() -> Any:
    """A method that does nothing: the limit of any binding."""
    return build_limit().NoOp()


def c_futex() -> Any:
    """The smallest futex lock that knows its owner: the limit of any lock."""
    return build_limit().FutexLock()


LOCKS: dict[str, Callable[[], Any]] = {
    OURS: holdfast_lock,
    STANDARD: standard_lock,
    "threading.Lock": thread_lock,
    "holdfast.RLock": holdfast_rlock,
    "multiprocessing.RLock": standard_rlock,
    "posix_ipc.Semaphore": posix_ipc_semaphore,
    "filelock.FileLock": file_lock,
    "fasteners.InterProcessLock": fasteners_lock,
    "limit: C no-op method": c_no_op,
    "limit: C futex lock with owner": c_futex,
}
BETWEEN_PROCESSES = [name for name in LOCKS if name not in ("threading.Lock", "limit: C no-op method")]
SURVIVE_A_DEATH = [OURS, "filelock.FileLock", "fasteners.InterProcessLock"]


def available(names: list[str]) -> list[str]:
    """Return the rivals of ``names`` that are installed here, with a word on stderr about the others."""
    found = []
    for name in names:
        try:
            LOCKS[name]()
        except (ImportError, OSError, subprocess.CalledProcessError) as problem:
            print(f"left out: {name} ({problem})", file=sys.stderr)
        else:
            found.append(name)
    return found
