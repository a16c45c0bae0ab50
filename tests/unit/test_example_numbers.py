"""The classic example: forty numbers, four processes."""

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "numbers_in_parallel.py"


def test_numbers_example_prints_each_number_once():
    done = subprocess.run([sys.executable, str(PROGRAM), "0.01"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sorted(int(line.split()[0]) for line in lines[:-1]) == list(range(40))
    assert lines[-1].startswith("40 numbers by ")
