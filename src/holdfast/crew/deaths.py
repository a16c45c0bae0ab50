"""Saying what died: pid, signal by name, exit code, task, arguments, the last stacks, and whether memory ran out."""

from __future__ import annotations

import os
import reprlib
import signal
from contextlib import suppress

from holdfast.cpu import folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from holdfast.errors import WorkerDied

__all__ = ["Death", "oom_kills", "shortened"]

_LONGEST = 200  # characters of an argument
_LINES = 8  # of the stacks
_WORKER = os.path.join(os.path.dirname(__file__), "worker.py")  # noqa: PTH118, PTH120 - as it stands in stacks


class _Short(reprlib.Repr):
    """A ``repr`` that does not look at more of big objects than will be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = _LONGEST // 3
        self.maxstring = self.maxlong = 2 * _LONGEST

    def repr_instance(self, value: object, level: int) -> str:  # noqa: ARG002 - as its siblings
        return repr(value)

    def repr_bytes(self, value: bytes, level: int) -> str:  # noqa: ARG002 - as above
        return repr(value[: 2 * _LONGEST])

    def repr_bytearray(self, value: bytearray, level: int) -> str:  # noqa: ARG002 - as above
        return repr(value[: 2 * _LONGEST])


_short = _Short()


def shortened(value: object) -> str:
    """An object's ``repr``, cut to a line."""
    try:
        text = _short.repr(value)
    except Exception:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"<{type(value).__name__} that cannot be shown>"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def shown_call(call: int, value: Any) -> str:  # noqa: ANN401 - arguments
    """The arguments of a task as they would stand in a call, shortened."""
    if call == 0:
        return f"({shortened(value)})"
    if call == 1:
        return f"({', '.join(map(shortened, value))})"[: _LONGEST * 2]
    named = [f"{name}={shortened(each)}" for name, each in value[1].items()]
    return f"({', '.join([*map(shortened, value[0]), *named])})"[: _LONGEST * 2]


def oom_kills(proc: str = "/proc/self") -> tuple[str, int] | None:
    """The folder of the control group of this process that counts its kills for want of memory, and the count.

    Args:
        proc: the folder of this process in /proc.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.events), cgroup-v1/memory.rst (memory.oom_control).
    """
    with suppress(OSError, ValueError):
        for folder, version in folders(proc, "memory"):
            name = "memory.oom_control" if version == 1 else "memory.events"
            with suppress(OSError, ValueError), open(f"{folder}/{name}", encoding="utf-8") as file:  # noqa: PTH123
                for line in file:
                    if line.startswith("oom_kill "):
                        return folder, int(line.split()[1])
    return None


def signal_name(number: int) -> str:
    """A signal's name, or its number in words."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


class Death:
    """How one worker ended.

    Args:
        pid: of the worker.
        exitcode: as in ``multiprocessing``: negative for a signal.
        stacks: what its fault handler wrote.
        memory: the folder of the control group whose kills for want of memory have become more, or None.
        seat: that it had.
    """

    def __init__(
        self, pid: int, exitcode: int | None, stacks: str = "", memory: str | None = None, seat: int = 0
    ) -> None:
        self.pid, self.exitcode, self.stacks, self.memory, self.seat = pid, exitcode, stacks, memory, seat
        self.signal = signal_name(-exitcode) if exitcode is not None and exitcode < 0 else None

    def how(self) -> str:
        """What ended it, in a few words."""
        if self.memory is not None and self.signal == "SIGKILL":
            return f"was killed by SIGKILL: the memory limit of control group {self.memory} was exceeded"
        if self.signal is not None:
            return f"was killed by {self.signal}"
        return f"ended with exit code {self.exitcode}"

    def error(
        self, what: str, index: int, arguments: str, *, sending: bool, kind: type[WorkerDied] | None = None
    ) -> WorkerDied:
        """The error for a task that died with the worker.

        Args:
            what: the function's name.
            index: the task's number within its call.
            arguments: shortened.
            sending: whether the task had finished.
            kind: the class of the error.
        """
        if kind is None:
            from holdfast.errors import WorkerDied as kind  # noqa: N813, PLC0415 - late
        doing = "while it sent the result of" if sending else "while it ran"
        lines = [f"worker process (pid {self.pid}) {self.how()} {doing} task {index}: {what}{arguments}"]
        if self.stacks:
            kept = self.stacks.splitlines()[:_LINES]
            lines += ["its last stacks:", *(f"    {line}" for line in kept)]
        lines.append("only this task failed; another worker has taken its place")
        assert kind is not None  # noqa: S101 - see above
        return kind(
            "\n".join(lines), pid=self.pid, exitcode=self.exitcode, signal=self.signal, task=index, arguments=arguments
        )


def read_stacks(fd: int) -> str:
    """What a fault handler has written into a file, which is emptied; without the frames below the user's."""
    text = b""
    with suppress(OSError):
        text = os.pread(fd, 1 << 16, 0)
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
    kept: list[str] = []
    below = False
    for line in text.decode(errors="replace").splitlines():
        below = (below or _WORKER in line) and bool(line.strip())
        if line.strip() and not below and not line.startswith("Extension modules"):
            kept.append(line)
    return "\n".join(kept)


__all__ += ["read_stacks", "shown_call"]
