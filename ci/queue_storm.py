"""A storm of SIGKILLs over one queue's readers and writers, alternating with drains in which everybody must finish.

    supervisor ──fork──> 1 to 4 writers ──put──> queue ──get──> 1 to 4 readers
        │  kills random ones, replaces them; everybody notes on a board what is begun and done
        └─ drain: writers stop, readers take what is left and end; then the notes must add up

    python ci/queue_storm.py --kills 1000
    python ci/queue_storm.py --maxsize 1 --messages big

Every item whose put() had returned arrives exactly once, but for what a killed reader had been given already: at most
one item, or one batch of get_many. An item whose writer was killed inside put() may arrive, whole, or not. Memory stays
flat. Exit code 1 with the reasons otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import queue_board as qb

PATIENCE = 30.0  # seconds after which a drain calls somebody stuck
SLACK = 16 << 20  # bytes that shared memory may differ between the first and the second half of the storm
WARM = 20  # phases before which memory is not judged
SLOTS = 4  # slots that the supervisor itself may use in the end
RESERVED = 60.0  # seconds: more than an arena waits for a child that was killed before it said that it lives


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="SIGKILL readers and writers of a queue; look for lost items.")
    parser.add_argument("--kills", type=int, default=1_000, help="stop after so many (default 1000)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after so long")
    parser.add_argument("--maxsize", type=int, default=None, help="of every queue (default: changing)")
    parser.add_argument("--messages", choices=["small", "big", "mixed"], default=None, help="default: changing")
    parser.add_argument("--no-waitv", action="store_true", help="act as on a kernel without futex_waitv")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a line")
    return parser.parse_args(argv)


class Phase:
    """One queue, or the last one once more, with new readers and writers, until everybody has finished."""

    def __init__(self, queue: Any, messages: str, dice: random.Random) -> None:
        self.queue, self.messages, self.random = queue, messages, dice
        self.board = qb.QueueBoard()
        self.lives = {"writer": 0, "reader": 0}
        self.running: dict[tuple[str, int], int] = {}
        self.killed: set[int] = set()  # readers
        self.kills = 0
        self.wrong: list[str] = []

    def place(self, role: str, life: int) -> int:
        """Return where a life says its state."""
        return life if role == "writer" else qb.LIVES + life

    def start(self, role: str) -> None:
        """Fork a new reader or writer."""
        import queue_worker

        life = self.lives[role]
        self.lives[role] = life + 1
        seed = self.random.getrandbits(48)
        pid = os.fork()
        if pid == 0:
            code = 3
            try:
                work = queue_worker.write if role == "writer" else queue_worker.read
                work(self, life, random.Random(seed))
                code = 0
            except BaseException as problem:  # noqa: BLE001  (a child must not return from here)
                print(f"{role} {life}: {type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
                self.board.say(self.place(role, life), qb.BAD)
            finally:
                os._exit(code)
        self.running[role, life] = pid

    def kill(self, member: tuple[str, int]) -> None:
        """SIGKILL one and reap it."""
        pid = self.running.pop(member)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.kills += 1
        if member[0] == "reader":
            self.killed.add(member[1])

    def storm(self, kills: int) -> None:
        """Kill and replace, at moments of no pattern."""
        while self.kills < kills and max(self.lives.values()) < qb.LIVES - 8:
            victims = self.random.sample(list(self.running), min(len(self.running), self.random.choice((1, 1, 2, 3))))
            if self.random.random() < 0.8:
                time.sleep(self.random.random() * self.random.choice((0.002, 0.02)))
            for victim in victims:
                self.kill(victim)
            for role, _life in victims:
                self.start(role)

    def drain(self) -> None:
        """Stop the writers, let the readers finish, and kill one of each on the way."""
        self.board.stop = True
        for role in ("writer", "reader"):
            members = [member for member in self.running if member[0] == role]
            if len(members) > 1:
                self.kill(self.random.choice(members))
        if self.wait("writer"):
            if self.random.random() < 0.5:
                self.queue.shutdown()
            else:
                self.queue.put_many([-1] * sum(role == "reader" for role, _life in self.running))
            self.wait("reader")
        if not self.wrong and self.left():
            self.wrong.append(f"the queue is not empty after the drain: {self.queue.stats()}")

    def left(self) -> bool:
        """Return whether anything is in the queue, or it says so."""
        return self.queue.qsize() != 0 or not self.queue.empty()

    def wait(self, role: str) -> bool:
        """Wait until all of a role have ended by themselves; whoever does not is stuck: its stacks are printed."""
        deadline = time.monotonic() + PATIENCE
        members = {member: pid for member, pid in self.running.items() if member[0] == role}
        while members and time.monotonic() < deadline:
            for member, pid in list(members.items()):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    del members[member], self.running[member]
                    if self.board.state(self.place(*member)) != qb.PARKED:
                        self.wrong.append(f"{role} {member[1]} ended with an error")
            time.sleep(0.0005)
        for member, pid in members.items():
            self.wrong.append(f"{role} {member[1]} (pid {pid}) is stuck, {self.queue.stats()}")
            os.kill(pid, signal.SIGUSR1)
            time.sleep(0.2)
        return not members

    def end(self) -> list[str]:
        """Leave nobody behind; return what was wrong."""
        for member in list(self.running):
            with contextlib.suppress(ProcessLookupError):
                self.kill(member)
        if not self.wrong:
            self.wrong += qb.accounts(self.board, self.lives["writer"], self.lives["reader"], self.killed)
        self.items = sum(self.board.written(writer)[0] for writer in range(self.lives["writer"]))
        self.board.close()
        return self.wrong


class Storm:
    """Phases one after the other."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.random = random.Random(options.seed)
        self.kills = self.phases = self.items = 0
        self.wrong: list[str] = []
        self.memory: list[int] = []
        self.slots = 0
        self.queue: Any = None

    def run(self) -> None:
        """Storm until there were enough kills, time is up, or something is wrong."""
        deadline = time.monotonic() + self.options.seconds
        while not self.wrong and self.kills < self.options.kills and time.monotonic() < deadline:
            self.phase()
        self.queue = None
        if not self.wrong:
            self.wrong += grown(self.memory, SLACK, "bytes of shared memory")
            self.wrong += self.slots_left()

    def slots_left(self) -> list[str]:
        """Return a complaint if slots of the dead do not come back."""
        from holdfast import _core

        deadline = time.monotonic() + RESERVED
        while True:
            gc.collect()
            _core.sweep()
            self.slots = _core.arena_stats(None)["slots_used"]
            if self.slots <= SLOTS:
                return []
            if time.monotonic() > deadline:
                return [f"{self.slots} slots are used although everybody is gone"]
            time.sleep(0.05)

    def phase(self) -> None:
        """One queue's storm and drain."""
        import holdfast

        if self.queue is None or self.queue.stats().is_shut_down or self.random.random() < 0.3:
            sizes = [0, 0, 1, 3, 50] if self.options.maxsize is None else [self.options.maxsize]
            self.queue = holdfast.Queue(self.random.choice(sizes))
        messages = self.options.messages or self.random.choice(("small", "big", "mixed"))
        phase = Phase(self.queue, messages, self.random)
        try:
            for role in ("writer", "reader"):
                for _ in range(self.random.randint(1, 4)):
                    phase.start(role)
            phase.storm(min(self.random.randint(5, 40), self.options.kills - self.kills))
            phase.drain()
        finally:
            self.wrong += phase.end()
        self.kills, self.phases, self.items = self.kills + phase.kills, self.phases + 1, self.items + phase.items
        self.note()

    def note(self) -> None:
        """Write down how much shared memory there is, everybody being gone."""
        from holdfast import _core

        gc.collect()
        _core.sweep()
        path = Path(_core.arena_stats(None)["path"])
        ours = [entry for entry in os.scandir(path.parent) if path.name in entry.name]  # not other programs'
        self.memory.append(sum(entry.stat().st_blocks * 512 for entry in ours))

    def summary(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "kills": self.kills,
            "phases": self.phases,
            "items": self.items,
            "most_bytes": max(self.memory, default=0),
            "slots_left": self.slots,
            "wrong": self.wrong,
        }


def grown(sizes: list[int], slack: int, what: str) -> list[str]:
    """Return a complaint if every size of the last quarter is above the largest of the first half by ``slack``.

    Before ``WARM`` sizes nothing is said: until then a phase may simply be the first with so many big messages.
    """
    if len(sizes) < WARM:
        return []
    first, last = sizes[: max(1, len(sizes) // 2)], sizes[-max(1, len(sizes) // 4) :]
    if min(last) > max(first) + slack:
        return [f"{what} grew: at most {max(first):,} in the first half, at least {min(last):,} at the end"]
    return []


def main(argv: list[str] | None = None) -> int:
    """Run the storm; return 1 if anything went wrong."""
    options = arguments(argv)
    if options.no_waitv:
        os.environ["HOLDFAST_NO_WAITV"] = "1"  # before the core is loaded
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    storm = Storm(options)
    began = time.monotonic()
    storm.run()
    told = storm.summary() | {"seconds": round(time.monotonic() - began, 1)}
    print(json.dumps(told) if options.json else ", ".join(f"{key} {value}" for key, value in told.items()))
    return 1 if storm.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
