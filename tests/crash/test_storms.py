"""Short variants of ``ci/kill_storm.py`` and ``ci/memory.py``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support import run_code, run_script

CI = Path(__file__).resolve().parents[2] / "ci"
MODES = ["lock", "loop", "rlock", "semaphore", "rwlock", "condition", "event"]

CONTROL = """
import json, sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
import kill_storm, storm_modes, holdfast

storm_modes.PATIENCE = 0.5


class TooManyPermits(storm_modes.SemaphoreMode):
    def make(self):
        return holdfast.Semaphore(3)


class NobodyTakesOver(storm_modes.SemaphoreMode):
    def make(self):
        semaphore = holdfast.Semaphore(0)
        semaphore.release(), semaphore.release()  # used for signalling: the permits of the dead do not come back
        return semaphore


mode = {"permits": TooManyPermits, "orphans": NobodyTakesOver}[sys.argv[2]]
storm = kill_storm.Storm(mode(6), 6, 1)
storm.run(150, 20)
print(json.dumps(storm.summary()))
"""


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


@pytest.mark.parametrize("broken", ["permits", "orphans"])
def test_kill_storm_of_a_broken_primitive_is_noticed(broken: str, tmp_path: Path) -> None:
    """A control: the storm's checks can fail."""
    (tmp_path / "arenas").mkdir(mode=0o700)
    code, out, err = run_code(CONTROL, str(CI), broken, environment={"HOLDFAST_DIR": str(tmp_path / "arenas")})
    assert code == 0, err
    told = json.loads(out)
    assert told["exclusion_errors" if broken == "permits" else "unavailable"] > 0
