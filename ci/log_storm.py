"""A storm of SIGKILLs over processes that log: every line whose call returned is there, once and whole.

    supervisor ──starts──> writers ── logger.info(line), then a note of its number on a board ──> the log
        │  kills random ones, replaces them, until enough is logged
        └─ in the end: the files of the log are read and compared with the board

    python ci/log_storm.py --kind setup        records of forked children, through holdfast.logs.setup
    python ci/log_storm.py --kind file         forked children, each with a holdfast.logs.FileHandler
    python ci/log_storm.py --kind programs --processes 8     programs that do not know each other, on one file

A line is whole if its checksum is right; a file is not longer than the limit; lines of a process are in order.
Exit code 1 with the reasons otherwise.
"""

from __future__ import annotations

import argparse
import json
import logging
import logging.handlers
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

LIMIT = 1_000_000  # bytes of a file
KINDS = ("setup", "file", "programs")
LINE = re.compile(rb"(\d+) (\d+) (x*) ([0-9a-f]{8})")
BACKUPS = 500  # more than there will be
LONGEST = 150  # characters that a line is stretched by at most


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="SIGKILL processes that log; look for lines that are lost or torn.")
    parser.add_argument("--kind", choices=KINDS, default="setup")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--lines", type=int, default=100_000, help="of each process (default 100000)")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--limit", type=int, default=LIMIT, help="bytes of a file (default 1000000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a line")
    parser.add_argument("--write", nargs=3, metavar=("FOLDER", "WRITER", "LINES"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


class Board:
    """For each writer ever started, how many of its calls have returned; in a file that all of them map."""

    WRITERS = 100_000

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(8 * self.WRITERS)
            self.words = memoryview(mmap.mmap(file.fileno(), 8 * self.WRITERS)).cast("q")


def line(writer: int, number: int) -> str:
    """One line: who, which, some text, and a checksum of all that."""
    text = f"{writer} {number} {'x' * ((writer * 7 + number * 13) % LONGEST)}"
    return f"{text} {zlib.crc32(text.encode()):08x}"


def write(board: Board, writer: int, lines: int) -> None:
    """Log so many lines, and note each when its call has returned."""
    logger = logging.getLogger("storm")
    for number in range(1, lines + 1):
        logger.info(line(writer, number))
        board.words[writer] = number


def own_handler(folder: Path, limit: int) -> logging.Handler:
    """The handler of a writer that has no parent's."""
    from holdfast.logs import FileHandler

    return FileHandler(folder / "storm.log", max_bytes=limit, backups=BACKUPS)


class Storm:
    """One storm in a folder of its own."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.random = random.Random(options.seed)
        self.board = Board(folder / "board")
        self.started = self.kills = 0
        self.running: dict[int, Any] = {}  # writer: what can be polled and killed
        logger = logging.getLogger("storm")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        self.log: Any = None
        path = str(folder / "storm.log")
        if options.kind == "setup":
            import holdfast.logs

            logger.addHandler(logging.handlers.RotatingFileHandler(path, maxBytes=options.limit, backupCount=BACKUPS))
            self.log = holdfast.logs.setup()
        elif options.kind == "file":
            logger.addHandler(own_handler(folder, options.limit))

    def start(self) -> None:
        """Start one more writer."""
        writer = self.started
        self.started += 1
        if self.options.kind == "programs":
            words = ["--write", self.folder, writer, self.options.lines, "--limit", self.options.limit]
            self.running[writer] = subprocess.Popen([sys.executable, __file__, *map(str, words)])
            return
        import holdfast

        process = holdfast.get_context("fork").Process(target=write, args=(self.board, writer, self.options.lines))
        process.start()
        self.running[writer] = process

    def goal(self) -> int:
        """How many lines are to be logged by all together."""
        return int(self.options.processes * self.options.lines)

    def run(self) -> None:
        """Kill and replace until all is logged and all kills are done; then let the last ones finish."""
        while True:
            done = sum(self.board.words[: self.started])
            if done >= self.goal() and self.kills >= self.options.kills:
                break
            while len(self.running) < self.options.processes:
                self.start()
            # A kill whenever the next share of the lines is logged; faster if the lines are through already.
            if done * self.options.kills >= self.goal() * self.kills or done >= self.goal():
                time.sleep(self.random.random() * 0.005)
                self.kill(self.random.choice(list(self.running)))
            self.reap()
            time.sleep(0.001)
        for process in self.running.values():
            ended(process, wait=True)
        if self.log is not None:
            self.log.close()

    def kill(self, writer: int) -> None:
        """SIGKILL a writer that has begun."""
        process = self.running[writer]
        if self.kills < self.options.kills and self.board.words[writer] and not ended(process):
            os.kill(process.pid, signal.SIGKILL)
            self.kills += 1

    def reap(self) -> None:
        """Forget the writers that have ended."""
        self.running = {writer: process for writer, process in self.running.items() if not ended(process)}

    def verdict(self) -> tuple[dict[str, int], list[str]]:
        """What is in the files, and what is wrong with it."""
        paths = sorted(self.folder.glob("storm.log*"), key=age, reverse=True)
        seen = [0] * self.started  # the last number of each writer
        counts = {"files": len(paths), "lines": 0, "writers": self.started, "kills": self.kills, "longest": 0}
        wrong: list[str] = []
        for path in paths:
            data = path.read_bytes()
            counts["longest"] = max(counts["longest"], len(data))
            if len(data) > self.options.limit:
                wrong.append(f"{path.name} has {len(data)} bytes")
            if data and not data.endswith(b"\n"):
                wrong.append(f"{path.name} ends within a line: {data[-100:]!r}")
            for text in data.splitlines():
                counts["lines"] += 1
                match = LINE.fullmatch(text)
                if match is None or text.decode() != line(int(match[1]), int(match[2])):
                    wrong.append(f"{path.name}: not a line: {text[:300]!r}")
                    continue
                writer, number = int(match[1]), int(match[2])
                if number != seen[writer] + 1:
                    wrong.append(f"{path.name}: line {number} of writer {writer} comes after {seen[writer]}")
                seen[writer] = number
        for writer, number in enumerate(seen):
            if number < self.board.words[writer]:
                wrong.append(f"writer {writer}: {self.board.words[writer]} calls returned, the last line is {number}")
        return counts, wrong


def ended(process: Any, *, wait: bool = False) -> bool:
    """Whether a process or program has ended; with `wait`, once it has."""
    if isinstance(process, subprocess.Popen):
        return (process.wait() if wait else process.poll()) is not None
    if wait:
        process.join()
    return process.exitcode is not None


def age(path: Path) -> int:
    """0 for the file itself, then its old files from the youngest on."""
    suffix = path.name.rpartition(".")[2]
    return int(suffix) if suffix.isdigit() else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code says whether all was well."""
    options = arguments(argv)
    if options.write:
        folder, writer, lines = Path(options.write[0]), int(options.write[1]), int(options.write[2])
        logging.getLogger("storm").setLevel(logging.INFO)
        logging.getLogger("storm").addHandler(own_handler(folder, options.limit))
        write(Board(folder / "board"), writer, lines)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="hflog-"))
    try:
        storm = Storm(options, folder)
        began = time.monotonic()
        storm.run()
        counts, wrong = storm.verdict()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    counts["seconds"] = round(time.monotonic() - began)
    if options.json:
        print(json.dumps({"kind": options.kind, **counts, "wrong": wrong}))
    else:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        print(f"{options.kind}: {told}, wrong {len(wrong)}")
        for each in wrong[:20]:
            print("   ", each)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
