"""Count words with several processes, kill one of them while it holds the lock, and still be exactly right.

An ordinary program on the standard library's `multiprocessing`; nothing in it knows of holdfast. Run it as

    holdfast run examples/word_count.py --kill

and the lock survives its dead holder. With `python examples/word_count.py --kill` everybody waits for the dead: Ctrl-C.

    parent --- the plan: files in batches ---> workers --- "about to be killed", warnings (a pipe each) ---> parent
                                                 |
          state[batch] words[batch] total        |  one rename a batch: counts/<batch>.json
          shared, under one lock  <--------------+

What makes it safe: facts first, one store last. A worker writes the counts of a batch to a file, then under the lock
its number of words, then DONE. Killed before the last of these, the batch still counts as the worker's; the parent sees
the worker end, makes the batch free, and whoever takes it writes the same again. Killed after it, nothing is missing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import re
import signal
import sys
import sysconfig
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from multiprocessing.context import BaseContext

WORD = re.compile(r"\w+")
BATCHES = 128
FREE, DONE = 0, -1  # what state[batch] says; any other number is the pid of the worker that counts it


def text_files(folder: Path) -> list[Path]:
    """List the text files below a folder, in a fixed order; installed packages and caches are left out."""
    skipped = {"site-packages", "dist-packages", "__pycache__"}
    inside = (path for path in folder.rglob("*") if skipped.isdisjoint(path.relative_to(folder).parts))
    return sorted(path for path in inside if path.is_file() and is_text(path))


def is_text(path: Path) -> bool:
    """Tell text from binary as grep does: there is no NUL byte in the first 8 KiB."""
    with path.open("rb") as file:
        return b"\0" not in file.read(8192)


def count(paths: Iterable[Path]) -> Counter[str]:
    """Count the words of some files."""
    words: Counter[str] = Counter()
    for path in paths:
        words.update(WORD.findall(path.read_text(encoding="utf-8", errors="replace").lower()))
    return words


class Job:
    """The plan and the shared state; every process has it."""

    def __init__(self, context: BaseContext, files: Sequence[Path], folder: Path, *, kill: bool) -> None:
        size = min(BATCHES, len(files))
        self.batches = [files[start::size] for start in range(size)]
        self.folder = folder
        self.lock = context.Lock()
        # The lock guards all of these; a lock of their own would only be one more to take.
        self.state = context.Array("i", size, lock=False)
        self.words = context.Array("Q", size, lock=False)
        self.total = context.Value("Q", 0)
        self.batches_until_kill = context.Value("i", (size + 1) // 2 if kill else -1, lock=False)

    def claim(self) -> int | None:
        """Take a free batch, or None when there is none."""
        with self.lock:
            for batch, state in enumerate(self.state):
                if state == FREE:
                    self.state[batch] = os.getpid()
                    return batch
        return None

    def save(self, batch: int, words: Counter[str]) -> None:
        """Write the counts of a batch; a half-written file never has the final name."""
        draft = self.folder / f"{batch}.{os.getpid()}.draft"
        draft.write_text(json.dumps(words), encoding="utf-8")
        draft.replace(self.folder / f"{batch}.json")

    def commit(self, batch: int, words: Counter[str], parent: connection.Connection) -> None:
        """Make a batch count: number of words first, DONE second, and the total, which can be derived, last."""
        with self.lock:
            self.words[batch] = words.total()
            self.batches_until_kill.value -= 1
            if self.batches_until_kill.value == 0:
                parent.send(("holds the lock", None))
                parent.recv()  # until killed: nothing is ever sent
            self.state[batch] = DONE
            self.total.value = sum(self.words[:])

    def give_back(self, pid: int) -> int:
        """Free what a dead worker had claimed and not finished; returns how many files that are."""
        files = 0
        with self.lock:
            for batch, state in enumerate(self.state):
                if state == pid:
                    self.state[batch] = FREE
                    files += len(self.batches[batch])
        return files

    def merged(self) -> Counter[str]:
        """Add up the counts of all batches."""
        words: Counter[str] = Counter()
        for batch in range(len(self.batches)):
            words.update(json.loads((self.folder / f"{batch}.json").read_text(encoding="utf-8")))
        return words


def work(job: Job, parent: connection.Connection) -> None:
    """Count batches until none is free: what a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends its daemons

    def tell(message: Warning | str, category: type[Warning], *_where: Any) -> None:  # noqa: ANN401
        parent.send(("warns", f"{category.__name__}: {message}"))

    warnings.showwarning = tell  # type: ignore[assignment] # only the parent writes on the terminal
    while (batch := job.claim()) is not None:
        words = count(job.batches[batch])
        job.save(batch, words)
        job.commit(batch, words, parent)


