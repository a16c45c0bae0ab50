"""Runs inside the interpreter under test: lists the suite's classes, or runs some tests of one class.

Every event is one line of JSON in the file given by ``--out``, written before anything else can go wrong, so that the
parent knows which test was running when this process died or hung. Nothing here may do work at import: under spawn the
children import this file again as their main module.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import pkgutil
import signal
import sys
import time
import traceback
import unittest
from pathlib import Path
from typing import Any, TextIO

METHODS = ("fork", "spawn", "forkserver")
PROBE = "holdfast in place"


def suite_modules() -> list[str]:
    """Return the modules to run: CPython's own wrappers where they are installed, else our equivalents."""
    names = []
    for method in METHODS:
        own = f"test.test_multiprocessing_{method}"
        try:
            module = importlib.import_module(own)
        except ModuleNotFoundError:
            names.append(f"conformance_{method}")
            continue
        paths = getattr(module, "__path__", None)
        if paths is None:
            names.append(own)
        else:
            names.extend(
                f"{own}.{found.name}" for found in pkgutil.iter_modules(paths) if found.name.startswith("test_")
            )
    return [*names, "test.test_multiprocessing_main_handling", "test.test_logging", *executor_modules()]


def executor_modules() -> list[str]:
    """Return the modules of the executors' suite: one, or a package of them in newer versions."""
    name = "test.test_concurrent_futures"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:  # this interpreter is installed without it
        return []
    paths = getattr(module, "__path__", None)
    if paths is None:
        return [name]
    return [f"{name}.{found.name}" for found in pkgutil.iter_modules(paths) if found.name.startswith("test_")]


def flatten(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    """Return the test cases in a suite of suites, in order."""
    cases: list[unittest.TestCase] = []
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            cases.extend(flatten(item))
        else:
            cases.append(item)
    return cases


def list_classes(out: TextIO) -> None:
    """Write one line for each class: module, class name, its test methods."""
    for name in suite_modules():
        module = importlib.import_module(name)
        loader = unittest.TestLoader()
        for attribute, value in sorted(vars(module).items()):
            if name.startswith("test.test_concurrent_futures") and "Process" not in attribute:
                continue  # executors of threads are not ours
            if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == name:
                tests = list(loader.getTestCaseNames(value))
                if tests:
                    print(json.dumps({"module": name, "class": attribute, "tests": tests}), file=out)


class Recorder(unittest.TestResult):
    """Writes every outcome as it happens."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self.out = out
        self.began = 0.0
        self.open: str | None = None

    def note(self, **fields: Any) -> None:
        """Write one event and push it to the file."""
        print(json.dumps(fields), file=self.out, flush=True)

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802  (unittest's name)
        """Say which test runs now."""
        super().startTest(test)
        self.began = time.monotonic()
        self.open = test.id()
        self.note(event="start", test=test.id())

    def outcome(self, test: Any, outcome: str, detail: str = "") -> None:
        """Write how a test, or a fixture of its class or module, ended."""
        self.note(
            event="end", test=test.id(), outcome=outcome, detail=detail, seconds=round(time.monotonic() - self.began, 3)
        )

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        """Record a pass."""
        self.outcome(test, "passed")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Record a failed assertion."""
        self.outcome(test, "failed", text(err))

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Record an exception."""
        self.outcome(test, "error", text(err))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        """Record a skip with its reason."""
        self.outcome(test, "skipped", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: ARG002, N802
        """An expected failure is a pass."""
        self.outcome(test, "passed")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        """An unexpected pass is a failure."""
        self.outcome(test, "failed", "passed although a failure is expected")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Record a failing part under the name of the whole test."""
        if err is not None:
            self.outcome(test, "failed", f"{subtest}\n{text(err)}")


def text(err: Any) -> str:
    """Return the last 4,000 characters of a formatted exception."""
    return "".join(traceback.format_exception(*err))[-4000:]


def kind_of_lock(conn: Any) -> None:
    """Child side of the probe: send the module of the class behind ``multiprocessing.Lock()``."""
    import multiprocessing

    conn.send(type(multiprocessing.Lock()).__module__)


def probe(recorder: Recorder) -> None:
    """Check that parent and children, of every start method, have holdfast's lock behind ``multiprocessing.Lock()``."""
    import multiprocessing

    seen = {"parent": type(multiprocessing.Lock()).__module__}
    for method in METHODS:
        context: Any = multiprocessing.get_context(method)
        here, there = context.Pipe()
        child = context.Process(target=kind_of_lock, args=(there,))
        child.start()
        there.close()
        seen[method] = here.recv() if here.poll(60) else "no answer"
        child.join(10)
    bad = {where: module for where, module in seen.items() if not module.startswith("holdfast")}
    recorder.note(event="start", test=PROBE)
    recorder.note(event="end", test=PROBE, outcome="failed" if bad else "passed", detail=str(bad), seconds=0)


def shorten(longest: float) -> None:
    """Let no time of the suite exceed ``longest`` seconds, as regrtest's ``--timeout`` does.

    ThreadPool's test_terminate sleeps for the longest of them whenever a worker is quicker than ``terminate()``.
    """
    from test import support  # type: ignore[import-not-found,unused-ignore]

    for name in ("LOOPBACK_TIMEOUT", "INTERNET_TIMEOUT", "SHORT_TIMEOUT", "LONG_TIMEOUT"):
        setattr(support, name, min(getattr(support, name), longest))


def run(options: argparse.Namespace, out: TextIO) -> None:
    """Run the chosen tests of one class in this process."""
    recorder = Recorder(out)
    if options.holdfast:
        import holdfast

        holdfast.install()
        os.environ[options.switch] = "1"
    shorten(options.longest)
    if options.probe:
        probe(recorder)
    else:
        loader = unittest.TestLoader()
        suite = loader.loadTestsFromNames([f"{options.module}.{options.name}.{test}" for test in options.tests])
        suite.run(recorder)
    recorder.note(event="finished")


def arguments() -> argparse.Namespace:
    """Parse the command line that ``run.py`` builds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--holdfast", action="store_true")
    parser.add_argument("--switch", default="")
    parser.add_argument("--longest", type=float, default=300.0)
    parser.add_argument("--module", default="")
    parser.add_argument("--name", default="")
    parser.add_argument("tests", nargs="*")
    return parser.parse_args()


def main() -> None:
    """List or run, as asked."""
    options = arguments()
    sys.argv[1:] = []
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    with Path(options.out).open("a", encoding="utf-8") as out:
        list_classes(out) if options.list else run(options, out)


if __name__ == "__main__":
    main()
