"""Starting the programs of this folder, and ending whatever they leave, process by process.

test ──> Program ──> its own session:  python -m holdfast run programs/x.py spawn     (mode "run": unmodified)
                                       python x.py spawn                              (mode "import": one line changed)
                                       python programs/x.py spawn                     (mode "plain": a control)
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

METHODS = ("fork", "spawn", "forkserver")
MODES = ("run", "import")
PROGRAMS = Path(__file__).with_name("programs")
WATCHDOG = 120.0
TOGETHER = 5  # programs at a time: they disturb each other, which makes moments more random
LONGEST = {"fork": 0.6, "spawn": 1.5, "forkserver": 1.5}  # seconds: some rounds of pool_busy.py


def command(name: str, mode: str, workplace: Path) -> list[str]:
    """Return the command that starts a program in a mode; ``workplace`` receives the changed copy."""
    if mode == "run":
        return [sys.executable, "-m", "holdfast", "run", str(PROGRAMS / name)]
    if mode == "plain":
        return [sys.executable, str(PROGRAMS / name)]
    for source in (name, "steps.py"):
        text = (PROGRAMS / source).read_text()
        text = text.replace("import multiprocessing as mp\n", "import holdfast as mp\n")
        (workplace / source).write_text(text.replace("from multiprocessing import", "from holdfast import"))
    return [sys.executable, str(workplace / name)]


class Program:
    """A running program in a session of its own; what it prints goes to files, which no orphan can hold open."""

    def __init__(self, argv: list[str], environment: dict[str, str] | None = None) -> None:
        self.out = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed by end)
        self.err = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.read = 0
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=self.out,
            stderr=self.err,
            text=True,
            start_new_session=True,
            env=os.environ | (environment or {}),
        )

    def line(self) -> str:
        """Return the next line the program prints, without its end; "" if it ended, or was silent for two minutes."""
        found: list[str] = []

        def ready() -> bool:
            ended = self.process.poll() is not None
            found[:] = text_of(self.out)[self.read :].splitlines(keepends=True)[:1]
            return ended or bool(found and found[0].endswith("\n"))

        eventually(ready, watchdog=WATCHDOG)
        self.read += len("".join(found))
        return "".join(found).rstrip("\n")

    def say(self, text: str) -> None:
        """Send a line to the program."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def finish(self) -> tuple[str, str]:
        """Wait for the program; return what it printed (beyond the lines taken) and its error output.

        Raises:
            AssertionError: it was stuck for two minutes.
        """
        try:
            self.process.wait(WATCHDOG)
        except subprocess.TimeoutExpired:
            msg = f"stuck for {WATCHDOG:.0f} s: {self.process.args!r}\n{text_of(self.err)}"
            raise AssertionError(msg) from None
        return text_of(self.out)[self.read :].strip(), text_of(self.err)

    def members(self) -> list[int]:
        """Return the processes of the session that still run."""
        return session_members(self.process.pid)

    def end(self) -> None:
        """Kill every process of the session, by its id."""
        while left := self.members():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.out.close()
        self.err.close()


def text_of(file: IO[str]) -> str:
    """Return everything a program has written to one of its files so far."""
    return os.pread(file.fileno(), 1 << 22, 0).decode(errors="replace")


@contextmanager
def running(argv: list[str], environment: dict[str, str] | None = None) -> Iterator[Program]:
    """Start a program; when the block ends nothing of its session is left."""
    program = Program(argv, environment)
    try:
        yield program
    finally:
        program.end()


def at_random_moments(
    workplace: Path, method: str, number: signal.Signals, environment: dict[str, str] | None = None
) -> Iterator[tuple[float, Program]]:
    """Send programs with busy pools a signal, each at a moment of its own; yield moments and programs.

    An interrupt goes to all processes of the session, as one from the keyboard does, the others to the parent only.
    """
    with ExitStack() as stack:
        argv = [*command("pool_busy.py", "run", workplace), method]
        programs = [stack.enter_context(running(argv, environment)) for _ in range(TOGETHER)]
        for program in programs:
            assert program.line() == "begins", program.finish()
        began = time.monotonic()
        moments = sorted(random.random() * LONGEST[method] for _ in programs)
        for moment, program in zip(moments, programs, strict=True):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            if number == signal.SIGINT:
                with suppress(ProcessLookupError):  # it has ended by itself: its output says why
                    os.killpg(program.process.pid, number)
            else:
                program.process.send_signal(number)
        yield from zip(moments, programs, strict=True)


def session_members(session: int) -> list[int]:
    """Return the processes of a session that are neither dead nor zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                fields = Path(entry, "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] not in "ZX":
                    found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Callable[[], Any], *, watchdog: float) -> bool:
    """Return whether a condition came true before ``watchdog`` seconds passed; looks often, waits for nothing else."""
    deadline = time.monotonic() + watchdog
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def run_code(
    code: str, *arguments: str, environment: dict[str, str] | None = None, before: list[str] | None = None
) -> tuple[int, str, str]:
    """Run Python code in a fresh interpreter; return exit code, output and error output."""
    return run_script([*(before or []), sys.executable, "-c", code, *arguments], environment)


def run_script(argv: list[str], environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, output and error output."""
    with running(argv, environment) as program:
        out, err = program.finish()
        return program.process.returncode, out, err
