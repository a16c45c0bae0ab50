"""The main job: an unmodified program whose worker is killed while it holds the lock, and whose totals are exact."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "examples" / "word_count.py"
HOLDFAST = Path(sys.executable).with_name("holdfast")


def run(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=ROOT, check=False)


def test_word_count_worker_killed_holding_lock_totals_equal(start_method):
    done = run(HOLDFAST, "run", PROGRAM, "--kill", "--start-method", start_method, "--workers", 3, ROOT / "docs")
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "\nequal" in done.stdout, told
    pid = re.search(r"process (\d+) holds the lock: killing it", done.stdout).group(1)
    assert re.search(rf"OwnerDiedWarning: \[HF101\].*\b{pid}\b", told), told
    assert f"process {pid} is dead" in done.stdout, told


def test_word_count_plain_python_without_kill_totals_equal():
    done = run(sys.executable, PROGRAM, "--workers", 2, ROOT / "docs")
    assert done.stdout.endswith("equal\n"), done.stderr


def test_word_count_output_to_file_no_control_characters():
    done = run(sys.executable, PROGRAM, "--workers", 1, ROOT / "docs" / "errors")
    assert not re.search(r"[\r\033]", done.stdout + done.stderr)


def test_word_count_misuse_exit_code_two():
    assert run(sys.executable, PROGRAM, "--workers", 0).returncode == 2
    assert run(sys.executable, PROGRAM, ROOT / "no such folder").returncode == 2
