"""Short kill storms over pools and executors, as `ci/pool_storm.py` runs them for long."""

import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).resolve().parents[2] / "ci" / "pool_storm.py"


@pytest.mark.parametrize(("front", "chunk"), [("imap", 10), ("imap_unordered", 1), ("map", 10), ("submit", 1)])
def test_workers_killed_all_the_time_every_task_is_done_or_named_and_none_runs_twice(start_method, front, chunk):
    command = [sys.executable, "-W", "ignore", str(STORM), "2000", start_method, front, str(chunk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
