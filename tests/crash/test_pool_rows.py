"""PAINS rows of pools and executors whose answer is "drop-in": unmodified programs, and with one line changed."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from support import METHODS, MODES, command, eventually, running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.parametrize("method", METHODS), pytest.mark.parametrize("mode", MODES)]


@pytest.fixture
def run(mode: str, method: str, tmp_path: Path):
    """Return what runs a program to its end and insists on OK."""

    def run_program(name: str, *arguments: str) -> str:
        with running([*command(name, mode, tmp_path), method, *arguments]) as program:
            out, err = program.finish()
            assert out.startswith("OK"), f"{out}\n{err}"
            assert program.process.returncode == 0, err
        return err

    return run_program


@pytest.mark.parametrize("way", ["SIGKILL", "SIGSEGV", "_exit", "exit", "abort"])
def test_pool_worker_dies_only_its_task_fails_and_names_it(run, way: str) -> None:
    """Row 02."""
    run("pool_worker_dies.py", way)


def test_pool_poison_of_every_kind_fails_only_its_own_task(run) -> None:
    """Row 07, and the same for arguments and results."""
    run("pool_poison.py")


def test_pool_initializer_that_raises_map_raises_it_after_few_starts(run) -> None:
    """Row 31."""
    run("pool_initializer.py")


def test_pool_in_a_task_of_a_pool_works_and_dies_with_its_worker(run) -> None:
    """Row 19."""
    run("pool_nested.py")


def test_executor_worker_dies_nineteen_of_twenty_results_arrive(run, mode: str) -> None:
    """Row 27; an executor is the standard library's by name, so that only `holdfast run` changes it."""
    if mode == "run":
        run("executor_crash.py")


def test_executor_workers_recycled_all_tasks_are_done(run, mode: str) -> None:
    """Row 25; `ProcessExecutor` with 1,000 tasks by fork stands in test_pools."""
    if mode == "run":
        run("executor_recycles.py", "50")


def test_imap_runs_a_bounded_number_of_tasks_ahead(run) -> None:
    """Row 29."""
    run("pool_lookahead.py")


def test_pool_left_with_tasks_under_way_warns_executor_finishes_them(run) -> None:
    """Row 30."""
    run("pool_thrown_away.py")


@pytest.mark.parametrize("what", ["pool", "set", "executor", "process"])
def test_program_without_main_guard_ends_with_one_line_that_names_the_fix(
    mode: str, method: str, what: str, tmp_path: Path
) -> None:
    """Row 32; with fork there is nothing to guard."""
    if mode == "import" and what == "executor":
        return
    with running([*command("no_guard.py", mode, tmp_path), method, what]) as program:
        out, err = program.finish()
    if method == "fork":
        assert out in ("exit code 0", "1", "[1, 2]")
        return
    lines = [line for line in err.splitlines() if "HF509" in line]
    assert len(lines) == 1, err
    assert "no_guard.py" in lines[0]
    assert 'if __name__ == "__main__":' in lines[0]
    assert "bootstrapping phase" not in err
    if what == "process":
        assert out == "exit code 1"
        assert err.splitlines() == lines
    else:  # the traceback of the parent's own call, and nothing else
        assert err.count("Traceback") == 1, err
        assert err.splitlines()[-1] == lines[0]


def interrupted(argv: list[str]) -> None:
    """Start a program, send SIGINT to its group when it is busy, as a terminal does, and look at how it ends."""
    with running(argv) as program:
        assert program.line() == "busy"
        os.killpg(program.process.pid, signal.SIGINT)
        began = time.monotonic()
        _out, err = program.finish()
        took = time.monotonic() - began
        assert err.count("Traceback (most recent call last)") == 1, err
        assert err.rstrip().endswith("KeyboardInterrupt"), err
        assert eventually(lambda: not program.members(), watchdog=30), program.members()
        assert took < 50, "the tasks of a minute were waited for"


def test_pool_interrupted_ends_with_one_keyboard_interrupt_and_no_worker(
    mode: str, method: str, tmp_path: Path
) -> None:
    """Row 17."""
    interrupted([*command("pool_interrupted.py", mode, tmp_path), method])


@pytest.mark.parametrize("block", ["block", "none"])
def test_executor_interrupted_ends_with_one_keyboard_interrupt_and_no_worker(
    mode: str, method: str, block: str, tmp_path: Path
) -> None:
    """Row 17, for executors."""
    if mode == "run":
        interrupted([*command("executor_interrupted.py", mode, tmp_path), method, block])
