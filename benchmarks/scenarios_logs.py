"""Scenarios of logs: lines a second of several processes into one file, and what a line costs the one that logs it.

The anchor is what the standard library's documentation recommends: QueueHandler in the children, multiprocessing.Queue,
and a QueueListener with a FileHandler in the parent. Time runs from the word to begin until the last line is in the
file; what was written is counted.
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import child, end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scenarios_one import Result

LINES = 30_000  # of all processes together
LIMIT = 1_000_000  # bytes
QUEUE, OURS, SETUP = "QueueHandler", "holdfast.logs.FileHandler", "holdfast.logs.setup"
TEXT = "process %d writes line %d of many, with some text behind it"
LAYOUT = "%(asctime)s %(processName)s %(levelname)s %(name)s %(message)s"


class Contender:
    """A way to log from children: ``open`` in the parent before them, ``close`` after them."""

    def __init__(self, folder: Path, logger: logging.Logger) -> None:
        self.path, self.logger = folder / "app.log", logger

    def handler(self) -> logging.Handler:
        """What children use: a handler made before they are forked."""
        return logging.FileHandler(self.path)

    def open(self) -> None:
        self.attach(self.handler())

    def attach(self, handler: logging.Handler) -> None:
        handler.setFormatter(logging.Formatter(LAYOUT))
        self.logger.addHandler(handler)

    def start(self) -> None:
        """When the children are there, and wait for the word."""

    def close(self) -> None:
        """Until all is in the file."""


class Appending(logging.Handler):
    """The limit: one write to a file opened for appending."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def emit(self, record: logging.LogRecord) -> None:
        os.write(self.fd, (self.format(record) + "\n").encode())


class Bare(Contender):
    def handler(self) -> logging.Handler:
        return Appending(self.path)


class Ours(Contender):
    limit = 0

    def handler(self) -> logging.Handler:
        import holdfast.logs

        return holdfast.logs.FileHandler(self.path, max_bytes=self.limit)


class OursRotating(Ours):
    limit = LIMIT


class Setup(Contender):
    def open(self) -> None:
        import holdfast.logs

        super().open()
        self.log = holdfast.logs.setup()

    def close(self) -> None:
        self.log.close()


class SetupRotating(Setup):
    def handler(self) -> logging.Handler:
        import holdfast.logs

        return holdfast.logs.FileHandler(self.path, max_bytes=LIMIT)


class Queued(Contender):
    def open(self) -> None:
        queue: Any = multiprocessing.get_context("fork").Queue()
        self.logger.addHandler(logging.handlers.QueueHandler(queue))
        target = self.handler()
        target.setFormatter(logging.Formatter(LAYOUT))
        self.listener = logging.handlers.QueueListener(queue, target)

    def start(self) -> None:
        self.listener.start()

    def close(self) -> None:
        self.listener.stop()


class Concurrent(Contender):
    def handler(self) -> logging.Handler:
        from concurrent_log_handler import ConcurrentRotatingFileHandler  # type: ignore[import-not-found,unused-ignore]

        handler: logging.Handler = ConcurrentRotatingFileHandler(str(self.path), maxBytes=LIMIT, backupCount=99)
        return handler


class Loguru(Contender):
    def open(self) -> None:
        from loguru import logger  # type: ignore[import-not-found,unused-ignore]

        logger.remove()
        logger.add(str(self.path), enqueue=True, format="{time} {process.name} {level} {message}", context=FORK)
        self.logger = logger

    def close(self) -> None:
        self.logger.remove()  # type: ignore[attr-defined]


FORK = multiprocessing.get_context("fork")
PLAIN: dict[str, type[Contender]] = {
    QUEUE: Queued,
    OURS: Ours,
    SETUP: Setup,
    "uncoordinated FileHandlers": Contender,
    "limit: bare O_APPEND": Bare,
    "loguru, enqueue=True": Loguru,
}
ROTATING: dict[str, type[Contender]] = {
    QUEUE: Queued,
    OURS: OursRotating,
    SETUP: SetupRotating,
    "concurrent-log-handler": Concurrent,
}


def lines(contenders: dict[str, type[Contender]], processes: int) -> Callable[[], Iterator[Result]]:
    """Return the scenario of so many processes: lines a second."""
    return lambda: _scenario(contenders, processes, 0)


def caller(processes: int) -> Callable[[], Iterator[Result]]:
    """Return the scenario of what a line costs the process that logs it: microseconds of its processor time."""
    only = {QUEUE: Queued, OURS: Ours, SETUP: Setup}
    return lambda: _scenario(only, processes, 1)


def _scenario(contenders: dict[str, type[Contender]], processes: int, figure: int) -> Iterator[Result]:
    for name, kind in contenders.items():
        # Each in a process of its own: nobody's threads or handlers are in another's way.
        receives, sends = os.pipe()
        pid = child(lambda kind=kind, sends=sends: _tell(sends, measure(kind, processes)[figure]))  # type: ignore[misc]
        os.close(sends)
        with os.fdopen(receives) as answer:
            text = answer.read()
        end(pid)
        if text == "missing":
            print(f"left out: {name} (not installed)", file=sys.stderr)
        else:
            yield name, float(text)


def _tell(sends: int, figure: float | None) -> None:
    os.write(sends, ("missing" if figure is None else repr(figure)).encode())


def measure(kind: type[Contender], processes: int) -> tuple[float | None, float | None]:
    """Return lines a second, and microseconds of a caller's thread for a line."""
    folder = Path(tempfile.mkdtemp(prefix="hfbench-"))
    try:
        logger = logging.getLogger("bench")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        contender = kind(folder, logger)
        try:
            contender.open()
        except ImportError:
            return None, None
        return _run(contender, folder, processes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(contender: Contender, folder: Path, processes: int) -> tuple[float, float]:
    count = LINES // processes
    begin, told = FORK.Event(), FORK.SimpleQueue()

    def work(number: int) -> None:
        info = contender.logger.info
        text = TEXT.replace("%d", "{}") if isinstance(contender, Loguru) else TEXT
        begin.wait()
        before = time.thread_time()
        for line in range(count):
            info(text, number, line)
        told.put((time.thread_time() - before) / count * 1e6)

    children = [FORK.Process(target=work, args=(number,)) for number in range(processes)]
    for each in children:
        each.start()
    contender.start()
    began = time.perf_counter()
    begin.set()
    costs = [told.get() for _ in children]
    for each in children:
        each.join()
    contender.close()
    taken = time.perf_counter() - began
    found = sum(path.read_bytes().count(b"\n") for path in folder.glob("app.log*"))
    if found != count * processes:
        print(f"{type(contender).__name__}: {found} of {count * processes} lines", file=sys.stderr)
    return found / taken, statistics.median(costs)
