"""PAINS rows of queues whose answer is "drop-in": unmodified programs, and the same with one line changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import METHODS, MODES, command, running

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ["Queue", "JoinableQueue", "SimpleQueue"]

pytestmark = [pytest.mark.parametrize("method", METHODS), pytest.mark.parametrize("mode", MODES)]


@pytest.fixture
def run(mode: str, method: str, tmp_path: Path):
    """Return what runs a program to its end, with an arena of its own, and insists on OK."""
    home = tmp_path / "arenas"
    home.mkdir(mode=0o700)

    def run_program(name: str, *arguments: str) -> None:
        with running([*command(name, mode, tmp_path), method, *arguments], {"HOLDFAST_DIR": str(home)}) as program:
            out, err = program.finish()
            assert out.startswith("OK"), f"{out}\n{err}"
            assert program.process.returncode == 0, err
            assert "Traceback" not in err, err

    return run_program


@pytest.mark.watchdog(240)
def test_queue_waiting_readers_killed_100_times_no_reader_blocks_and_no_item_is_lost(run) -> None:
    """Row 03."""
    run("queue_reader_killed.py", "Queue", "100")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_other_queues_waiting_readers_killed_no_reader_blocks_and_no_item_is_lost(run, kind: str) -> None:
    """Row 03, the other kinds."""
    run("queue_reader_killed.py", kind, "10")


def test_queue_writer_killed_inside_put_timeouts_hold_and_other_items_arrive(run) -> None:
    """Row 04."""
    run("queue_writer_killed.py")


@pytest.mark.parametrize("kind", KINDS)
def test_queue_joined_before_it_is_drained_items_are_readable(run, kind: str) -> None:
    """Row 05."""
    run("queue_join_first.py", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_queue_put_of_something_unpicklable_raises_and_good_items_arrive(run, kind: str) -> None:
    """Row 08."""
    run("queue_unpicklable.py", kind)


def test_queue_looked_at_just_after_put_tells_the_truth(run) -> None:
    """Row 24."""
    run("queue_put_then_look.py")


def test_queue_arrays_of_8_mib_arrive_whole_and_memory_is_flat(run) -> None:
    """Row 33; numpy belongs to the tests' extra."""
    run("queue_arrays.py")
