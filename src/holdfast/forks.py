"""A word of warning when a process with several threads is forked.

The child has only the thread that forked; whatever the others held at that moment (an allocator's lock, logging's
lock, a library's mutex) is held for ever in the child. holdfast's own locks are not hurt by this, others are.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Threads that the standard library starts by itself and that hold nothing a forked child would take: the user can do
# nothing about them, and a pool or a queue in use must not warn.
_INTERNAL_MODULES = frozenset(
    {
        "concurrent.futures.process",
        "holdfast.crew.crew",
        "holdfast.crew.staff",
        "holdfast.parallel.auto",
        "holdfast.parallel.feed",
        "holdfast.pool_results",
        "holdfast.parallel.progress",
        "holdfast.parallel.warm_pools",
        "multiprocessing.managers",
        "multiprocessing.queues",
        "multiprocessing.resource_sharer",
        "tqdm._monitor",
    }
)
_INTERNAL_PREFIX = "_handle_"  # Pool's three threads: _handle_workers, _handle_tasks, _handle_results

_LONGEST = 0.5  # seconds that a fork waits for other threads to finish what they import
_module_locks: dict[str, Any] = getattr(importlib._bootstrap, "_module_locks", {})  # noqa: SLF001 - CPython's

_told: set[frozenset[str]] = set()


def _is_internal(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    module = getattr(target, "__module__", None) or type(thread).__module__
    if module == "multiprocessing.pool":
        return getattr(target, "__name__", "").startswith(_INTERNAL_PREFIX)
    return module in _INTERNAL_MODULES or type(thread).__module__ in _INTERNAL_MODULES


def others() -> list[str]:
    """The names of the threads, other than the calling one, that a fork would leave behind.

    Returns:
        Sorted names; empty when there are none, or only the standard library's own, or when one of those forks.
    """
    current = threading.current_thread()
    if _is_internal(current):  # a pool that refills itself
        return []
    return sorted(t.name for t in threading.enumerate() if t is not current and not _is_internal(t))


def _imported_elsewhere() -> list[str]:
    """The modules that other threads are importing: a child would wait for ever for those to finish."""
    me = threading.get_ident()
    locks = [(name, reference()) for name, reference in list(_module_locks.items())]
    return [name for name, lock in locks if getattr(lock, "owner", None) not in (None, me)]


def _after_fork() -> None:
    """Take away the locks of threads that are not here; what they were importing stays as far as it had got."""
    with suppress(Exception):
        for name in _imported_elsewhere():
            _module_locks.pop(name, None)


def _before_fork() -> None:
    # A look without a lock: `threading.enumerate` takes one, and nearly every fork has a single thread.
    if len(threading._active) < 2:  # type: ignore[attr-defined]  # noqa: SLF001, PLR2004 - its public twin locks
        return
    with suppress(Exception):  # a fork must never fail for a warning's sake
        until = time.monotonic() + _LONGEST
        while _imported_elsewhere() and time.monotonic() < until:
            time.sleep(0.001)
        names = others()
        # Thread-7 and Thread-8 of a server that makes a thread a request are one and the same news.
        kind = frozenset(name.rstrip("0123456789") if name.startswith("Thread-") else name for name in names)
        if not names or kind in _told:
            return
        _told.add(kind)
        _tell(names)


def _tell(names: list[str]) -> None:
    from holdfast import errors  # noqa: PLC0415 - most programs never need it

    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")  # noqa: PLR2004
    message = (
        f"process {os.getpid()} forks while other threads run: {shown}. What they hold stays held in the child. "
        "Start processes before threads, or use the forkserver start method."
    )
    try:
        errors.warn("HF506", message)
    except Warning as warning:  # filters make it an error, which cannot leave this place
        print(f"{type(warning).__name__}: {warning}", file=sys.stderr)  # noqa: T201 - the only way left to be seen


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
