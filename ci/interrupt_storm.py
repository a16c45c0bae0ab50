"""Ctrl-C storm: programs with a busy pool and a busy executor, each interrupted once, at a random moment of its life.

    python ci/interrupt_storm.py [METHOD] [SECONDS]

Five programs at a time (`tests/crash/programs/pool_busy.py`, under ``holdfast run``), for so many seconds, by a start
method. An interrupt goes to all processes of a program, as one from the keyboard does. Each program must end with one
traceback, that of ``KeyboardInterrupt``, and leave no process; what any other one printed is shown. Exit code: 0, or 1
if there was such a one.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "crash"))
from support import Program, at_random_moments, eventually

STUCK = "20"  # seconds until a program prints its stacks and ends
GONE = 10.0  # seconds


def what_is_wrong(program: Program) -> str | None:
    """Wait for the program to end; what it did that it should not."""
    out, err = program.finish()
    if out or err.count("Traceback (most recent call last)") != 1 or not err.rstrip().endswith("KeyboardInterrupt"):
        return f"{out}\n{err}"
    if not eventually(lambda: not program.members(), watchdog=GONE):
        return f"left the processes {program.members()}"
    return None


def strike(method: str) -> list[str | None]:
    """Start some programs and interrupt each; what was wrong with each."""
    found = []
    for moment, program in at_random_moments(Path(), method, signal.SIGINT, {"STEPS_WATCHDOG": STUCK}):
        wrong = what_is_wrong(program)
        found.append(wrong and f"interrupted after {moment:.4f} s: {wrong}")
    return found


def main() -> int:
    """Run."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background
    method = sys.argv[1] if len(sys.argv) > 1 else "fork"
    end = time.monotonic() + float(sys.argv[2] if len(sys.argv) > 2 else 300)
    struck = failed = 0
    while time.monotonic() < end:
        for wrong in strike(method):
            struck += 1
            if wrong is not None:
                failed += 1
                print(wrong, flush=True)
    print(f"{method}: {struck} programs interrupted, {failed} ended otherwise than they should")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
