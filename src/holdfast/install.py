"""Putting holdfast behind the standard library's ``multiprocessing``, for a program that does not know of it.

Classes and functions are replaced in the modules where the standard library's own code looks them up, so names
imported before, such as ``from multiprocessing import Lock``, hand out holdfast's primitives as well. Modules that
are not loaded yet are seen to when they are (`_AfterImport`), so installing costs nothing for what is not used.
Children, whichever their start method, install it before they import the main module (``boarding``).

The standard library's process classes stay what they are, and gain: no orphans, and a clear error when there is no
room for another process. ``result()`` is holdfast's own.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
from importlib.machinery import PathFinder
from multiprocessing import context as _context
from multiprocessing import process as _process

from holdfast import boarding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from typing import Any

    from holdfast.process import BaseProcess

__all__ = ["install", "is_installed", "uninstall"]

_originals: list[tuple[Any, str, Any]] = []
_MISSING = object()


def install() -> None:
    """Put holdfast's primitives, processes and shared memory behind ``multiprocessing``, here and in all children.

    Doing so twice is harmless. Objects made before keep working as they did.

    Example:
        >>> import multiprocessing, holdfast
        >>> holdfast.install()
        >>> multiprocessing.Lock().__class__.__module__.partition(".")[0]
        'holdfast'
        >>> holdfast.uninstall()
    """
    if is_installed():
        return
    _put(_process.BaseProcess, "_bootstrap", _bootstrap)
    _put(_context.ForkProcess, "_Popen", staticmethod(_popen("ForkPopen")))
    _put(_context.SpawnProcess, "_Popen", staticmethod(_popen("SpawnPopen")))
    _put(_context.ForkServerProcess, "_Popen", staticmethod(_popen("ForkServerPopen")))
    for method, replacement in _METHODS.items():
        _originals.append((method, "__code__", method.__code__))
        method.__code__ = replacement.__code__
    for name, patch in _PATCHES.items():
        if name in sys.modules:
            patch(sys.modules[name])
    sys.meta_path.insert(0, _FINDER)
    _set_lenient(True)


def uninstall() -> None:
    """Take back what `install` did; objects made meanwhile keep working."""
    if not is_installed():
        return
    sys.meta_path.remove(_FINDER)
    while _originals:
        owner, name, original = _originals.pop()
        if original is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, original)
    _set_lenient(False)


def is_installed() -> bool:
    """Whether `install` is in force in this process."""
    return bool(_originals)


def _put(owner: Any, name: str, value: object) -> None:  # noqa: ANN401 - a class or a module
    _originals.append((owner, name, vars(owner).get(name, _MISSING)))
    setattr(owner, name, value)


def _set_lenient(on: bool) -> None:
    """Negative timeouts mean zero, as ``multiprocessing`` documents; without holdfast's installing, they are errors."""
    core = sys.modules.get("holdfast._core")
    if core is not None:
        core.set_lenient(on)


# processes

_std_bootstrap = _process.BaseProcess._bootstrap  # type: ignore[attr-defined]  # noqa: SLF001 - what is replaced


def _bootstrap(self: _process.BaseProcess, parent_sentinel: int | None = None) -> int:
    from holdfast.process import BaseProcess  # noqa: PLC0415 - children of unmodified programs do without

    def std(sentinel: int | None) -> int:
        code: int = _std_bootstrap(self, sentinel)
        return code

    if isinstance(self, BaseProcess):  # it has been through `live` already
        return std(parent_sentinel)
    return boarding.live(self, std, parent_sentinel)


def _popen(kind: str) -> Callable[[BaseProcess], Any]:
    def start(process_obj: BaseProcess) -> Any:  # noqa: ANN401 - a Popen
        from holdfast import popen  # noqa: PLC0415 - children need it only if they start some themselves

        return getattr(popen, kind)(process_obj)

    return start


# queues, pipes, the start method: the contexts' methods get other code, so that those bound before hand out holdfast's
# as well. The classes in multiprocessing.queues stay: other packages build on them.


def _queue(self: Any, maxsize: int = 0) -> Any:  # noqa: ANN401 - a context and a queue
    from holdfast.queues import Queue  # noqa: PLC0415 - in the function: its code runs in another module

    return Queue(maxsize, ctx=self.get_context())