class Screen:
    """The progress line: redrawn at most ten times a second; without a terminal a plain line every ten seconds."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.seconds = 0.1 if self.terminal else 10.0
        self.drawn = time.monotonic() if not self.terminal else 0.0

    def progress(self, job: Job) -> None:
        """Show how far the job is, if it is time to."""
        now = time.monotonic()
        if now - self.drawn < self.seconds:
            return
        self.drawn = now
        done = sum(state == DONE for state in job.state)
        line = f"{done * 100 // len(job.batches)} % of {len(job.batches)} batches, {job.total.value:,} words"
        sys.stderr.write(f"\r\033[K{line}" if self.terminal else f"{line}\n")
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """Print a line above the progress line."""
        if self.terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
        print(text, flush=True)

    def warn(self, message: Warning | str, category: type[Warning], *_where: Any) -> None:  # noqa: ANN401
        """Stand in for `warnings.showwarning`, so that a warning does not run into the progress line."""
        self.say(f"{category.__name__}: {message}")


@dataclass
class Worker:
    """A process and the parent's end of its pipe (None when the other end is closed)."""

    process: mp.process.BaseProcess
    pipe: connection.Connection | None

    @classmethod
    def start(cls, context: Any, job: Job) -> Worker:  # noqa: ANN401 - contexts share no public type with Process
        """Start a process that works at the job."""
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(job, theirs), daemon=True)
        process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        return cls(process, ours)

    def listen(self, screen: Screen) -> None:
        """Handle one message."""
        if self.pipe is None:
            return
        try:
            kind, text = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.pipe.close()
            self.pipe = None
            return
        if kind == "warns":
            screen.say(f"  {text}")
        elif self.process.pid is not None:
            screen.say(f"process {self.process.pid} holds the lock: killing it now (SIGKILL)")
            os.kill(self.process.pid, signal.SIGKILL)


class Crew:
    """All workers, and what the parent does while they work."""

    def __init__(self, context: BaseContext, job: Job, screen: Screen, size: int) -> None:
        self.context, self.job, self.screen = context, job, screen
        self.workers = [Worker.start(context, job) for _ in range(size)]

    def run(self) -> None:
        """Listen to the workers until all batches are done."""
        while self.workers:
            ends: list[Any] = [worker.process.sentinel for worker in self.workers]
            pipes = [worker.pipe for worker in self.workers if worker.pipe is not None]
            ready = connection.wait([*ends, *pipes], timeout=self.screen.seconds)
            for worker in list(self.workers):
                if worker.pipe in ready:
                    worker.listen(self.screen)
                elif worker.process.sentinel in ready:  # and nothing is left to be read
                    self.workers.remove(worker)
                    self.bury(worker)
            self.screen.progress(self.job)

    def bury(self, worker: Worker) -> None:
        """Give the work of a worker that ended to the others."""
        worker.process.join()
        if worker.pipe is not None:
            worker.pipe.close()
        if not worker.process.exitcode or worker.process.pid is None:
            return
        if worker.process.exitcode > 0:  # not killed but failed: another one would fail as well
            sys.exit(f"process {worker.process.pid} failed with exit code {worker.process.exitcode}")
        files = self.job.give_back(worker.process.pid)
        self.screen.say(f"process {worker.process.pid} is dead; its {files} unfinished files go to the others")
        self.workers.append(Worker.start(self.context, self.job))  # the others may have gone home already


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Count the words of all text files below a folder.")
    parser.add_argument("folder", nargs="?", type=Path, help="default: the sources of Python's standard library")
    parser.add_argument("--workers", type=int, help="number of processes (default: one a processor, at least 2)")
    parser.add_argument("--kill", action="store_true", help="kill one worker while it holds the lock")
    parser.add_argument("--start-method", choices=mp.get_all_start_methods(), help="default: Python's")
    options = parser.parse_args()
    if options.workers is not None and options.workers < 1:
        parser.error("--workers must be at least 1")
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"no such folder: {options.folder}")
    return options


def describe(words: Counter[str]) -> str:
    """Put totals and the commonest words into a line."""
    common = ", ".join(f"{word} {number:,}" for word, number in words.most_common(4))
    return f"{words.total():,} words, {len(words):,} different ({common})"


def main() -> int:
    """Count with several processes, count again with this one, compare; returns the exit code."""
    options = arguments()
    files = text_files(options.folder or Path(sysconfig.get_path("stdlib")))
    if not files:
        print("no text files there")
        return 1
    size = options.workers or max(2, os.cpu_count() or 2)
    screen = Screen()
    warnings.showwarning = screen.warn  # type: ignore[assignment]
    screen.say(f"{len(files):,} files, {size} processes")
    context = mp.get_context(options.start_method)
    with tempfile.TemporaryDirectory(prefix="word_count-") as folder:
        job = Job(context, files, Path(folder), kill=options.kill)
        Crew(context, job, screen, size).run()
        many, total = job.merged(), job.total.value
    screen.say(f"several processes: {describe(many)}")
    one = count(files)
    screen.say(f"one process:       {describe(one)}")
    equal = many == one and total == one.total()
    screen.say("equal" if equal else "NOT EQUAL")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
