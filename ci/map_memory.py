"""Memory of `holdfast.map` stays flat over a generator of any length, and the first result comes at once.

    python ci/map_memory.py                    10,000,000 items on processes
    python ci/map_memory.py --items 1000000 --on threads --unordered
    python ci/map_memory.py --endless          until interrupted

Prints the resident size (KiB) of this process and of its workers, and the most items that were read ahead of the
results used, as the work goes on. The first tenth is warm-up; after it the sizes may grow by ``SLACK_KIB`` together.
Exit code 1 if they grow more.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import holdfast

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 10
SLACK_KIB = 16 * 1024


def work(number: int) -> int:
    """Do next to nothing."""
    return number + 1


class Count:
    """Integers, and how many of them were taken."""

    def __init__(self, total: int | None) -> None:
        self.taken = 0
        self._total = total

    def __iter__(self) -> Iterator[int]:
        for number in itertools.count() if self._total is None else range(self._total):
            self.taken = number + 1
            yield number


def resident_kib(pid: int) -> int:
    """Private memory of a process."""
    fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE") // 1024


def sizes() -> tuple[int, int]:
    """Memory of this process and of its workers, in KiB."""
    workers = [process.pid for process in holdfast.active_children()]
    return resident_kib(os.getpid()), sum(resident_kib(pid) for pid in workers if pid)


def main() -> int:
    """Use up the results."""
    parser = argparse.ArgumentParser(description="Memory of holdfast.map over a long generator.")
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--on", default="processes", choices=["processes", "threads", "interpreters"])
    parser.add_argument("--unordered", action="store_true")
    parser.add_argument("--endless", action="store_true")
    options = parser.parse_args()
    items = Count(None if options.endless else options.items)
    began = time.perf_counter()
    results = holdfast.map(work, items, on=options.on, ordered=not options.unordered)
    total = next(results)
    print(f"first result after {(time.perf_counter() - began) * 1e3:.1f} ms, {items.taken} items taken")
    base = now = (0, 0)
    ahead = 0
    step = options.items // ROWS
    for used, result in enumerate(results, 2):
        total += result
        if used % step:
            continue
        ahead = max(ahead, items.taken - used)
        now = sizes()
        base = base if used > step else now
        print(f"{used:>12,} used, {ahead:>7,} ahead at most, {now[0]:>8,} KiB here, {now[1]:>8,} KiB in workers")
    seconds = time.perf_counter() - began
    wanted = options.items * (options.items + 1) // 2
    print(f"{options.items:,} items in {seconds:.1f} s, {seconds / options.items * 1e6:.2f} us each; {results}")
    grown = sum(now) - sum(base)
    print(f"grown by {grown:,} KiB")
    return int(grown > SLACK_KIB or total != wanted)


if __name__ == "__main__":
    sys.exit(main())
