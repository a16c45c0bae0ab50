"""Tests of another project for pools of processes, run with holdfast's executor in its place.

    python tests/conformance/other_executors.py         counts, and what fails
    python tests/conformance/other_executors.py -v      with the details

How the tests are had and run stands in ``other_queues.py``; the adapters are in ``executor_adapters``. pebble's pools
are the ones that stop tasks: timeouts, cancelling, workers that die or will not end; a run for each start method.

Exit code: 0 all passed, 1 something failed, hung or was skipped, 2 the project could not be had.
"""

from __future__ import annotations

import sys

from other_queues import Project, main

PROJECTS = tuple(
    Project("pebble", "5.2.3", (f"test/test_process_pool_{method}.py",), adapters="executor_adapters")
    for method in ("fork", "spawn", "forkserver")
)

if __name__ == "__main__":
    sys.exit(main(PROJECTS))
