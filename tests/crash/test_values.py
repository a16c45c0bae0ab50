"""PAINS row 20: increments of a shared value are exact, or refused with a hint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import METHODS

import holdfast
from holdfast import errors

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PROCESSES = 4
TIMES = 5_000


def add_many(value: Any, conn: Connection) -> None:
    """Add one, many times, all processes at once."""
    conn.send("ready")
    conn.recv()
    for _ in range(TIMES):
        value.add(1)


def increment_many(value: Any, conn: Connection) -> None:
    """Increment with the trap of the documentation; report how many were accepted."""
    conn.send("ready")
    conn.recv()
    done = 0
    for _ in range(TIMES):
        try:
            value.value += 1
        except errors.LostUpdate:
            continue
        done += 1
    conn.send(done)


def race(method: str, target: object, value: Any) -> list[int]:
    """Run the target in several processes that begin together; return the pipes' ends."""
    context = holdfast.get_context(method)
    members = []
    for _ in range(PROCESSES):
        here, there = context.Pipe()
        process = context.Process(target=target, args=(value, there))
        process.start()
        there.close()
        members.append((process, here))
    for _process, conn in members:
        assert conn.recv() == "ready"
    for _process, conn in members:
        conn.send("go")
    answers = [conn.recv() for _process, conn in members] if target is increment_many else []
    for process, _conn in members:
        process.join()
        assert process.exitcode == 0
    return answers


@pytest.mark.parametrize("code", ["i", "q", "d"])
@pytest.mark.parametrize("method", METHODS)
def test_value_add_from_many_processes_is_exact(method: str, code: str) -> None:
    """``add`` needs no lock around it."""
    value = holdfast.Value(code, 0)
    race(method, add_many, value)
    assert value.value == PROCESSES * TIMES


@pytest.mark.parametrize("method", METHODS)
def test_value_plus_equals_from_many_processes_is_exact_or_refused(method: str) -> None:
    """Every ``+=`` that raised nothing counts."""
    value = holdfast.Value("i", 0)
    accepted = race(method, increment_many, value)
    assert value.value == sum(accepted)


def test_value_add_returns_the_new_value() -> None:
    """So that a counter can also number things."""
    value = holdfast.Value("i", 40)
    assert value.add(2) == 42
    assert value.value == 42


def test_value_plus_equals_under_its_lock_is_exact() -> None:
    """The documented idiom keeps working."""
    value = holdfast.Value("i", 0)
    with value.get_lock():
        value.value += 1
    assert value.value == 1
