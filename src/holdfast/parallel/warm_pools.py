"""Worker processes that stay for the next call of `holdfast.map`.

::

    hire() ─▶ a warm crew that fits, or a new one ─▶ in use by one call ─return─▶ warm ─ 60 s, or too many ─▶ ended
                                                              └─ broken ─▶ ended

A crew is used by one call at a time. It fits if a new one would do the same: same start method, number of workers and
initializer, and nothing has changed that a new one would see; for forked workers see `snapshot`.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from holdfast.crew import OPEN
from holdfast.crew.crew import Crew, before_exit
from holdfast.parallel.snapshot import IMMUTABLE, Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast.crew.plan import Job

__all__ = ["WarmPool", "close_warm_pools", "hire"]

_IDLE = 60.0  # seconds that a pool stays without work
_MOST = 4  # pools that stay
_KNOWN = 64  # functions whose tasks' costs are kept
_PATIENCE = 1.0  # seconds for what needs no time
_ENDING = 30.0  # seconds for idle workers to end by themselves, with what they were to do at their end

_lock = threading.RLock()
_warm: list[WarmPool] = []  # the one used last at the end
_busy: set[WarmPool] = set()
_janitor: threading.Thread | None = None
_bell = threading.Condition(_lock)


class WarmPool:
    """A crew and what it was made for.

    Args:
        context: where its processes come from.
        workers: how many.
        initializer: called in each worker, with `initargs`.
        initargs: see there.

    Raises:
        ArenaFull: no space for shared memory.
        RuntimeError: an interpreter lives that a fork must not meet.
    """

    def __init__(
        self,
        context: Any,  # noqa: ANN401 - a context of either library
        workers: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        self._context, self._workers = context, workers
        self._initializer, self._initargs = initializer, initargs
        self._forked = context.get_start_method() == "fork"
        if self._forked and "holdfast.parallel.interpreters" in sys.modules:
            from holdfast.parallel.interpreters import check_fork  # noqa: PLC0415 - only where it is in use

            check_fork()
        self._surroundings = _surroundings()
        self._snapshot = Snapshot() if self._forked else None
        self.idle_since = 0.0
        self.costs: dict[bytes, float] = {}  # seconds of a task of each function, as sealed, when it was called last
        self.crew = Crew(context, workers, initializer, initargs, lazy=True, label="MapWorker")

    def usable(self) -> bool:
        """Whether it can take work at all."""
        crew = self.crew
        return crew.pid == os.getpid() and crew.state == OPEN and crew.broken is None

    def fits(
        self,
        function: Any,  # noqa: ANN401 - whatever can be called
        context: Any,  # noqa: ANN401 - a context of either library
        workers: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> bool:
        """Whether a new pool would do the same for this function."""
        if not self.usable() or (context, workers) != (self._context, self._workers):
            return False
        if initializer is not self._initializer or len(initargs) != len(self._initargs):
            return False
        if any(a is not b or type(a) not in IMMUTABLE for a, b in zip(initargs, self._initargs, strict=True)):
            return False
        if self._surroundings != _surroundings():
            return False
        return self._snapshot is None or self._snapshot.holds_for(function, initializer)

    def release(self, job: Job) -> None:
        """Keep it for the next call, if it is of use.

        Args:
            job: that it has worked on.
        """
        with _lock:
            if job.reference and job.cost is not None:
                if len(self.costs) >= _KNOWN:
                    self.costs.clear()
                self.costs[job.function] = job.cost
            _busy.discard(self)
            kept = self.usable() and not _exiting
            if kept:
                self.idle_since = time.monotonic()
                _warm.append(self)
                _watch()
            surplus = [_warm.pop(0) for _ in range(len(_warm) - _MOST)]
        for pool in surplus:
            pool.crew.later(pool.crew.close)
        if not kept and self.crew.pid == os.getpid():
            self.end()

    def end(self) -> None:
        """End the workers, which have nothing to do."""
        self.crew.close()
        if not self.crew.join(_ENDING):
            self.crew.terminate()
            self.crew.join(_PATIENCE)


def hire(
    function: Any,  # noqa: ANN401 - whatever can be called
    context: Any,  # noqa: ANN401 - a context of either library
    workers: int,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> WarmPool:
    """A pool for one call; the caller releases it.

    Raises:
        ArenaFull: no space for shared memory.
    """
    stale: list[WarmPool] = []
    found = None
    with _lock:
        for pool in reversed(_warm):
            if pool.fits(function, context, workers, initializer, initargs):
                found = pool
                break
            if (pool._context, pool._workers, pool._initializer) == (context, workers, initializer):  # noqa: SLF001
                stale.append(pool)  # it would not fit the next time either
        for pool in [*stale, *([found] if found else [])]:
            _warm.remove(pool)
    for pool in stale:
        pool.end()  # before others are forked, which would inherit what it holds of shared memory
    if found is None:
        found = WarmPool(context, workers, initializer, initargs)
    with _lock:
        _busy.add(found)
    return found


def warm_for(function: Any, context: Any, workers: int) -> bool:  # noqa: ANN401 - as `hire`
    """Whether `hire` would find a pool."""
    with _lock:
        return any(pool.fits(function, context, workers, None, ()) for pool in _warm)


def close_warm_pools() -> None:
    """End the worker processes that `holdfast.map` keeps for its next call; the next call starts new ones.

    They end by themselves after a minute without work, and with the program.

    Example:
        >>> import holdfast
        >>> list(holdfast.map(abs, [-1, -2]))
        [1, 2]
        >>> holdfast.close_warm_pools()
    """
    with _lock:
        pools = _warm[:]
        _warm.clear()
        _bell.notify_all()
        janitor = _janitor
    for pool in pools:
        pool.crew.close()
    for pool in pools:
        pool.end()
    if janitor is not None and janitor is not threading.current_thread():
        janitor.join(_PATIENCE)


def _surroundings() -> tuple[Any, ...]:
    """What a new process takes over from this one, beside memory."""
    try:
        here = os.getcwd()  # noqa: PTH109 - a text is enough
    except OSError:  # it was removed
        here = ""
    plain = getattr(os.environ, "_data", os.environ)  # bytes: to decode them takes as long as all the rest of a call
    environment = dict(plain)
    return here, environment, tuple(sys.path)


def _watch() -> None:
    """Have somebody see to pools that nobody uses; under the lock."""
    global _janitor  # noqa: PLW0603 - there is one
    if _janitor is None:
        _janitor = threading.Thread(target=_keep_order, name="holdfast-map-janitor", daemon=True)
        _janitor.start()


def _keep_order() -> None:
    global _janitor  # noqa: PLW0603 - as above
    while True:
        with _lock:
            if not _warm:
                _janitor = None
                return
            now = time.monotonic()
            old = [pool for pool in _warm if now - pool.idle_since >= _IDLE]
            for pool in old:
                _warm.remove(pool)
            if not old:
                _bell.wait(max(0.01, min(pool.idle_since for pool in _warm) + _IDLE - now))
        for pool in old:
            pool.end()


_exiting = False


def _at_exit() -> None:
    """End all: nobody can take results any more."""
    global _exiting  # noqa: PLW0603 - there is one interpreter
    _exiting = True
    close_warm_pools()
    with _lock:
        busy = [pool for pool in _busy if pool.crew.pid == os.getpid()]
    for pool in busy:
        pool.crew.terminate()
    for pool in busy:
        pool.crew.join(_PATIENCE)


def _in_child() -> None:
    global _janitor, _lock, _bell, _exiting  # noqa: PLW0603 - as above
    _exiting = False
    _lock = threading.RLock()
    _bell = threading.Condition(_lock)
    _janitor = None
    _warm.clear()
    _busy.clear()


os.register_at_fork(after_in_child=_in_child)
before_exit(_at_exit)
