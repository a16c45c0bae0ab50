"""Programs with busy pools and executors, ended at random moments by a Ctrl-C, SIGKILL, SIGTERM; and by a result.

Moments are seconds from the program's first line, before it makes its first pool; a failure names its moment.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from support import METHODS, at_random_moments, command, eventually, running

if TYPE_CHECKING:
    from pathlib import Path

GONE = 10.0  # seconds: generous watchdog over the promise of 2 s

pytestmark = pytest.mark.parametrize("method", METHODS)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_parent_killed_at_any_moment_no_worker_remains(method: str, number: signal.Signals, tmp_path: Path) -> None:
    """Row 18, for pools and executors at work."""
    for moment, program in at_random_moments(tmp_path, method, number):
        told = program.finish()
        assert program.process.returncode == -number, (moment, told)
        assert eventually(lambda program=program: not program.members(), watchdog=GONE), moment


@pytest.mark.parametrize("part", range(4))
def test_interrupted_at_any_moment_ends_with_one_keyboard_interrupt(method: str, part: int, tmp_path: Path) -> None:
    """Row 17: twenty moments for each start method."""
    del part
    for moment, program in at_random_moments(tmp_path, method, signal.SIGINT):
        out, err = program.finish()
        assert out == "", (moment, out, err)  # neither the end of its work nor its own watchdog
        assert err.count("Traceback (most recent call last)") == 1, (moment, err)
        assert err.rstrip().endswith("KeyboardInterrupt"), (moment, err)
        assert eventually(lambda program=program: not program.members(), watchdog=GONE), moment


def test_result_that_ends_its_reader_ends_the_parent_and_no_worker_remains(method: str, tmp_path: Path) -> None:
    with running([*command("pool_fatal_result.py", "run", tmp_path), method]) as program:
        assert program.finish()[0] == ""
        assert program.process.returncode == 9
        assert eventually(lambda: not program.members(), watchdog=GONE)
