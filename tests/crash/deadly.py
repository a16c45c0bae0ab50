"""Tasks that die: in every way, at every moment of their way through a pool.

::

    parent                    worker
    Item ──pickled──▶ taking: unpickles the Item ──▶ running: work(item) ──▶ sending: pickles the result ──▶ unpacking
                                                       └─ raises ──▶ telling: pickles the exception, and
                                                                     retelling: rebuilds it, to see whether that works
    idle: between two tasks, by a signal whose handler was set by a task
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

EXITCODE = 3
DEADLY = ("SIGKILL", "SIGSEGV", "abort", "_exit")  # no Python code can survive these
WAYS = (*DEADLY, "exit", "MemoryError")
MOMENTS = ("taking", "running", "sending", "telling", "retelling")
SIGNALS = {"SIGKILL": "SIGKILL", "SIGSEGV": "SIGSEGV", "abort": "SIGABRT"}

_board: dict[str, Any] = {}


def begin(runs: Any) -> None:
    """The initializer: keep the array that counts how often each task ran."""
    _board["runs"] = runs


def die(way: str) -> None:
    """End this process, or raise what usually does."""
    if way == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == "SIGSEGV":
        ctypes.string_at(0)
    elif way == "abort":
        os.abort()
    elif way == "_exit":
        os._exit(EXITCODE)
    elif way == "exit":
        sys.exit(EXITCODE)
    elif way == "MemoryError":
        bytearray(1 << 60)
    elif way == "raise":
        message = "poison"
        raise LookupError(message)


@dataclass(frozen=True)
class Item:
    """An argument: its number, which `work` returns, and how and when its task ends otherwise."""

    number: int
    way: str = ""
    moment: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _taken, (self.number, self.way, self.moment)


def _taken(number: int, way: str, moment: str) -> Item:
    if moment == "taking":
        die(way)
    return Item(number, way, moment)


class Parcel:
    """A result that does something as it is pickled (``sending``) or rebuilt (``unpacking``)."""

    def __init__(self, way: str, moment: str) -> None:
        self.way, self.moment = way, moment

    def __reduce__(self) -> tuple[Any, ...]:
        if self.moment == "sending":
            die(self.way)
        return _unpacked, (self.way,)


def _unpacked(way: str) -> None:
    die(way)


class Telling(Exception):
    """An exception that does something as it is pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        die(self.args[0])
        return Telling, self.args


class Retelling(Exception):
    """An exception that does something as it is rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, self.args


def work(item: Item) -> Any:
    """Count the run, and return the item's number or do what it says."""
    _board["runs"][item.number] += 1
    if item.moment == "running":
        die(item.way)
    elif item.moment in ("sending", "unpacking"):
        return Parcel(item.way, item.moment)
    elif item.moment == "telling":
        raise Telling(item.way)
    elif item.moment == "retelling":
        raise Retelling(item.way)
    return item.number


def plant(way: str) -> int:
    """Have this worker die when it gets SIGUSR1; return its pid."""
    signal.signal(signal.SIGUSR1, lambda number, frame: die(way))  # noqa: ARG005 - a handler's parameters
    return os.getpid()
