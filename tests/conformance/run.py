"""CPython's own multiprocessing suite with holdfast in place: one command, counts, and a verdict.

    python tests/conformance/run.py                 the running interpreter, everything (about ten minutes)
    python tests/conformance/run.py --quick         a few minutes, for CI
    python tests/conformance/run.py --baseline      the unmodified suite, without holdfast
    python tests/conformance/run.py --python /usr/bin/python3.13

The suite is the one that is installed with the interpreter; nothing of it is copied here. Every class runs in a process
of its own. A test that fails is repeated, alone: twice with holdfast and up to three times without. It counts against
holdfast if it fails again with holdfast, never fails without, and is not in ``exceptions.py``. A test that holdfast
skips must be skipped without it too.

Exit code: 0 nothing counts against holdfast, 1 something does, 2 wrong use or no suite.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import exceptions
from suite_env import build, default_python
from suite_run import BAD, Outcome, Runner, TestClass

QUICK = (
    "WithProcessesTestLock",
    "WithProcessesTestSemaphore",
    "WithProcessesTestCondition",
    "WithProcessesTestEvent",
    "WithProcessesTestBarrier",
    "WithProcessesTestValue",
    "WithProcessesTestArray",
    "WithProcessesTestProcess",
    "WithProcessesTestSharedCTypes",
    "WithProcessesTestQueue",
    "WithProcessesTestConnection",
    "WithManagerTestQueue",
    "WithManagerTestPool",
    "WithProcessesTestPool",
    "WithProcessesTestPoolWorkerErrors",
    "WithProcessesTestPoolWorkerLifetime",
    "TestPoolNotLeakOnFailure",
    "TestSimpleQueue",
    "WithManagerTestLock",
    "WithManagerTestSemaphore",
    "WithThreadsTestLock",
    "TestStartMethod",
    "TestSyncManagerTypes",
    "SemLockTests",
    "MiscTestCase",
)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Run CPython's multiprocessing suite with holdfast in place.")
    parser.add_argument(
        "--python", default=default_python(), metavar="PATH", help="interpreter to test (default: this one)"
    )
    parser.add_argument("--quick", action="store_true", help="a subset of a few minutes")
    parser.add_argument("--baseline", action="store_true", help="run the unmodified suite, without holdfast")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="tests whose full name matches (fnmatch)"
    )
    parser.add_argument(
        "--timeout", type=float, default=180.0, metavar="SECONDS", help="without any progress (default 180)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome there")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the details of what failed")
    return parser.parse_args()


def choose(classes: list[TestClass], options: argparse.Namespace) -> list[TestClass]:
    """Return the classes, and of each the tests, that the command line asks for."""
    chosen = []
    for found in classes:
        if options.quick and found.name not in QUICK:
            continue
        tests = tuple(
            test
            for test, full in zip(found.tests, found.ids(), strict=True)
            if not options.only or any(fnmatch.fnmatch(full, pattern) for pattern in options.only)
        )
        if tests:
            chosen.append(dataclasses.replace(found, tests=tests))
    return chosen


def run_all(runner: Runner, chosen: list[TestClass], *, holdfast: bool) -> dict[str, Outcome]:
    """Run the classes one after the other, with a line for each."""
    results: dict[str, Outcome] = {}
    for number, each in enumerate(chosen, 1):
        began = time.monotonic()
        outcomes = runner.run(each, holdfast=holdfast)
        results |= outcomes
        counts = Counter(outcome.outcome for outcome in outcomes.values())
        told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        print(
            f"[{number}/{len(chosen)}] {each.module}.{each.name}: {told} ({time.monotonic() - began:.1f} s)", flush=True
        )
    return results


class Judge:
    """Decides for each outcome whether it counts against holdfast, by repeating tests with and without it."""

    def __init__(self, runner: Runner, chosen: list[TestClass], results: dict[str, Outcome]) -> None:
        self.runner = runner
        self.skipped = [
            dataclasses.replace(each, tests=tests)
            for each in chosen
            if (
                tests := tuple(
                    t for t, full in zip(each.tests, each.ids(), strict=True) if results[full].outcome == "skipped"
                )
            )
        ]
        self.plain: dict[str, str] = {}
        self.home = {
            full: dataclasses.replace(each, tests=(test,))
            for each in chosen
            for test, full in zip(each.tests, each.ids(), strict=True)
        }

    def alone(self, test: str, *, holdfast: bool) -> str:
        """Run one test by itself and return its outcome's name."""
        outcomes = self.runner.run(self.home[test], holdfast=holdfast)
        return next((name.outcome for name in outcomes.values() if name.outcome in BAD), outcomes[test].outcome)

    def plain_skips(self, test: str) -> str:
        """Return how a skipped test ends without holdfast; all skipped tests of its class are run at once."""
        if test not in self.plain:
            (its_class,) = [each for each in self.skipped if test in each.ids()]
            outcomes = self.runner.run(its_class, holdfast=False)
            self.plain |= {name: outcome.outcome for name, outcome in outcomes.items()}
        return self.plain[test]

    def verdict(self, test: str, outcome: Outcome) -> str | None:  # noqa: PLR0911  (one return for each verdict)
        """Return what is said about a test that failed or was skipped; None if nothing is to be said."""
        if test not in self.home:
            return "counts: fixture or aftermath" if outcome.outcome in BAD else None
        if outcome.outcome == "skipped":
            plain = self.plain_skips(test)
            return None if plain == "skipped" else f"counts: skipped only with holdfast (without: {plain})"
        if outcome.outcome not in BAD:
            return None
        if (why := exceptions.reason(test)) is not None:
            return f"excepted: {why}"
        again = [self.alone(test, holdfast=True) for _ in range(2)]
        plain = ""
        for _ in range(3):
            plain = self.alone(test, holdfast=False)
            if plain in BAD:
                return f"not ours: {plain} without holdfast too"
        if all(name not in BAD for name in again):
            return f"unsteady: {outcome.outcome} once, passed twice when repeated alone"
        return f"counts: {outcome.outcome}, again {'/'.join(again)}; without holdfast {plain}"


