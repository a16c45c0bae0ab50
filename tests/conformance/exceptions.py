"""Tests of CPython's suite that holdfast may fail, each with its reason: they look at private attributes.

A key is the end of a test's full name, class and method. At most a dozen.
"""

from __future__ import annotations

LIMIT = 12

EXCEPTIONS: dict[str, str] = {
    "TestResourceTracker.test_resource_tracker": (
        "reads lock._semlock.name and unlinks the named semaphore behind it; a holdfast lock has none that could leak"
    ),
}


def reason(test: str) -> str | None:
    """Return why ``test`` (its full name) may fail, or None if it may not."""
    for end, why in EXCEPTIONS.items():
        if test == end or test.endswith("." + end):
            return why
    return None
