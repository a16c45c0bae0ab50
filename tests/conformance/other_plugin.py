"""pytest's side of ``other_queues.py``, ``other_logs.py`` and ``other_executors.py``.

Leaves out the exceptions, runs coroutines, and writes down what happened.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
from collections import Counter
from pathlib import Path

import other_exceptions
import pytest

PROJECT = os.environ.get("HOLDFAST_OTHER_PROJECT", "")
RESULT = Path(os.environ.get("HOLDFAST_OTHER_RESULT", os.devnull))
COUNTS: Counter[str] = Counter()
USED: set[str] = set()
BAD: list[str] = []


def pytest_configure(config):
    """Make the projects' marker known, and check that the adapter is what the tests will import."""
    config.addinivalue_line("markers", "asyncio: a coroutine")
    where = Path(importlib.import_module(PROJECT).__file__)
    if where.parent.name != os.environ["HOLDFAST_OTHER_ADAPTERS"]:
        message = f"not the adapter: {where}"
        raise pytest.UsageError(message)


def pytest_collection_modifyitems(config, items):
    """Leave out the exceptions."""
    kept, left_out = [], []
    for item in items:
        key = other_exceptions.key_of(PROJECT, item.nodeid.partition("::")[2])
        (kept if key is None else left_out).append(item)
        if key is not None:
            USED.add(key)
    COUNTS["excepted"] = len(left_out)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a coroutine in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def pytest_runtest_logreport(report):
    """Count each test once: its call, or what went wrong before or after."""
    if report.when == "call" or report.outcome != "passed":
        COUNTS[report.outcome] += 1
        if report.outcome == "failed":
            BAD.append(report.nodeid)


def pytest_sessionfinish(session, exitstatus):
    """Write the counts for the runner."""
    del session
    found = {"counts": COUNTS, "bad": BAD, "used": sorted(USED), "exit": int(exitstatus)}
    RESULT.write_text(json.dumps(found))
