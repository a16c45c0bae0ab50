"""Memory stays flat: locks made and dropped, locks pickled to another process and back, and a group killed as a whole.

    python ci/memory.py            10 million locks, 1 million journeys, 3 killed groups (some minutes)
    python ci/memory.py --short    a hundredth of that

Prints a table of resident size (KiB), arena size (KiB) and slots used as the work goes on. The first tenth of each kind
of work is warm-up (caches of the interpreter and of the arena fill); after it neither size may grow by more than
``SLACK_KIB``. Exit code 1 if one does, or if files are left once the next program has started.
"""

from __future__ import annotations

import argparse
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

SLACK_KIB = 1024  # KiB that resident or arena size may differ between warm-up and end
ROWS = 10
BATCH = 200

VICTIM = """
import os, signal, sys, holdfast
read, write = os.pipe()
things = [holdfast.Lock() for _ in range(2000)] + [holdfast.Semaphore(3), holdfast.Event(), holdfast.Value("i", 0)]
for _ in range(3):
    if os.fork() == 0:
        things[0].acquire(block=False)
        os.write(write, b"x")
        signal.pause()
for _ in range(3):
    os.read(read, 1)
print("ready", flush=True)
signal.pause()
"""
NEXT = "import holdfast; lock = holdfast.Lock(); lock.acquire(); lock.release()"


def resident() -> int:
    """Return this process's resident size in KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def sizes() -> tuple[int, int, int]:
    """Return resident KiB, arena KiB, and slots used."""
    from holdfast import _core

    stats = _core.arena_stats(None)
    return resident(), stats["bytes"] // 1024, stats["slots_used"]


def row(name: str, done: int, now: tuple[int, int, int]) -> None:
    """Print one line of the table."""
    print(f"{name:<18} {done:>10,} {now[0]:>10,} {now[1]:>10,} {now[2]:>8,}", flush=True)


def flat(name: str, total: int, step: Callable[[int], None]) -> bool:
    """Do ``total`` things in ten parts; return whether sizes stood still after the first part."""
    done, base, now = 0, (0, 0, 0), (0, 0, 0)
    for part in range(ROWS):
        step(total // ROWS)
        done += total // ROWS
        now = sizes()
        row(name, done, now)
        if part == 0:
            base = now
    grown = [after - before for before, after in zip(base, now, strict=True)]
    fine = grown[0] <= SLACK_KIB and grown[1] <= SLACK_KIB
    if not fine:
        print(f"{name}: grew by {grown[0]:,} KiB resident, {grown[1]:,} KiB of arena, {grown[2]:,} slots")
    return fine


def make_and_drop(count: int) -> None:
    """Make locks and drop them at once."""
    import holdfast

    for _ in range(count):
        holdfast.Lock()


def mirror(conn: Connection) -> None:
    """The other process: use every lock and send it back."""
    while (batch := conn.recv()) is not None:
        for lock in batch:
            lock.acquire()
            lock.release()
        conn.send(batch)
        del batch, lock


class Journeys:
    """Sends batches of new locks to a child and takes them back."""

    def __init__(self, method: str) -> None:
        import holdfast

        context = holdfast.get_context(method)
        self.conn, there = context.Pipe()
        self.child = context.Process(target=mirror, args=(there,), daemon=True)
        self.child.start()
        there.close()

    def __call__(self, count: int) -> None:
        """Send and take back ``count`` locks."""
        import holdfast

        for _ in range(count // BATCH):
            sent = [holdfast.Lock() for _ in range(BATCH)]
            self.conn.send(sent)
            back = self.conn.recv()
            for one, other in zip(sent, back, strict=True):
                one.acquire()
                other.release()

    def close(self) -> None:
        """End the child."""
        self.conn.send(None)
        self.child.join()


def pickled_at_home(count: int) -> None:
    """Pickle locks and load them in the same process."""
    import holdfast

    for _ in range(count):
        data = pickle.dumps(holdfast.Lock())
        pickle.loads(data)  # noqa: S301  (our own bytes)


def session(pid: int) -> Iterator[int]:
    """Yield the processes of a session."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = Path(entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == pid and fields[0] not in "ZX":
                yield int(entry.name)


def killed_group() -> bool:
    """Kill a whole program and return whether the next one leaves nothing of it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as home:  # noqa: S108
        Path(home).chmod(0o700)
        environment = os.environ | {"HOLDFAST_DIR": home}
        victim = subprocess.Popen(
            [sys.executable, "-c", VICTIM],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert victim.stdout is not None  # noqa: S101  (a pipe was asked for)
        victim.stdout.readline()
        before = list(Path(home).iterdir())
        while left := list(session(victim.pid)):
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        victim.wait()
        victim.stdout.close()
        subprocess.run([sys.executable, "-c", NEXT], env=environment, check=True)
        after = list(Path(home).iterdir())
    print(f"{'killed group':<18} files before {len(before)}, after the next program {len(after)}")
    return bool(before) and not after


def main(argv: list[str] | None = None) -> int:
    """Run all of it; return 1 if something grew or was left."""
    parser = argparse.ArgumentParser(description="Show that memory stays flat.")
    parser.add_argument("--short", action="store_true", help="a hundredth of the full run")
    parser.add_argument("--method", choices=["fork", "spawn", "forkserver"], default="spawn")
    options = parser.parse_args(argv)
    scale = 100 if options.short else 1
    print(f"{'work':<18} {'done':>10} {'RSS KiB':>10} {'arena KiB':>10} {'slots':>8}")
    fine = flat("make and drop", 10_000_000 // scale, make_and_drop)
    journeys = Journeys(options.method)
    fine &= flat("there and back", 1_000_000 // scale, journeys)
    journeys.close()
    fine &= flat("dumps and loads", 1_000_000 // scale, pickled_at_home)
    for _ in range(3):
        fine &= killed_group()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