def _joinable_queue(self: Any, maxsize: int = 0) -> Any:  # noqa: ANN401 - as above
    from holdfast.queues import JoinableQueue  # noqa: PLC0415 - as above

    return JoinableQueue(maxsize, ctx=self.get_context())


def _simple_queue(self: Any) -> Any:  # noqa: ANN401 - as above
    import sys  # noqa: PLC0415 - as above

    from holdfast.queues import simple_queue  # noqa: PLC0415 - as above

    return simple_queue(sys._getframe(1), self.get_context())  # noqa: SLF001 - who asks


def _pipe(self: Any, duplex: bool = True) -> Any:  # noqa: ANN401, ARG001 - as above
    from holdfast.pipes import Pipe  # noqa: PLC0415 - as above

    return Pipe(duplex)


def _set_start_method(self: Any, method: str | None, force: bool = False) -> None:  # noqa: ANN401 - as above
    from holdfast.guard import set_start_method  # noqa: PLC0415 - as above

    set_start_method(self, method, force)


_METHODS: dict[Any, Any] = {
    _context.DefaultContext.set_start_method: _set_start_method,
    _context.BaseContext.Queue: _queue,
    _context.BaseContext.JoinableQueue: _joinable_queue,
    _context.BaseContext.SimpleQueue: _simple_queue,
    _context.BaseContext.Pipe: _pipe,
}


# modules


def _replace(*names: str) -> Any:  # noqa: ANN401 - a patch
    """A patch that replaces names of a module by those of holdfast's module of the same name."""

    def patch(module: types.ModuleType) -> None:
        ours = importlib.import_module("holdfast." + module.__name__.rpartition(".")[2])
        for name in names:
            if hasattr(ours, name):
                _put(module, name, getattr(ours, name))
        _set_lenient(True)

    return patch


# pools and executors: an object of the standard library's very class becomes one of ours as it is initialized, so that
# names bound before and isinstance() hold. Users' subclasses stay what they are.


def _become(std: Any, module: str, name: str, **own: Any) -> None:  # noqa: ANN401 - a class, and options of ours
    initialize = std.__init__

    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401, N807 - the standard library's
        if type(self) is not std:
            initialize(self, *args, **options)
            return
        self._state = "INIT"  # what a pool's __del__ asks for, if a Ctrl-C comes before there is more
        from holdfast.crew.interrupts import rescue  # noqa: PLC0415 - only where such objects are used

        rescue()  # the import system has callbacks, too
        ours = getattr(importlib.import_module(module), name)
        self.__dict__.clear()
        self.__class__ = ours
        ours.__init__(self, *args, **own, **options)

    _put(std, "__init__", functools.wraps(initialize)(__init__))


def _patch_pool(module: types.ModuleType) -> None:
    _become(module.Pool, "holdfast.pool", "Pool", threads_per_worker=None)  # libraries' threads stay as they were
    _become(module.ThreadPool, "holdfast.pool", "ThreadPool")


def _patch_executor(module: types.ModuleType) -> None:
    _become(module.ProcessPoolExecutor, "holdfast.executor_drop_in", "DropInExecutor")


def _patch_managers(module: types.ModuleType) -> None:
    from holdfast.managers import PRIMITIVES  # noqa: PLC0415 - only where managers are used

    for name, method in PRIMITIVES.items():
        _put(module.SyncManager, name, method)


_PATCHES = {
    "multiprocessing.synchronize": _replace(
        "Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier"
    ),
    "multiprocessing.sharedctypes": _replace(
        "RawValue",
        "RawArray",
        "Value",
        "Array",
        "copy",
        "synchronized",
        "SynchronizedBase",
        "Synchronized",
        "SynchronizedArray",
        "SynchronizedString",
    ),
    "multiprocessing.shared_memory": _replace("SharedMemory"),
    "multiprocessing.managers": _patch_managers,
    "multiprocessing.pool": _patch_pool,
    "concurrent.futures.process": _patch_executor,
}


class _AfterImport:
    """A finder that finds nothing of its own, but patches certain modules when they have been loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        patch = _PATCHES.get(name)
        spec = PathFinder.find_spec(name, path, target) if patch is not None else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            load(module)
            if is_installed() and patch is not None:
                patch(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_FINDER: Any = _AfterImport()


class _Callable(types.ModuleType):
    """This module's class: ``holdfast.install`` is a module, and can be called as the function it is named after."""

    def __call__(self) -> None:
        install()


sys.modules[__name__].__class__ = _Callable
