"""Short variants of ``ci/kill_storm.py`` and ``ci/memory.py``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support import run_script

CI = Path(__file__).resolve().parents[2] / "ci"
MODES = ["lock", "rlock", "semaphore", "rwlock", "condition", "event"]


@pytest.mark.watchdog(240)
@pytest.mark.parametrize("waitv", [True, False], ids=["waitv", "no-waitv"])
@pytest.mark.parametrize("mode", MODES)
def test_kill_storm_short_strands_nobody_and_lets_no_two_in(mode: str, waitv: bool, tmp_path: Path) -> None:
    """A few hundred kills of each primitive, with and without futex_waitv."""
    (tmp_path / "arenas").mkdir(mode=0o700)
    argv = [sys.executable, str(CI / "kill_storm.py"), "--json", "--mode", mode, "--kills", "400"]
    code, out, err = run_script([*argv, *([] if waitv else ["--no-waitv"])], {"HOLDFAST_DIR": str(tmp_path / "arenas")})
    assert code == 0, f"{out}\n{err}"
    told = json.loads(out)
    assert told["kills"] >= 400
    assert (told["stranded"], told["unavailable"], told["exclusion_errors"]) == (0, 0, 0)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_memory_short_stays_flat(method: str) -> None:
    """A hundredth of the full run."""
    code, out, err = run_script([sys.executable, str(CI / "memory.py"), "--short", "--method", method])
    assert code == 0, f"{out}\n{err}"
