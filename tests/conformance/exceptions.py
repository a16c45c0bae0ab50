"""Tests of CPython's suite that holdfast may fail, each with its reason: they look at private attributes.

A key is the end of a test's full name (class without its ``WithProcesses`` prefix is not guessed: write it out). At most a dozen;
``run.py`` prints every entry that was used and every entry that no longer is.
"""

from __future__ import annotations

LIMIT = 12

EXCEPTIONS: dict[str, str] = {
    "TestResourceTracker.test_resource_tracker": (
        "reads lock._semlock.name and unlinks the named semaphore behind it; a holdfast lock has no named semaphore to leak"
    ),
}


def reason(test: str) -> str | None:
    """Return why ``test`` (its full name) may fail, or None if it may not."""
    for end, why in EXCEPTIONS.items():
        if test == end or test.endswith("." + end):
            return why
    return None
