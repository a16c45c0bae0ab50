"""Controls: without holdfast the programs of this folder are not OK: the pains are real, and the programs can tell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from process_tree import mapped_elsewhere, shared_files
from support import METHODS, command, running

PROGRAMS = [
    "holder_killed.py",
    "waiter_killed.py",
    "event_in_handler.py",
    "barrier_party_killed.py",
    "manager_lock.py",
    "travels.py pool",
    "travels.py queue",
    "travels.py manager",
    "queue_reader_killed.py",
    "queue_writer_killed.py",
    "queue_join_first.py",
    "queue_unpicklable.py",
    "queue_put_then_look.py",
]

pytestmark = [
    pytest.mark.skipif(os.environ.get("HOLDFAST_CONTROLS") != "1", reason="controls run with HOLDFAST_CONTROLS=1"),
    pytest.mark.leaves_nothing_unchecked,
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_program_without_holdfast_is_not_ok(program: str, method: str, tmp_path: Path) -> None:
    """Most hang; what the killed standard library leaves in /dev/shm is removed here."""
    name, *more = program.split()
    before = shared_files()
    with running([*command(name, "plain", tmp_path), method, *more], {"STEPS_WATCHDOG": "8"}) as running_program:
        assert not running_program.line().startswith("OK")
    for path in shared_files() - before - mapped_elsewhere():
        if Path(path).name.startswith("sem.mp-"):
            Path(path).unlink(missing_ok=True)
