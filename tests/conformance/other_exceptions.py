"""Tests of other projects that are not run with holdfast in their place, each with its reason.

A key begins with the project's name; its rest must occur in the test's name (class and method).
"""

from __future__ import annotations

NO_ORDER = "holdfast has no queues in another order than first in, first out"
INSIDE = "replaces or reads the project's private methods"
EXTRA = "a method that neither the standard library's queues nor holdfast's have"

EXCEPTIONS: dict[str, str] = {
    "janus: LifoQueue": NO_ORDER,
    "janus: PriorityQueue": NO_ORDER,
    "janus: TestFailingQueue": INSIDE,
    "janus: test_get_loop": INSIDE,
    "janus: test_negative_timeout_raises_exception": "expects the words of the standard library; ours are HF106's",
    "culsans: LifoQueue": NO_ORDER,
    "culsans: PriorityQueue": NO_ORDER,
    "culsans: FailingQueue": INSIDE,
    "culsans: test_growing_and_shrinking": "changes the size of a queue in use; holdfast's is fixed when it is made",
    "culsans: test_peek": EXTRA,
    "culsans: test_clear": EXTRA,
    "billiard: test_join_thread_requires_closed_queue": (
        "expects ValueError; holdfast raises AssertionError, as the standard library does"
    ),
    "pebble: test_process_pool_broken_pickling_error": (
        "expects an exception that cannot be rebuilt to break the pool; holdfast's arrives as a stand-in of its name"
    ),
    "pebble: test_process_pool_stop_futures": (
        "expects futures that are never done after stop(); holdfast's are cancelled"
    ),
    "pebble: test_process_pool_stop_cancel": (
        "cancels a task as the one before it ends; holdfast stops the worker only if the task has begun"
    ),
    "pebble: test_process_pool_broken_worker_launch": INSIDE,
    "pebble: test_process_pool_map_broken_pool": INSIDE,
    "pebble: test_process_pool_active_error": INSIDE,
    "pebble: TestProcessPoolDeadlockOnNewFutures": INSIDE,
    "pebble: TestProcessPoolDeadlockOnResult": INSIDE,
    "multiprocessing_logging: test_and_the_connection_to_the_child_process_breaks": INSIDE,
}


def key_of(project: str, test: str) -> str | None:
    """Return the exception that a test of a project falls under, or None."""
    for key in EXCEPTIONS:
        its_project, _, part = key.partition(": ")
        if its_project == project and part in test:
            return key
    return None
