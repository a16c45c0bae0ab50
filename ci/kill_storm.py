"""A storm of real SIGKILLs over holdfast's primitives, alternating with drains in which nothing may be stranded.

    supervisor ──fork──> worker 0 .. N-1     random operations on a few shared primitives, until killed
        │  kills random workers, replaces them, makes the foreign releases workers ask for
        └─ drain: nobody starts anything new; everybody must finish what he began; then every primitive must be free

    python ci/kill_storm.py --kills 100000                    the lock, on a kernel with futex_waitv
    python ci/kill_storm.py --mode condition --seconds 60
    python ci/kill_storm.py --no-waitv                        as on an older kernel

Nothing but the protocol (and its heartbeat) may help a waiter in a drain. Latency: from just before ``os.kill`` of a
holder to just after ``acquire()`` returned in a process that was waiting then. Exit code 1 if anything was stranded or
two were inside.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import signal
import sys
import time
import warnings
from typing import TYPE_CHECKING

import storm_board as sb

if TYPE_CHECKING:
    from storm_modes import Mode

DRAIN_EVERY = 0.6  # seconds of storm between two drains


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="SIGKILL workers at random and look for strays.")
    names = ["lock", "loop", "rlock", "semaphore", "rwlock", "condition", "event"]
    parser.add_argument("--mode", choices=[*names, "all"], default="lock")
    parser.add_argument("--kills", type=int, default=100_000, help="stop after so many (default 100000)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after so long")
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--no-waitv", action="store_true", help="act as on a kernel without futex_waitv")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object for each mode instead of a line")
    return parser.parse_args(argv)


class Storm:
    """The supervisor of one mode."""

    def __init__(self, mode: Mode, workers: int, seed: int) -> None:
        self.mode, self.board = mode, mode.board
        self.random = random.Random(seed)
        self.pids: list[int] = [0] * workers
        self.kills = self.drains = self.stranded = self.unavailable = 0
        self.latencies: list[int] = []

    def start(self, index: int) -> None:
        """Fork a worker into a place."""
        from storm_modes import work

        self.board.clear(index)
        seed = self.random.getrandbits(48)
        pid = os.fork()
        if pid == 0:
            try:
                work(self.mode, index, seed)
            except BaseException as problem:  # noqa: BLE001  (a child must not return from here)
                print(f"worker {index}: {type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
                self.board.count(index, sb.ERRORS)
            finally:
                os._exit(3)
        self.pids[index] = pid

    def kill(self, index: int) -> None:
        """SIGKILL one worker, unless it stands under protection, noting the time for those who wait for it."""
        board = self.board
        board.put(index, sb.DOOMED, 1)
        sb.fence()
        if board.get(index, sb.PROTECTED):
            board.put(index, sb.DOOMED, 0)
            return
        held = [lock for lock in range(board.locks) if board.inside(index, lock)]
        now = time.monotonic_ns()
        for lock in held:
            board.words[board.killed_at + lock] = now
        os.kill(self.pids[index], signal.SIGKILL)
        self.kills += 1

    def replace(self, index: int) -> None:
        """Reap a killed worker and start another in its place."""
        if self.board.get(index, sb.DOOMED):
            os.waitpid(self.pids[index], 0)
            self.start(index)

    def storm(self, seconds: float, kills: int) -> None:
        """Kill for a while, one or several at a time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.kills < kills:
            self.mode.serve()
            victims = self.random.sample(range(len(self.pids)), self.random.choice((1, 1, 1, 2, 3)))
            for victim in victims:
                self.kill(victim)
            if self.random.random() < 0.3:
                time.sleep(self.random.random() * 0.002)
            for victim in victims:
                self.replace(victim)

    def drain(self) -> None:
        """Stop everything; the last victims are not replaced before the others have finished."""
        self.board.stop = True
        victims = self.random.sample(range(len(self.pids)), 2)
        for victim in victims:
            self.kill(victim)
        dead = {victim for victim in victims if self.board.get(victim, sb.DOOMED)}
        left = self.wait_parked(set(range(len(self.pids))) - dead)
        for index in left:
            self.stranded += 1
            print(f"stranded: worker {index}, {self.mode.things}", file=sys.stderr, flush=True)
            os.kill(self.pids[index], signal.SIGUSR1)
            time.sleep(0.2)
            self.board.put(index, sb.DOOMED, 1)
            os.kill(self.pids[index], signal.SIGKILL)
        self.unavailable += self.mode.available()
        self.drains += 1
        for index in range(len(self.pids)):
            self.latencies += self.board.collect(index)
        for index in {*dead, *left}:
            self.replace(index)
        self.board.stop = False

    def wait_parked(self, expected: set[int]) -> set[int]:
        """Wait until the survivors have finished; return who has not in all the time there is."""
        from storm_modes import PATIENCE

        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.mode.serve()
            states = {index: self.board.get(index, sb.STATE) for index in expected}
            if all(state == sb.PARKED for state in states.values()):
                return set()
            if all(state in (sb.PARKED, sb.WAITING) for state in states.values()):
                self.mode.wake()
            time.sleep(0.0005)
        return {index for index in expected if self.board.get(index, sb.STATE) != sb.PARKED}

    def run(self, kills: int, seconds: float) -> None:
        """Alternate storms and drains; leave no worker behind."""
        deadline = time.monotonic() + seconds
        for index in range(len(self.pids)):
            self.start(index)
        try:
            while self.kills < kills and time.monotonic() < deadline:
                self.storm(min(DRAIN_EVERY, max(0.0, deadline - time.monotonic())), kills)
                self.drain()
        finally:
            for pid in self.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def summary(self) -> dict[str, float | int]:
        """Return the counts, and the latencies in milliseconds."""
        told: dict[str, float | int] = {
            "kills": self.kills,
            "drains": self.drains,
            "stranded": self.stranded,
            "unavailable": self.unavailable,
            "exclusion_errors": self.board.total(sb.ERRORS),
            "operations": self.board.total(sb.OPERATIONS),
            "foreign_releases": self.board.total(sb.FOREIGN),
            "timeouts": self.board.total(sb.TIMEOUTS),
            "recovered": self.board.total(sb.RECOVERED),
            "latencies": len(self.latencies),
        }
        found = sorted(self.latencies)
        for name, part in (("median_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("max_ms", 1.0)):
            if found:
                told[name] = round(found[min(len(found) - 1, int(len(found) * part))] / 1e6, 4)
        return told


def main(argv: list[str] | None = None) -> int:
    """Run the storm; return 1 if anything went wrong."""
    options = arguments(argv)
    if options.no_waitv:
        os.environ["HOLDFAST_NO_WAITV"] = "1"  # before the core is loaded
    from storm_modes import MODES

    warnings.simplefilter("ignore")
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    bad = 0
    names = list(MODES) if options.mode == "all" else [options.mode]
    for name in names:
        storm = Storm(MODES[name](options.workers), options.workers, options.seed)
        began = time.monotonic()
        storm.run(options.kills // len(names), options.seconds / len(names))
        told = storm.summary() | {"seconds": round(time.monotonic() - began, 1)}
        bad += int(told["stranded"] + told["unavailable"] + told["exclusion_errors"])
        print(
            json.dumps({"mode": name, **told})
            if options.json
            else f"{name}: " + ", ".join(f"{key} {value}" for key, value in told.items()),
            flush=True,
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
