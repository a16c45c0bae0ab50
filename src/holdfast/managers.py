"""Managers: the standard library's, except that primitives and shared memory are holdfast's own.

A lock of the standard library's manager is an object in the server, and every use a message to it. holdfast's
primitives travel anywhere by themselves, so a manager that this program started hands out the plain ones: no round
trip, and they do not end with the server. A manager only connected to may be on another machine; it keeps its own.

Everything else is a proxy as ever, and talks to its server over a connection that says in plain words when the server
is gone, or has another key (`_ToServer`). Servers and clients of the standard library understand each other with ours.
"""

from __future__ import annotations

import os
from multiprocessing import AuthenticationError
from multiprocessing import connection as _connection
from multiprocessing import managers as _std
from multiprocessing.managers import BaseManager, BaseProxy, Namespace, Token, dispatch  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

from holdfast import errors, shared_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["PRIMITIVES", "BaseManager", "BaseProxy", "Namespace", "SharedMemoryManager", "SyncManager", "Token"]


class _ToServer(_connection.Connection):
    """A connection to a manager's server: whose end is not an end of data, but the loss of what the server had."""

    address: object = None

    def send(self, obj: Any) -> None:  # noqa: ANN401 - any object
        """Send an object.

        Raises:
            ManagerGone: there is no server any more.
        """
        try:
            super().send(obj)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _gone(self.address, error) from None

    def recv(self) -> Any:  # noqa: ANN401 - as above
        """Receive an object.

        Raises:
            ManagerGone: there is no server any more.
        """
        try:
            return super().recv()
        except (EOFError, ConnectionResetError) as error:
            raise _gone(self.address, error) from None


def _gone(address: object, error: BaseException) -> BaseException:
    how = str(error) or "it closed the connection"
    return errors.make("HF805", f"the manager's server at {address!r} is gone: {how}", address=address)


def _connect(address: Any, family: str | None = None, authkey: bytes | None = None) -> _ToServer:  # noqa: ANN401
    """What the standard library's managers and proxies call to reach their server.

    Raises:
        ManagerGone: there is no server at this address.
        KeyRefused: it has another key.
    """
    try:
        plain: Any = _connection.Client(address, family=family, authkey=authkey)
    except AuthenticationError as error:
        message = f"the manager's server at {address!r} has another authkey: {error}"
        raise errors.KeyRefused(message, address=address) from None
    except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError, FileNotFoundError, EOFError) as error:
        raise _gone(address, error) from None
    made = _ToServer(plain._handle, plain.readable, plain.writable)  # noqa: SLF001 - the descriptor moves over
    plain._handle = None  # noqa: SLF001 - it belongs to the new object now
    made.address = address
    return made


# Where the standard library's managers and proxies look up how to connect. (XML-RPC stays as it is.)
_std.listener_client["pickle"] = (_connection.Listener, _connect)  # type: ignore[attr-defined]


def _handed_out(kind: str, ours: str = "") -> Callable[..., Any]:
    """The method of a manager that makes a primitive of one kind; `ours` is what a context calls it."""
    remote = getattr(_std.SyncManager, kind)

    def make(self: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - a primitive or a proxy
        if not hasattr(self, "_process"):  # not started here
            return remote(self, *args, **kwargs)
        from holdfast import context  # noqa: PLC0415 - contexts make managers, and the other way round

        return getattr(context._default_context, ours or kind)(*args, **kwargs)  # noqa: SLF001 - our own

    make.__name__ = kind
    make.__qualname__ = f"SyncManager.{kind}"
    make.__doc__ = f"A {kind} that works without the server."
    return make


# `install` puts the same methods into the standard library's class.
PRIMITIVES: dict[str, Callable[..., Any]] = {
    kind: _handed_out(kind)
    for kind in ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier")
} | {kind: _handed_out(kind, "JoinableQueue") for kind in ("Queue", "JoinableQueue")}  # its queue counts tasks, too


class SyncManager(_std.SyncManager):
    """A manager whose primitives are the plain ones.

    Args are those of the standard library's ``SyncManager``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the standard library's
        if kwargs.get("ctx") is None and len(args) < 4:  # noqa: PLR2004 - ctx is the fourth
            from holdfast.context import _default_context  # noqa: PLC0415 - as above

            kwargs["ctx"] = _default_context.get_context()
        super().__init__(*args, **kwargs)

    Lock = PRIMITIVES["Lock"]
    RLock = PRIMITIVES["RLock"]
    Semaphore = PRIMITIVES["Semaphore"]
    BoundedSemaphore = PRIMITIVES["BoundedSemaphore"]
    Condition = PRIMITIVES["Condition"]
    Event = PRIMITIVES["Event"]
    Barrier = PRIMITIVES["Barrier"]
    Queue = PRIMITIVES["Queue"]
    JoinableQueue = PRIMITIVES["JoinableQueue"]


class _Tracker(_std._SharedMemoryTracker):  # type: ignore[name-defined,misc]  # noqa: SLF001 - the part to be replaced
    """What the server of a `SharedMemoryManager` keeps; destroys blocks so that their owner's helper knows."""

    def destroy_segment(self, segment_name: str) -> None:
        """Unlink a block and forget it."""
        self.segment_names.remove(segment_name)
        segment = shared_memory.SharedMemory(segment_name)
        segment.close()
        segment.unlink()


class _Server(_std.SharedMemoryServer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the standard library's
        super().__init__(*args, **kwargs)
        self.shared_memory_context = _Tracker(f"shm_{self.address!r}_{os.getpid()}", [])


class SharedMemoryManager(_std.SharedMemoryManager):
    """A manager whose end destroys the blocks made through it.

    Args are those of the standard library's ``SharedMemoryManager``.
    """

    _Server = _Server

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the standard library's
        if kwargs.get("ctx") is None and len(args) < 4:  # noqa: PLR2004 - ctx is the fourth
            from holdfast.context import _default_context  # noqa: PLC0415 - as above

            kwargs["ctx"] = _default_context.get_context()
        _std.BaseManager.__init__(self, *args, **kwargs)  # past the one that would start the resource tracker

    def SharedMemory(self, size: int) -> shared_memory.SharedMemory:  # noqa: N802 - the standard library's name
        """A new block of at least `size` bytes."""
        block = shared_memory.SharedMemory(None, create=True, size=size)
        self._track(block)
        return block

    def ShareableList(self, sequence: Iterable[Any] | None) -> shared_memory.ShareableList[Any]:  # noqa: N802
        """A new list in shared memory, with the items of `sequence`."""
        items = shared_memory.ShareableList(sequence)
        self._track(items.shm)
        return items

    _Client: Any
    _address: Any
    _authkey: Any

    def _track(self, block: Any) -> None:  # noqa: ANN401 - SharedMemory of either library
        """Tell the server of a block; without a server there is no block either."""
        try:
            with self._Client(self._address, authkey=self._authkey) as connection:
                dispatch(connection, None, "track_segment", (block.name,))
        except BaseException:
            block.close()
            block.unlink()
            raise


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes
    """Everything else is the standard library's."""
    return getattr(_std, name)
