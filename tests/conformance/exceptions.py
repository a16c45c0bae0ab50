"""Tests of CPython's suite that holdfast may fail, each with its reason.

Most look at private attributes; the others expect what holdfast promises to do better. A key is the end of a test's
full name, class and method.
"""

from __future__ import annotations

LIMIT = 12

EXCEPTIONS: dict[str, str] = {
    "TestResourceTracker.test_resource_tracker": (
        "reads lock._semlock.name and unlinks the named semaphore behind it; a holdfast lock has none that could leak"
    ),
    "TestResourceTracker.test_resource_tracker_sigkill": (
        "kills the process of resource_tracker._resource_tracker._pid and expects the next semaphore to start another;"
        " holdfast's semaphores need no tracker"
    ),
    "WithManagerTestEvent.test_repr": (
        "expects the repr of a proxy; a manager hands out the plain event, whose repr is that of the processes' test"
    ),
    "WithProcessesTestQueue.test_queue_feeder_donot_stop_onexc": (
        "expects put() of an object that cannot be pickled to return and the object to vanish; holdfast's put() raises"
    ),
    "TestSimpleQueue.test_closed": (
        "looks whether queue._reader.closed and queue._writer.closed; a holdfast queue has no pipe inside"
    ),
    "ProcessPoolExecutorTest.test_killed_child": (
        "expects the executor to break when a worker is killed; holdfast's goes on without the task that ran"
    ),
    "ProcessPoolShutdownTest.test_processes_terminate": (
        "counts executor._processes after tasks that cannot be pickled; holdfast starts no worker for those"
    ),
    "TestStartMethod.test_mixed_startmethod": (
        "expects a queue's semaphores (SemLock._is_fork_ctx) to refuse a spawned process; holdfast's go everywhere"
    ),
}


_METHODS = ("ProcessPoolFork", "ProcessPoolSpawn", "ProcessPoolForkserver")  # how the executors' classes begin


def reason(test: str) -> str | None:
    """Return why ``test`` (its full name) may fail, or None if it may not."""
    for end, why in EXCEPTIONS.items():
        if test == end or test.endswith(("." + end, *(f"{method}{end}" for method in _METHODS))):
            return why
    return None