def report(results: dict[str, Outcome], verdicts: dict[str, str], options: argparse.Namespace, version: str) -> bool:
    """Print counts and verdicts; return True if nothing counts against holdfast."""
    for test, verdict in sorted(verdicts.items()):
        print(f"{test}\n    {verdict}")
        if options.verbose:
            print("    " + results[test].detail.replace("\n", "\n    "))
    counts = Counter(outcome.outcome for outcome in results.values())
    words = Counter(verdict.partition(":")[0] for verdict in verdicts.values())
    name = "unmodified suite" if options.baseline else "with holdfast"
    run = sum(counts.values()) - counts["skipped"]
    print(
        f"\nCPython {version}, {name}: run {run}, passed {counts['passed']}, failed {counts['failed']}, "
        f"errors {counts['error']}, hung {counts['hung']}, crashed {counts['crashed']}, skipped {counts['skipped']}"
    )
    if options.baseline:
        return True
    print(
        f"counting against holdfast {words['counts']}, "
        f"excepted {words['excepted']} (list of {len(exceptions.EXCEPTIONS)}, "
        f"at most {exceptions.LIMIT}), failing without holdfast too {words['not ours']}, unsteady {words['unsteady']}"
    )
    return words["counts"] == 0


def measure(runner: Runner, options: argparse.Namespace) -> bool:
    """Run what was asked for and return True if nothing counts against holdfast."""
    holdfast = not options.baseline
    if holdfast and (placed := runner.probe()).outcome != "passed":
        print(f"holdfast is not in place: {placed.outcome} {placed.detail}", file=sys.stderr)
        return False
    chosen = choose(runner.classes(), options)
    results = run_all(runner, chosen, holdfast=holdfast)
    judge = Judge(runner, chosen, results)
    verdicts: dict[str, str] = {}
    for test, outcome in results.items():
        said = judge.verdict(test, outcome) if holdfast else (outcome.outcome if outcome.outcome in BAD else None)
        if said is not None:
            verdicts[test] = said
    version = runner.environment.version
    fine = report(results, verdicts, options, version)
    for end in exceptions.EXCEPTIONS:
        if holdfast and not options.quick and not options.only and not any(test.endswith(end) for test in verdicts):
            print(f"exception not needed with this interpreter: {end}")
    for line in runner.leftovers:
        print(f"left running, killed: {line}")
    if options.json is not None:
        options.json.write_text(
            json.dumps(
                {
                    "python": version,
                    "holdfast": holdfast,
                    "verdicts": verdicts,
                    "leftovers": runner.leftovers,
                    "outcomes": {test: dataclasses.asdict(outcome) for test, outcome in results.items()},
                },
                indent=1,
            )
        )
    return fine


def main() -> int:
    """Run the command; return its exit code."""
    options = arguments()
    if len(exceptions.EXCEPTIONS) > exceptions.LIMIT:
        print(f"exceptions.py has more than {exceptions.LIMIT} entries", file=sys.stderr)
        return 2
    root = Path(tempfile.mkdtemp(prefix="hfconf-", dir="/tmp"))
    try:
        return 0 if measure(Runner(build(options.python, root), options.timeout), options) else 1
    except RuntimeError as problem:
        print(problem, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
