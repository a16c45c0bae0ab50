"""A short kill storm over a pool, as `ci/pool_storm.py` runs it for long."""

import subprocess
import sys
from pathlib import Path

STORM = Path(__file__).resolve().parents[2] / "ci" / "pool_storm.py"


def test_pool_workers_killed_all_the_time_every_task_is_done_or_named_and_none_runs_twice(start_method):
    command = [sys.executable, "-W", "ignore", str(STORM), "3000", start_method, "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
