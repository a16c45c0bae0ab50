"""PAINS rows whose answer is "drop-in": unmodified standard-library programs, and the same with one line changed."""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
from process_tree import mapped_elsewhere, shared_files
from support import METHODS, MODES, alive, command, eventually, running

SIMPLE = ["waiter_killed.py", "event_in_handler.py", "barrier_party_killed.py"]
GONE = 10.0  # seconds: generous watchdog over the promise of 2 s

pytestmark = [pytest.mark.parametrize("method", METHODS), pytest.mark.parametrize("mode", MODES)]


def run(name: str, mode: str, workplace: Path, *arguments: str) -> tuple[str, str]:
    """Run a program to its end; return the one line it prints and its error output."""
    with running([*command(name, mode, workplace), *arguments]) as program:
        out, err = program.finish()
        assert out.startswith("OK"), f"{out}\n{err}"
        assert program.process.returncode == 0, err
    return out, err


@pytest.mark.parametrize("name", SIMPLE)
def test_program_of_a_pains_row_run_with_holdfast_is_ok(name: str, mode: str, method: str, tmp_path: Path) -> None:
    """Rows 09, 10 and 11."""
    _out, err = run(name, mode, tmp_path, method)
    assert "resource_tracker" not in err


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Value", "Array"])
def test_holder_killed_next_acquire_succeeds_and_names_the_dead(
    kind: str, mode: str, method: str, tmp_path: Path
) -> None:
    """Row 01: the warning carries the pid of the process that died holding the lock."""
    out, err = run("holder_killed.py", mode, tmp_path, method, kind)
    for pid in out.split()[1:]:
        assert "OwnerDiedWarning" in err, err
        assert pid in err, f"pid {pid} is not named:\n{err}"


@pytest.mark.parametrize("way", ["process", "pool", "executor", "queue", "pipe", "manager"])
def test_every_object_sent_any_way_works_on_the_other_side(way: str, mode: str, method: str, tmp_path: Path) -> None:
    """Row 06: twelve kinds of object, six ways, three start methods."""
    run("travels.py", mode, tmp_path, method, way)


def test_foreign_release_of_a_held_lock_reports_the_culprit(mode: str, method: str, tmp_path: Path) -> None:
    """Row 23: the release works, as documented, and a warning names the caller."""
    out, err = run("foreign_release.py", mode, tmp_path, method)
    assert "ForeignReleaseWarning" in err
    assert out.split()[1] in err


def test_manager_lock_holder_and_server_killed_still_works(mode: str, method: str, tmp_path: Path) -> None:
    """Row 28."""
    run("manager_lock.py", mode, tmp_path, method)


def none_alive(pids: list[int]) -> bool:
    """Return whether all of these have ended."""
    return not any(map(alive, pids))


def test_parent_killed_daemons_workers_and_grandchildren_end(mode: str, method: str, tmp_path: Path) -> None:
    """Row 18: daemons and workers end however busy they are; a child that is no daemon lives on."""
    with running([*command("parent_killed.py", mode, tmp_path), method]) as program:
        line = program.line()
        assert line, program.finish()[1]
        told = json.loads(line)
        os.kill(program.process.pid, signal.SIGKILL)
        for group in ("daemons", "workers", "grandchildren"):
            assert eventually(partial(none_alive, told[group]), watchdog=GONE), f"{group} live on"
        assert alive(told["lives"])


def test_shared_memory_attached_by_an_unrelated_program_stays(mode: str, method: str, tmp_path: Path) -> None:
    """Row 12, first half; the guest is a program of its own, started the same way."""
    with running([*command("shm_owner.py", mode, tmp_path), method]) as owner:
        name = owner.line()
        with running([*command("shm_guest.py", mode, tmp_path), name]) as guest:
            out, err = guest.finish()
            assert out == "OK whole"
            assert "leaked" not in err
        owner.say("")
        out, err = owner.finish()
        assert out == "OK"
        assert "resource_tracker" not in err


def test_shared_memory_owner_killed_block_is_gone(mode: str, method: str, tmp_path: Path) -> None:
    """Row 12, second half."""
    with running([*command("shm_owner.py", mode, tmp_path), method]) as owner:
        block = Path("/dev/shm", owner.line())
        assert block.exists()
        os.kill(owner.process.pid, signal.SIGKILL)
        assert eventually(lambda: not block.exists(), watchdog=GONE)


def test_group_killed_next_program_leaves_nothing(mode: str, method: str, tmp_path: Path) -> None:
    """Row 13: after SIGKILL of everything and one more program nothing of the dead is left, and nobody was warned."""
    home = tmp_path / "arenas"
    home.mkdir(mode=0o700)
    environment = {"HOLDFAST_DIR": str(home)}
    before = shared_files()
    with running([*command("many_resources.py", mode, tmp_path), method], environment) as program:
        assert program.line() == "OK ready", program.finish()[1]
        dead = set(home.iterdir())
        assert dead
        program.end()
    with running([sys.executable, "-c", "import holdfast; lock = holdfast.Lock(); print('OK')"], environment) as after:
        out, err = after.finish()
        assert (out, err) == ("OK", "")
    assert not dead & set(home.iterdir())
    assert not shared_files() - before - mapped_elsewhere()
