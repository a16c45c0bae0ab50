"""Random calls through several handles of one primitive, against models small enough to be seen to be right.

One process and one thread at a time: "the other side" is a helper thread that does one call and tells how it ended.
Handles are pickled copies, so that every rule also says that a copy is the same primitive.
"""

from __future__ import annotations

import pickle
import queue
import threading
import warnings
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import holdfast

if TYPE_CHECKING:
    from collections.abc import Callable

HANDLES = st.integers(0, 2)
WHO = st.integers(0, 1)
CALLS = settings(max_examples=60, stateful_step_count=40, deadline=None, database=None)


class Helper:
    """A second thread that makes calls on request: another holder as far as locks are concerned."""

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.serve, name="helper")
        self.thread.start()

    def serve(self) -> None:
        """Make calls until told to stop."""
        while (call := self.asked.get()) is not None:
            try:
                self.told.put((True, call()))
            except Exception as problem:
                self.told.put((False, problem))

    def do(self, call: Callable[[], Any]) -> Any:
        """Make one call there and return its result or raise its exception here."""
        self.asked.put(call)
        fine, result = self.told.get(timeout=60)
        if not fine:
            raise result
        return result

    def close(self) -> None:
        """End the thread."""
        self.asked.put(None)
        self.thread.join()


class Machine(RuleBasedStateMachine):
    """Three handles of one primitive, two callers."""

    def __init__(self) -> None:
        super().__init__()
        self.helper = Helper()
        self.handles: list[Any] = []

    def open(self, original: Any) -> None:
        """Make two copies through pickle."""
        first = pickle.loads(pickle.dumps(original))
        self.handles = [original, first, pickle.loads(pickle.dumps(first))]

    def call(self, who: int, act: Callable[[], Any]) -> Any:
        """Let caller ``who`` do something."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # foreign releases are part of the game
            return act() if who == 0 else self.helper.do(act)

    def teardown(self) -> None:
        """End the helper."""
        self.helper.close()


class LockMachine(Machine):
    """A lock is free or held; anybody may release."""

    held = False

    @initialize()
    def make(self) -> None:
        """Start free."""
        self.open(holdfast.Lock())

    @rule(who=WHO, handle=HANDLES, timeout=st.sampled_from([None, 0, 0.0, 0.001]))
    def acquire(self, who: int, handle: int, timeout: float | None) -> None:
        """Try, with or without a timeout."""
        lock = self.handles[handle]
        got = self.call(
            who, (lambda: lock.acquire(False)) if timeout is None else (lambda: lock.acquire(True, timeout))
        )
        assert got is (not self.held)
        self.held = True

    @rule(who=WHO, handle=HANDLES)
    def release(self, who: int, handle: int) -> None:
        """Release; an error if nobody holds it."""
        if self.held:
            self.call(who, self.handles[handle].release)
            self.held = False
        else:
            with pytest.raises(ValueError, match="released too many times"):
                self.call(who, self.handles[handle].release)

    @rule(handle=HANDLES)
    def look(self, handle: int) -> None:
        """Every handle sees the same."""
        assert self.handles[handle].locked() is self.held


class RLockMachine(Machine):
    """An RLock has an owner and a depth."""

    owner: int | None = None
    depth = 0

    @initialize()
    def make(self) -> None:
        """Start free."""
        self.open(holdfast.RLock())

    @rule(who=WHO, handle=HANDLES)
    def acquire(self, who: int, handle: int) -> None:
        """The owner always gets it."""
        got = self.call(who, lambda: self.handles[handle].acquire(False))
        assert got is (self.owner in (None, who))
        if got:
            self.owner, self.depth = who, self.depth + 1

    @rule(who=WHO, handle=HANDLES)
    def release(self, who: int, handle: int) -> None:
        """Only the owner may."""
        if self.owner == who:
            self.call(who, self.handles[handle].release)
            self.depth -= 1
            self.owner = who if self.depth else None
        else:
            with pytest.raises(AssertionError):
                self.call(who, self.handles[handle].release)


class SemaphoreMachine(Machine):
    """A semaphore is a number that never falls below zero; a bounded one never rises above its first value."""

    value = first = 0
    bounded = False

    @initialize(value=st.integers(0, 3), bounded=st.booleans())
    def make(self, value: int, bounded: bool) -> None:
        """Start with a few permits."""
        self.value = self.first = value
        self.bounded = bounded
        self.open((holdfast.BoundedSemaphore if bounded else holdfast.Semaphore)(value))

    @rule(who=WHO, handle=HANDLES, timeout=st.sampled_from([None, 0, 0.001]))
    def acquire(self, who: int, handle: int, timeout: float | None) -> None:
        """Take a permit if there is one."""
        semaphore = self.handles[handle]
        got = self.call(
            who, (lambda: semaphore.acquire(False)) if timeout is None else (lambda: semaphore.acquire(True, timeout))
        )
        assert got is (self.value > 0)
        self.value -= got

    @rule(who=WHO, handle=HANDLES)
    def release(self, who: int, handle: int) -> None:
        """Give a permit, taken or not."""
        if self.bounded and self.value == self.first:
            with pytest.raises(ValueError, match="released too many times"):
                self.call(who, self.handles[handle].release)
        else:
            self.call(who, self.handles[handle].release)
            self.value += 1

    @rule(handle=HANDLES)
    def look(self, handle: int) -> None:
        """Every handle sees the same value."""
        assert self.handles[handle].get_value() == self.value


class EventMachine(Machine):
    """An event is a flag."""

    flag = False

    @initialize()
    def make(self) -> None:
        """Start unset."""
        self.open(holdfast.Event())

    @rule(who=WHO, handle=HANDLES)
    def set(self, who: int, handle: int) -> None:
        """Set it."""
        self.call(who, self.handles[handle].set)
        self.flag = True

    @rule(who=WHO, handle=HANDLES)
    def clear(self, who: int, handle: int) -> None:
        """Clear it."""
        self.call(who, self.handles[handle].clear)
        self.flag = False

    @rule(who=WHO, handle=HANDLES, timeout=st.sampled_from([0, 0.001]))
    def wait(self, who: int, handle: int, timeout: float) -> None:
        """Wait no longer than a moment."""
        assert self.call(who, lambda: self.handles[handle].wait(timeout)) is self.flag
        assert self.handles[handle].is_set() is self.flag


BOUNDS = {"b": (-(2**7), 2**7), "H": (0, 2**16), "i": (-(2**31), 2**31), "Q": (0, 2**64), "d": (-(2**53), 2**53)}


class ValueMachine(Machine):
    """A value is a number; ``add`` returns the new one."""

    number = 0
    code = "i"

    @initialize(code=st.sampled_from(list(BOUNDS)))
    def make(self, code: str) -> None:
        """Start at zero."""
        self.code = code
        self.open(holdfast.Value(code, 0))

    def legal(self, number: int) -> bool:
        """Return whether a number fits the type."""
        low, high = BOUNDS[self.code]
        return low <= number < high

    @rule(who=WHO, handle=HANDLES, data=st.data())
    def write(self, who: int, handle: int, data: st.DataObject) -> None:
        """Store a number that fits."""
        low, high = BOUNDS[self.code]
        number = data.draw(st.integers(low, high - 1))
        self.call(who, lambda: setattr(self.handles[handle], "value", number))
        self.number = number

    @rule(who=WHO, handle=HANDLES, step=st.integers(-100, 100))
    def add(self, who: int, handle: int, step: int) -> None:
        """Add, where the sum fits."""
        if self.legal(self.number + step) and (step >= 0 or self.code not in "HQ"):
            assert self.call(who, lambda: self.handles[handle].add(step)) == self.number + step
            self.number += step

    @rule(who=WHO, handle=HANDLES)
    def read(self, who: int, handle: int) -> None:
        """Every handle reads the same."""
        assert self.call(who, lambda: self.handles[handle].value) == self.number

    @precondition(lambda self: self.code in "id")
    @rule(handle=HANDLES)
    def increment_under_lock(self, handle: int) -> None:
        """The documented idiom."""
        if self.legal(self.number + 1):
            value = self.handles[handle]
            with value.get_lock():
                value.value += 1
            self.number += 1


TestLock = LockMachine.TestCase
TestRLock = RLockMachine.TestCase
TestSemaphore = SemaphoreMachine.TestCase
TestEvent = EventMachine.TestCase
TestValue = ValueMachine.TestCase
for machine in (TestLock, TestRLock, TestSemaphore, TestEvent, TestValue):
    machine.settings = CALLS
