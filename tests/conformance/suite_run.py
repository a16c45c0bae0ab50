"""Runs one test class at a time in a process of its own, and survives whatever that process does.

A worker that says nothing for ``timeout`` seconds is asked for its stacks (SIGUSR1) and killed with its whole session:
the test that was running is reported as hung, and the rest of the class goes on in a new worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite_env import SWITCH, Environment

WORKER = Path(__file__).with_name("suite_worker.py")
BAD = ("failed", "error", "hung", "crashed")


@dataclass(frozen=True)
class TestClass:
    """A class of the suite: where it is and what it holds."""

    module: str
    name: str
    tests: tuple[str, ...]

    def ids(self) -> list[str]:
        """Return the full names of the tests."""
        return [f"{self.module}.{self.name}.{test}" for test in self.tests]


@dataclass
class Outcome:
    """How one test ended; ``seconds`` of wall time."""

    outcome: str
    detail: str = ""
    seconds: float = 0.0


@dataclass
class Runner:
    """Runs classes with or without holdfast; ``timeout`` in seconds without any event."""

    environment: Environment
    timeout: float
    leftovers: list[str] = field(default_factory=list)

    def classes(self) -> list[TestClass]:
        """Return every class of the suite of this interpreter.

        Raises:
            RuntimeError: the suite could not be imported.
        """
        events, ended = self._work(["--list"], holdfast=False)
        if ended.outcome != "passed":
            msg = f"the suite of {self.environment.version} cannot be listed:\n{ended.detail}"
            raise RuntimeError(msg)
        return [TestClass(found["module"], found["class"], tuple(found["tests"])) for found in events]

    def probe(self) -> Outcome:
        """Check that holdfast is in place in a parent and in a child of each start method."""
        events, ended = self._work(["--probe"], holdfast=True)
        for event in events:
            if event.get("event") == "end":
                return Outcome(event["outcome"], event["detail"])
        return ended

    def run(self, chosen: TestClass, *, holdfast: bool) -> dict[str, Outcome]:
        """Run the tests of one class and return how each ended."""
        results: dict[str, Outcome] = {}
        left = list(chosen.tests)
        while left:
            events, ended = self._work(["--module", chosen.module, "--name", chosen.name, *left], holdfast=holdfast)
            running = self._digest(events, results)
            left = [test for test in left if f"{chosen.module}.{chosen.name}.{test}" not in results]
            if ended.outcome == "passed":
                for test in left:
                    results[f"{chosen.module}.{chosen.name}.{test}"] = fixture_outcome(results)
                break
            if running is None:
                running = f"{chosen.module}.{chosen.name}." + (left[0] if left else "(after the last test)")
            results[running] = ended
            left = [test for test in left if not running.endswith("." + test)]
        return results

    @staticmethod
    def _digest(events: list[dict[str, Any]], results: dict[str, Outcome]) -> str | None:
        """Put finished tests into ``results``; return the one that was still running."""
        running = None
        for event in events:
            if event["event"] == "start":
                running = event["test"]
            elif event["event"] == "end":
                before = results.get(event["test"])
                if before is None or before.outcome not in BAD:
                    results[event["test"]] = Outcome(event["outcome"], event["detail"], event["seconds"])
                running = None
        return running

    def _work(self, arguments: list[str], *, holdfast: bool) -> tuple[list[dict[str, Any]], Outcome]:
        """Run one worker; return its events and how the process itself ended."""
        scratch = Path(tempfile.mkdtemp(prefix="hfc-", dir="/tmp"))
        out, log = scratch / "events", scratch / "output"
        extra = ["--holdfast", "--switch", SWITCH] if holdfast else []
        extra += ["--longest", str(self.timeout / 2)]
        command = [str(self.environment.python), str(WORKER), "--out", str(out), *extra, *arguments]
        out.touch()
        try:
            with log.open("wb") as sink:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    cwd=scratch,
                    env=self.environment.variables(scratch),
                    start_new_session=True,
                )
            hung = self._watch(process, out)
            self._sweep(process.pid, arguments)
            ended = self._ended(process, hung, log)
            lines = out.read_text().splitlines()
            return [json.loads(line) for line in lines], ended
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _watch(self, process: subprocess.Popen[bytes], out: Path) -> bool:
        """Wait for the worker; return True if it had to be killed because nothing moved."""
        size, since = -1, time.monotonic()
        while True:
            try:
                process.wait(0.25)
            except subprocess.TimeoutExpired:
                now = out.stat().st_size
                if now != size:
                    size, since = now, time.monotonic()
                elif time.monotonic() - since > self.timeout:
                    stacks_then_kill(process)
                    return True
            else:
                return False

    def _sweep(self, session: int, arguments: list[str]) -> None:
        """Kill and note what a worker left running in its session, after two seconds of grace."""
        deadline = time.monotonic() + 2
        while (left := members(session)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid, command in left.items():
            self.leftovers.append(f"{' '.join(arguments[:4])}: {command}")
            kill(pid)

    def _ended(self, process: subprocess.Popen[bytes], hung: bool, log: Path) -> Outcome:
        """Describe the end of a worker process."""
        tail = log.read_text(errors="replace")[-6000:]
        if hung:
            return Outcome("hung", f"nothing moved for {self.timeout:.0f} s\n{tail}", self.timeout)
        if process.returncode == 0:
            return Outcome("passed")
        if process.returncode < 0:
            return Outcome("crashed", f"killed by {signal.Signals(-process.returncode).name}\n{tail}")
        return Outcome("crashed", f"exit code {process.returncode}\n{tail}")


def fixture_outcome(results: dict[str, Outcome]) -> Outcome:
    """Return what tests get that never started: their class's or module's fixture ended that way."""
    for name, result in results.items():
        if name.startswith(("setUpClass", "setUpModule")):
            return Outcome(result.outcome, result.detail)
    return Outcome("error", "never ran, and no fixture says why")


def members(session: int) -> dict[int, str]:
    """Return the processes of a session that still run: pid to command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _parent, _group, its_session = Path(entry, "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state not in "ZX":
                found[int(entry.name)] = Path(entry, "cmdline").read_text().replace("\0", " ")[:200]
        except (OSError, ValueError):
            continue
    return found


def stacks_then_kill(process: subprocess.Popen[bytes]) -> None:
    """Have the worker print its stacks, then kill everything in its session, one process after the other."""
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.5)
    for pid in members(process.pid):
        kill(pid)
    process.wait()


def kill(pid: int) -> None:
    """Send SIGKILL to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
