"""What the workers of the kill storm do, one class for each primitive.

A mode makes its primitives, lets a worker do one random operation, can say how a worker that only waits for a sign is
woken in a drain, and checks afterwards that everything can be had.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from typing import TYPE_CHECKING, Any

import storm_board as sb
from storm_board import Board

import holdfast

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 20.0  # seconds after which a drain calls somebody stranded


class Mode:
    """Common parts: sections with an exclusion check, latencies, protected hand-overs."""

    checked = 3  # locks whose sections must exclude each other
    wild = 0  # further locks that anybody releases at any time
    limit = 1  # how many may be inside

    def __init__(self, workers: int) -> None:
        self.things = [self.make() for _ in range(self.checked + self.wild)]
        self.board = Board(workers, len(self.things))
        self.me = -1
        self.section = 0
        self.random = random.Random()

    def make(self) -> Any:
        """Make one primitive."""
        raise NotImplementedError

    def operation(self) -> None:
        """Do one random thing."""
        raise NotImplementedError

    def wake(self) -> None:
        """Wake those who wait for a sign rather than a lock (supervisor, in a drain)."""

    def available(self) -> int:
        """Return how many primitives cannot be had although nobody uses them (supervisor, everybody parked)."""
        missing = 0
        for thing in self.things:
            if thing.acquire(timeout=PATIENCE):
                thing.release()
            else:
                missing += 1
        return missing

    def serve(self) -> None:
        """Release what workers ask the supervisor to release for them."""
        for worker in range(self.board.workers):
            asked = self.board.get(worker, sb.REQUEST)
            if asked:
                self.things[asked - 1].release()
                self.board.put(worker, sb.REQUEST, 0)

    def acquire(self, number: int, take: Callable[..., bool] | None = None) -> bool:
        """Acquire a primitive one of three ways; note how long the death of its holder kept a waiter."""
        thing, dice = self.things[number], self.random.random()
        take = take or thing.acquire
        began = time.monotonic_ns()
        if dice < 0.75:
            got = take()
        elif dice < 0.92:
            got = take(timeout=self.random.random() * 0.003)
        else:
            got = take(block=False)
        now = time.monotonic_ns()
        if not got:
            self.board.count(self.me, sb.TIMEOUTS)
        elif getattr(thing, "owner_died", False):
            self.board.count(self.me, sb.RECOVERED)
            killed = self.board.words[self.board.killed_at + number]
            if began < killed < now:
                self.board.sample(self.me, now - killed)
        return bool(got)

    def inside(self, number: int, *, shared: bool = False) -> None:
        """Be in a section for a little while, looking at who else is."""
        self.section += 1
        mark = -self.section if shared else self.section
        self.board.enter(self.me, number, mark)
        sb.fence()
        self.look(number, mark)
        deadline = time.monotonic_ns() + self.random.choice((0, 0, 20_000, 200_000))
        while time.monotonic_ns() < deadline:
            pass
        self.look(number, mark)

    def look(self, number: int, mark: int) -> None:
        """Count an exclusion error if too many are inside."""
        others = [self.board.inside(worker, number) for worker in range(self.board.workers) if worker != self.me]
        if not self.wrong(mark, others):
            return
        # The dead stay on the board until replaced, and the words were not read at one instant. Who stood in the same
        # section in two readings, alive, was inside at the instant between them.
        first, second = (
            [self.board.really_inside(worker, number) for worker in range(self.board.workers) if worker != self.me]
            for _ in range(2)
        )
        together = [one if one == two else 0 for one, two in zip(first, second, strict=True)]
        if self.wrong(mark, together):
            self.board.count(self.me, sb.ERRORS)

    def wrong(self, _mark: int, others: list[int]) -> bool:
        """Return whether these may not be inside together."""
        return sum(map(bool, others)) >= self.limit

    def leave(self, number: int) -> None:
        """Say that the section is over."""
        self.board.enter(self.me, number, 0)

    def hand_over(self, number: int) -> bool:
        """Have the supervisor release the lock: a foreign release. False if the caller is about to be killed."""
        self.board.put(self.me, sb.PROTECTED, 1)
        sb.fence()
        if self.board.get(self.me, sb.DOOMED):
            self.board.put(self.me, sb.PROTECTED, 0)
            return False
        self.board.put(self.me, sb.REQUEST, number + 1)
        while self.board.get(self.me, sb.REQUEST):
            time.sleep(0.0002)
        self.board.put(self.me, sb.PROTECTED, 0)
        self.board.count(self.me, sb.FOREIGN)
        return True


class LockMode(Mode):
    """Lock: nested sections in one order, hand-overs, and one lock that anybody releases."""

    wild = 1

    def make(self) -> Any:
        """Return a plain lock."""
        return holdfast.Lock()

    def operation(self) -> None:
        """Take one lock or two, or play with the wild one."""
        first = self.random.randrange(self.checked + self.wild)
        if first >= self.checked:
            self.play_wild(first)
        elif self.acquire(first):
            self.inside(first)
            second = first + 1
            if second < self.checked and self.random.random() < 0.3 and self.acquire(second):
                self.inside(second)
                self.finish(second)
            self.finish(first)

    def finish(self, number: int) -> None:
        """Leave and release, sometimes through the supervisor."""
        self.leave(number)
        if self.random.random() >= 0.05 or not self.hand_over(number):
            self.things[number].release()

    def play_wild(self, number: int) -> None:
        """Acquire and release in any order; whoever holds it."""
        lock = self.things[number]
        if self.random.random() < 0.5:
            lock.acquire(timeout=0.002)
        with contextlib.suppress(ValueError):
            lock.release()
            self.board.count(self.me, sb.FOREIGN)


class LoopMode(LockMode):
    """Lock: every second worker is an event loop, whose tasks wait for several locks at once and are cancelled."""

    wild = 0

    def operation(self) -> None:
        """Block, or let a few tasks pass."""
        if self.me % 2:
            super().operation()
        else:
            asyncio.run(self.tasks())

    async def tasks(self) -> None:
        """A dozen tasks, of which some are cancelled."""
        tasks = [asyncio.create_task(self.task(self.random.randrange(self.checked))) for _ in range(12)]
        for task in tasks:
            await asyncio.sleep(0)
            if self.random.random() < 0.3:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def task(self, number: int) -> None:
        """Pass through a section two or three times."""
        lock = self.things[number]
        for _ in range(self.random.randint(2, 3)):
            late = self.random.random() * 0.003 if self.random.random() < 0.2 else None
            if await lock.acquire_async(late):
                try:
                    if lock.owner_died:
                        self.board.count(self.me, sb.RECOVERED)
                    self.inside(number)
                    if self.random.random() < 0.3:
                        await asyncio.sleep(0)
                finally:
                    self.leave(number)
                    lock.release()


class RLockMode(Mode):
    """RLock: up to three levels."""

    def make(self) -> Any:
        """Return a recursive lock."""
        return holdfast.RLock()

    def operation(self) -> None:
        """Take one lock several times over."""
        number = self.random.randrange(self.checked)
        levels = 0
        while levels < self.random.randint(1, 3) and self.acquire(number):
            levels += 1
        if levels:
            self.inside(number)
            self.leave(number)
        for _ in range(levels):
            self.things[number].release()


class SemaphoreMode(Mode):
    """Semaphore of two permits."""

    limit = 2

    def make(self) -> Any:
        """Return a semaphore."""
        return holdfast.Semaphore(2)

    def operation(self) -> None:
        """Take a permit and give it back."""
        number = self.random.randrange(self.checked)
        if self.acquire(number):
            self.inside(number)
            self.leave(number)
            self.things[number].release()

    def available(self) -> int:
        """Every permit must be there again."""
        missing = 0
        for semaphore in self.things:
            got = sum(bool(semaphore.acquire(timeout=PATIENCE)) for _ in range(self.limit))
            missing += self.limit - got
            for _ in range(got):
                semaphore.release()
        return missing


class RWLockMode(Mode):
    """RWLock: one writer, or readers."""

    def make(self) -> Any:
        """Return a reader-writer lock."""
        return holdfast.RWLock()

    def operation(self) -> None:
        """Read or write."""
        number = self.random.randrange(self.checked)
        shared = self.random.random() < 0.6
        lock = self.things[number]
        side = lock.read() if shared else lock.write()
        if self.acquire(number, side.acquire):
            self.inside(number, shared=shared)
            self.leave(number)
            side.release()

    def wrong(self, mark: int, others: list[int]) -> bool:
        """A writer must be alone; a reader must see no writer."""
        return any(others) if mark > 0 else any(other > 0 for other in others)

    def available(self) -> int:
        """Everybody parked: a writer must get in."""
        missing = 0
        for lock in self.things:
            if lock.write().acquire(timeout=PATIENCE):
                lock.write().release()
            else:
                missing += 1
        return missing


class ConditionMode(Mode):
    """Condition: sections, waits with and without a timeout, notifications."""

    checked = 2

    def make(self) -> Any:
        """Return a condition with its own lock."""
        return holdfast.Condition()

    def operation(self) -> None:
        """Be inside, then wait or notify."""
        number = self.random.randrange(self.checked)
        condition = self.things[number]
        if not self.acquire(number):
            return
        self.inside(number)
        self.leave(number)
        dice = self.random.random()
        if dice < 0.4:
            self.board.put(self.me, sb.STATE, sb.WAITING)
            condition.wait(None if dice < 0.2 else self.random.random() * 0.003)
            self.board.put(self.me, sb.STATE, sb.RUNNING)
            self.inside(number)
            self.leave(number)
        elif dice < 0.7:
            condition.notify(self.random.randint(1, 3))
        else:
            condition.notify_all()
        condition.release()

    def wake(self) -> None:
        """One notify_all each, under the lock: whoever waits is on its list."""
        for condition in self.things:
            with condition:
                condition.notify_all()


class EventMode(Mode):
    """Event: set, clear, wait. There is nothing to exclude; nobody may be stranded."""

    def make(self) -> Any:
        """Return an event."""
        return holdfast.Event()

    def operation(self) -> None:
        """Do one of the three."""
        event = self.random.choice(self.things)
        dice = self.random.random()
        if dice < 0.5:
            self.board.put(self.me, sb.STATE, sb.WAITING)
            event.wait(None if dice < 0.25 else self.random.random() * 0.003)
            self.board.put(self.me, sb.STATE, sb.RUNNING)
        elif dice < 0.8:
            event.set()
        else:
            event.clear()

    def wake(self) -> None:
        """Set all of them."""
        for event in self.things:
            event.set()

    def available(self) -> int:
        """An event that is set lets everybody pass."""
        self.wake()
        return sum(not event.wait(PATIENCE) for event in self.things)


MODES: dict[str, type[Mode]] = {
    "lock": LockMode,
    "loop": LoopMode,
    "rlock": RLockMode,
    "semaphore": SemaphoreMode,
    "rwlock": RWLockMode,
    "condition": ConditionMode,
    "event": EventMode,
}


def work(mode: Mode, index: int, seed: int) -> None:
    """A worker's life: operations until told to stop, then parked until told to go on or killed."""
    board = mode.board
    mode.me, mode.random = index, random.Random(seed)
    board.put(index, sb.PID, os.getpid())
    while True:
        board.put(index, sb.STATE, sb.RUNNING)
        while not board.stop:
            mode.operation()
            board.count(index, sb.OPERATIONS)
        board.put(index, sb.STATE, sb.PARKED)
        while board.stop:
            time.sleep(0.001)
