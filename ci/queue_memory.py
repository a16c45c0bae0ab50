"""Memory of queues stays flat: queues made and dropped, big messages through one queue, views held and dropped.

    python ci/queue_memory.py            10,000 queues, 100,000 messages of 1 MiB, 20,000 views (some minutes)
    python ci/queue_memory.py --short    a hundredth of the messages

Prints a table of resident size (KiB), shared memory (KiB) and slots as the work goes on. The first tenth of each kind
of work is warm-up; after it neither size may grow by more than ``SLACK_KIB``. Exit code 1 if one does.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

MIB = 1 << 20
SLACK_KIB = 8 * 1024  # KiB: a few more or fewer of the blocks of 1 MiB may be warm
LIMIT = 8  # messages in the queue at most
HELD = 4  # views kept at a time


def sizes() -> tuple[int, int, int]:
    """Return resident KiB without what is mapped of shared memory, KiB of shared memory, and slots used."""
    from holdfast import _core

    gc.collect()
    stats = _core.arena_stats(None)
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    private = (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE") // 1024
    path = Path(stats["path"])
    shared = sum(entry.stat().st_blocks for entry in os.scandir(path.parent) if path.name in entry.name) // 2
    return private, shared, stats["slots_used"]


def flat(name: str, total: int, step: Callable[[int], None]) -> bool:
    """Do ``total`` things in ten parts; return whether sizes stood still after the first part."""
    base = now = (0, 0, 0)
    for part in range(memory.ROWS):
        step(total // memory.ROWS)
        now = sizes()
        memory.row(name, (part + 1) * (total // memory.ROWS), now)
        if part == 0:
            base = now
    grown = [after - before for before, after in zip(base, now, strict=True)]
    if fine := max(grown[:2]) <= SLACK_KIB and grown[2] <= 1:
        return fine
    print(f"{name}: grew by {grown[0]:,} KiB resident, {grown[1]:,} KiB shared, {grown[2]:,} slots")
    return fine


def make_and_drop(count: int) -> None:
    """Make queues, use some, drop them with what is in them."""
    import holdfast

    for number in range(count):
        box: Any = (holdfast.Queue, holdfast.JoinableQueue, holdfast.SimpleQueue)[number % 3]()
        if number % 2:
            box.put(number)
        if number % 10 == 0:
            box.put(bytes(MIB))


def produce(box: Any, size: int) -> None:
    """The other process: put as many messages as the parent asks for."""
    orders, goods = box
    while count := orders.get():
        for number in range(count):
            goods.put(number.to_bytes(8, "little") * (size // 8))


class Stream:
    """Takes big messages that a child puts."""

    def __init__(self, method: str, *, copy: bool) -> None:
        import holdfast

        context = holdfast.get_context(method)
        self.copy = copy
        self.orders, self.goods = context.Queue(), context.Queue(LIMIT)
        self.child: BaseProcess = context.Process(target=produce, args=((self.orders, self.goods), MIB), daemon=True)
        self.child.start()

    def __call__(self, count: int) -> None:
        """Take ``count`` messages and look at each; without copies, hold a few.

        Raises:
            AssertionError: a message is wrong.
        """
        self.orders.put(count)
        held: list[Any] = []
        for number in range(count):
            got = self.goods.get(copy=self.copy)
            if len(got) != MIB or int.from_bytes(got[-8:], "little") != number:
                msg = f"message {number} is wrong"
                raise AssertionError(msg)
            held = [] if self.copy else [*held, got][-HELD:]

    def close(self) -> None:
        """End the child."""
        self.orders.put(0)
        self.child.join()


def main(argv: list[str] | None = None) -> int:
    """Run all of it; return 1 if something grew."""
    parser = argparse.ArgumentParser(description="Show that the memory of queues stays flat.")
    parser.add_argument("--short", action="store_true", help="a hundredth of the full run")
    parser.add_argument("--method", choices=["fork", "spawn", "forkserver"], default="spawn")
    options = parser.parse_args(argv)
    scale = 100 if options.short else 1
    print(f"{'work':<18} {'done':>10} {'own KiB':>10} {'shared KiB':>10} {'slots':>8}")
    fine = flat("make and drop", 10_000, make_and_drop)
    for name, total, copy in (("1 MiB messages", 100_000, True), ("1 MiB views", 20_000, False)):
        stream = Stream(options.method, copy=copy)
        fine &= flat(name, total // scale, stream)
        stream.close()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
