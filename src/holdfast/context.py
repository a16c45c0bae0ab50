"""Contexts: the standard library's, handing out holdfast's processes and primitives.

Which start method is in use is one fact of a process, not two: it is kept where ``multiprocessing`` keeps it, so that
``holdfast.set_start_method`` and ``multiprocessing.set_start_method`` agree.
"""

from __future__ import annotations

import atexit
import sys
from multiprocessing import context as _std
from multiprocessing import current_process

from holdfast import boarding
from holdfast.process import BaseProcess

TYPE_CHECKING = False  # importing typing would make the start of every child milliseconds longer
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from holdfast.managers import SyncManager
    from holdfast.pool import Pool

__all__ = [
    "BaseContext",
    "DefaultContext",
    "ForkContext",
    "ForkProcess",
    "ForkServerContext",
    "ForkServerProcess",
    "Process",
    "SpawnContext",
    "SpawnProcess",
]


class Process(BaseProcess, _std.Process):
    """A process started by the default start method."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: ANN401, N802 - the standard library's name
        return _default_context.get_context().Process._Popen(process_obj)  # noqa: SLF001 - as above


class ForkProcess(BaseProcess, _std.ForkProcess):
    """A process started by fork."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: ANN401, N802 - the standard library's name
        from holdfast.popen import ForkPopen  # noqa: PLC0415 - children do not need it

        return ForkPopen(process_obj)


class SpawnProcess(BaseProcess, _std.SpawnProcess):
    """A process started by a fresh interpreter."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: ANN401, N802 - the standard library's name
        from holdfast.popen import SpawnPopen  # noqa: PLC0415 - children do not need it

        return SpawnPopen(process_obj)


class ForkServerProcess(BaseProcess, _std.ForkServerProcess):
    """A process forked by a server."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: ANN401, N802 - the standard library's name
        from holdfast.popen import ForkServerPopen  # noqa: PLC0415 - children do not need it

        return ForkServerPopen(process_obj)


