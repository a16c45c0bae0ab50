"""holdfast: everything Python's ``multiprocessing`` has, rebuilt so that it cannot hang in silence.

``import holdfast as mp`` has every public name of ``multiprocessing``, with its documented behaviour. Beyond those:
``map``, ``starmap``, ``close_warm_pools``, ``RWLock``, ``ProcessExecutor``, ``all_of``, ``cpu_count``, ``install``,
``uninstall``, and the errors. Importing this package costs what ``import multiprocessing`` costs, which whatever is
used needs; all the rest is loaded when its name is first used: ``from holdfast import Pool`` loads pools at once.
"""

import multiprocessing as _std
import sys
from importlib import import_module

TYPE_CHECKING = False  # importing typing would make the start of every child milliseconds longer

if sys.platform != "linux":
    from holdfast.errors import UnsupportedPlatform

    _MESSAGE = f"holdfast needs Linux (futexes, pidfds, /dev/shm); this is {sys.platform}"
    raise UnsupportedPlatform(_MESSAGE)

if TYPE_CHECKING:
    from multiprocessing import active_children as active_children
    from multiprocessing import current_process as current_process
    from multiprocessing import parent_process as parent_process
    from multiprocessing.context import AuthenticationError as AuthenticationError
    from multiprocessing.context import BufferTooShort as BufferTooShort
    from multiprocessing.context import ProcessError as ProcessError
    from multiprocessing.context import TimeoutError as TimeoutError  # noqa: A004 - the standard library's name
    from typing import Any

    from holdfast.context import DefaultContext
    from holdfast.context import Process as Process
    from holdfast.cpu import cpu_count as cpu_count
    from holdfast.crew.seat import current_worker as current_worker
    from holdfast.errors import *  # noqa: F403
    from holdfast.futures import ProcessExecutor as ProcessExecutor
    from holdfast.install import install as install
    from holdfast.install import uninstall as uninstall
    from holdfast.parallel import map as map  # noqa: A004 - the builtin, in parallel
    from holdfast.parallel import starmap as starmap
    from holdfast.parallel.warm_pools import close_warm_pools as close_warm_pools
    from holdfast.synchronize import all_of as all_of

    _context = DefaultContext()
    Array = _context.Array
    Barrier = _context.Barrier
    BoundedSemaphore = _context.BoundedSemaphore
    Condition = _context.Condition
    Event = _context.Event
    JoinableQueue = _context.JoinableQueue
    Lock = _context.Lock
    Manager = _context.Manager
    Pipe = _context.Pipe
    Pool = _context.Pool
    Queue = _context.Queue
    RLock = _context.RLock
    RWLock = _context.RWLock
    RawArray = _context.RawArray
    RawValue = _context.RawValue
    Semaphore = _context.Semaphore
    SimpleQueue = _context.SimpleQueue
    Value = _context.Value
    allow_connection_pickling = _context.allow_connection_pickling
    freeze_support = _context.freeze_support
    get_all_start_methods = _context.get_all_start_methods
    get_context = _context.get_context
    get_logger = _context.get_logger
    get_start_method = _context.get_start_method
    log_to_stderr = _context.log_to_stderr
    reducer = _context.reducer
    set_executable = _context.set_executable
    set_forkserver_preload = _context.set_forkserver_preload
    set_start_method = _context.set_start_method

    __all__: list[str]
    __version__: str

# Ours beyond multiprocessing's names, and the module that has them.
_OWN = {
    "ProcessExecutor": "holdfast.futures",
    "all_of": "holdfast.synchronize",
    "close_warm_pools": "holdfast.parallel.warm_pools",
    "cpu_count": "holdfast.cpu",
    "current_worker": "holdfast.crew.seat",
    "install": "holdfast.install",
    "map": "holdfast.parallel",
    "starmap": "holdfast.parallel",
    "uninstall": "holdfast.install",
}
# What is loaded as soon as these are named, so that the first pool need not wait for it; children rarely make pools.
_MAP = ("holdfast.parallel.start", "holdfast.parallel.warm_pools")
_BEHIND = {"Pool": ("holdfast.pool",), "ProcessExecutor": ("holdfast.executor_crew",), "map": _MAP, "starmap": _MAP}


def __getattr__(name: str) -> "Any":  # noqa: ANN401 - whatever the name stands for
    value = _find(name)
    globals()[name] = value
    return value


def _find(name: str) -> "Any":  # noqa: ANN401 - as above
    """A public name: ours, a context's, an error's, or a module's."""
    if name in _BEHIND and not getattr(_std.current_process(), "_inheriting", False):  # set in children that begin
        try:
            for module in _BEHIND[name]:
                import_module(module)
        except ImportError:  # an interpreter of its own cannot load the core; there the name may still be of use
            pass
    if name in _OWN:
        return getattr(import_module(_OWN[name]), name)
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - 20 ms that only this needs

        return version("holdfast")
    if name == "__all__":
        ours = {*_OWN} - {"map"}  # `import *` must not put anything in place of a builtin
        return sorted({*_std.__all__, *ours, "RWLock", *_error_names()})
    if not name.startswith("_"):
        context = import_module("holdfast.context")._default_context  # noqa: SLF001
        if hasattr(context, name):
            return getattr(context, name)
        if not name.islower() and name in _error_names():  # a module's name need not import all errors
            return getattr(import_module("holdfast.errors"), name)
        found = _module(name) or getattr(_std, name, None)  # such as SUBWARNING
        if found is not None:
            return found
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def _error_names() -> list[str]:
    errors = import_module("holdfast.errors")
    return [name for name in errors.__all__ if name[0].isupper() and name != "CODES"]


def _module(name: str) -> "Any":  # noqa: ANN401 - a module or None
    """A module of ours, or else the standard library's of the same name."""
    for package in (__name__, "multiprocessing"):
        full = f"{package}.{name}"
        try:
            return import_module(full)
        except ModuleNotFoundError as error:
            if error.name != full:
                raise
    return None


def __dir__() -> list[str]:
    return sorted({*globals(), *_OWN, *__getattr__("__all__")})
