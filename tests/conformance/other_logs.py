"""Tests of another project for logging from many processes, run with ``holdfast.logs`` in its place.

    python tests/conformance/other_logs.py         counts, and what fails
    python tests/conformance/other_logs.py -v      with the details

How the tests are had and run stands in ``other_queues.py``; the adapters are in ``log_adapters``. Among the tests is
the project's stress test: a hundred processes that log at the same time.

Exit code: 0 all passed, 1 something failed, hung or was skipped, 2 the project could not be had.
"""

from __future__ import annotations

import sys

from other_queues import Project, main

PROJECTS = (
    Project("multiprocessing-logging", "0.4.0", ("tests/test_multiprocessing_logging.py",), adapters="log_adapters"),
)

if __name__ == "__main__":
    sys.exit(main(PROJECTS))
