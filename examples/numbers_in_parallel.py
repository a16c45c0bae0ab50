"""The classic: the numbers 0 to 39, printed by four processes, with a delay after each print.

    python examples/numbers_in_parallel.py [SECONDS]

Each number is printed once, by whichever worker is free; the pids show who. `with` ends the workers.
"""

from __future__ import annotations

import os
import sys
import time

import holdfast


def show(number: int, seconds: float) -> int:
    """Print a number and wait; return the pid of the process that did."""
    sys.stdout.write(f"{number} by process {os.getpid()}\n")  # one write a line: print() may make it two
    sys.stdout.flush()
    time.sleep(seconds)
    return os.getpid()


def main() -> int:
    """Run the command."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.1
    with holdfast.Pool(4) as pool:
        pids = pool.starmap(show, [(number, seconds) for number in range(40)], 1)
    print(f"{len(pids)} numbers by {len(set(pids))} processes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