class BaseContext(_std.BaseContext):
    """What all contexts have in common. Options of a primitive (``name=`` ...) are those of its class."""

    def cpu_count(self) -> int:
        """How many CPUs this program may use: see `holdfast.cpu_count`."""
        from holdfast.cpu import cpu_count  # noqa: PLC0415 - each of these methods imports what it hands out

        return cpu_count()

    def Lock(self, name: str | None = None, **options: Any) -> Any:  # noqa: ANN401, N802
        """A lock that is not recursive."""
        from holdfast import synchronize  # noqa: PLC0415

        return synchronize.Lock(ctx=self.get_context(), **_named(name, options))

    def RLock(self, name: str | None = None, **options: Any) -> Any:  # noqa: ANN401, N802
        """A recursive lock."""
        from holdfast import synchronize  # noqa: PLC0415

        return synchronize.RLock(ctx=self.get_context(), **_named(name, options))

    def RWLock(self, name: str | None = None, **options: Any) -> Any:  # noqa: ANN401, N802
        """A lock for many readers or one writer."""
        from holdfast import synchronize  # noqa: PLC0415

        return synchronize.RWLock(ctx=self.get_context(), **_named(name, options))

    def Condition(self, lock: Any = None, **options: Any) -> Any:  # noqa: ANN401, N802
        """A condition variable."""
        from holdfast import synchronize  # noqa: PLC0415

        return synchronize.Condition(lock, ctx=self.get_context(), **options)

    def Semaphore(self, value: int = 1, **options: Any) -> Any:  # noqa: ANN401, N802
        """A semaphore."""
        from holdfast import synchronize  # noqa: PLC0415

        return synchronize.Semaphore(value, ctx=self.get_context(), **options)

    def BoundedSemaphore(self, value: int = 1, **options: Any) -> Any:  # noqa: ANN401, N802
        """A semaphore that cannot be released above its first value."""
        from holdfast import synchronize  # noqa: PLC0415

        return synchronize.BoundedSemaphore(value, ctx=self.get_context(), **options)

    def Event(self, name: str | None = None, **options: Any) -> Any:  # noqa: ANN401, N802
        """An event."""
        from holdfast import synchronize  # noqa: PLC0415

        return synchronize.Event(ctx=self.get_context(), **_named(name, options))

    def Barrier(  # noqa: N802
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """A barrier for a number of parties; `timeout` is the default of its ``wait``, in seconds."""
        from holdfast import synchronize  # noqa: PLC0415

        return synchronize.Barrier(parties, action, timeout, ctx=self.get_context(), **options)

    def RawValue(self, typecode_or_type: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401, N802
        """A ctypes object in shared memory, without a lock."""
        from holdfast import sharedctypes  # noqa: PLC0415

        return sharedctypes.RawValue(typecode_or_type, *args, **options)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any, **options: Any) -> Any:  # noqa: ANN401, N802
        """A ctypes array in shared memory, without a lock."""
        from holdfast import sharedctypes  # noqa: PLC0415

        return sharedctypes.RawArray(typecode_or_type, size_or_initializer, **options)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True, **options: Any) -> Any:  # noqa: ANN401, N802
        """A ctypes object in shared memory, with a lock."""
        from holdfast import sharedctypes  # noqa: PLC0415

        return sharedctypes.Value(typecode_or_type, *args, lock=lock, ctx=self.get_context(), **options)

    def Array(  # noqa: N802
        self,
        typecode_or_type: Any,  # noqa: ANN401
        size_or_initializer: Any,  # noqa: ANN401
        *,
        lock: Any = True,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """A ctypes array in shared memory, with a lock."""
        from holdfast import sharedctypes  # noqa: PLC0415

        return sharedctypes.Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context(), **options)

    def Queue(self, maxsize: int = 0, **options: Any) -> Any:  # noqa: ANN401, N802
        """A queue of at most `maxsize` items; without a limit if that is not positive."""
        from holdfast import queues  # noqa: PLC0415

        return queues.Queue(maxsize, ctx=self.get_context(), **options)

    def JoinableQueue(self, maxsize: int = 0, **options: Any) -> Any:  # noqa: ANN401, N802
        """A queue of at most `maxsize` items that counts finished tasks."""
        from holdfast import queues  # noqa: PLC0415

        return queues.JoinableQueue(maxsize, ctx=self.get_context(), **options)

    def SimpleQueue(self, **options: Any) -> Any:  # noqa: ANN401, N802
        """A queue with the small interface; for the standard library's own machinery, its own."""
        from holdfast import queues  # noqa: PLC0415

        return queues.simple_queue(sys._getframe(1), self.get_context(), **options)  # noqa: SLF001

    def Pipe(self, duplex: bool = True) -> Any:  # noqa: ANN401, N802
        """Two connected ends of a pipe."""
        from holdfast import pipes  # noqa: PLC0415

        return pipes.Pipe(duplex)

    def Manager(self) -> SyncManager:  # noqa: N802
        """A started manager, whose primitives are the plain ones."""
        from holdfast.managers import SyncManager  # noqa: PLC0415

        manager = SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Pool(  # type: ignore[override]  # noqa: N802
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Pool:
        """A pool of worker processes; by default as many as `cpu_count` says."""
        from holdfast.crew.interrupts import rescue  # noqa: PLC0415

        rescue()  # the import system has callbacks, too
        from holdfast import popen  # noqa: PLC0415

        context = self.get_context()
        popen.prepare(context.get_start_method())  # before the import that takes longest
        from holdfast.pool import Pool  # noqa: PLC0415

        return Pool(processes, initializer, initargs, maxtasksperchild, context=context, **options)

    def get_context(self, method: str | None = None) -> Any:  # noqa: ANN401 - one of the classes below
        """This context, or that of a start method.

        Raises:
            ValueError: there is no such start method here.
        """
        if method is None:
            return self
        ours = _concrete_contexts.get(method)
        if ours is None:
            return super().get_context(method)
        _foresee(method)
        return ours


def _foresee(method: str | None) -> None:
    """Load what starts processes by a method that was named: it takes milliseconds that the first start need not."""
    if method in ("spawn", "forkserver") and not getattr(current_process(), "_inheriting", False):
        from holdfast import popen  # noqa: PLC0415 - children that begin do without

        popen.load(method)


def _named(name: str | None, options: dict[str, Any]) -> dict[str, Any]:
    return options if name is None else {**options, "name": name}


class ForkContext(BaseContext, _std.ForkContext):
    """The context whose start method is fork."""

    Process = ForkProcess


class SpawnContext(BaseContext, _std.SpawnContext):
    """The context whose start method is spawn."""

    Process = SpawnProcess


class ForkServerContext(BaseContext, _std.ForkServerContext):
    """The context whose start method is forkserver."""

    Process = ForkServerProcess


class DefaultContext(BaseContext, _std.DefaultContext):
    """The context of the module's own functions; its start method can be set."""

    Process = Process

    def __init__(self) -> None:
        """Nothing is kept here: see the module's docstring."""

    def get_context(self, method: str | None = None) -> Any:  # noqa: ANN401 - as above
        """The context of a start method; without one, of the default start method, which is settled by that.

        Raises:
            ValueError: there is no such start method here.
        """
        return super().get_context(self.get_start_method() if method is None else method)

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose the start method, once.

        Raises:
            MainGuardMissing: a child does so while it imports the main module.
            RuntimeError: it was chosen before, and `force` is false.
            ValueError: there is no such start method here.
        """
        from holdfast import guard  # noqa: PLC0415

        guard.set_start_method(_std._default_context, method, force)  # noqa: SLF001
        _foresee(method)

    def get_start_method(self, allow_none: bool = False) -> Any:  # noqa: ANN401 - str, or None with allow_none
        """The name of the start method; None if it is not settled and `allow_none` is true."""
        return _std._default_context.get_start_method(allow_none)  # noqa: SLF001

    def get_all_start_methods(self) -> list[str]:
        """The names of all start methods, the default one first."""
        return _std._default_context.get_all_start_methods()  # noqa: SLF001


_concrete_contexts: dict[str, BaseContext] = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}
_default_context = DefaultContext()


def _at_exit() -> None:
    """For the first process of a program and for forks by the user; children of multiprocessing have their own end.

    multiprocessing's exit function joins children that may still be on their way into the arena: it must come first.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not util._exiting:  # noqa: SLF001 - its exit function has not run
        util.Finalize(None, boarding.mark_exiting, exitpriority=boarding.MARK_PRIORITY)
    else:
        boarding.mark_exiting()


atexit.register(_at_exit)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes
    """Everything else is the standard library's."""
    return getattr(_std, name)
