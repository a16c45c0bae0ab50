"""The watchdog: a process beside the test run that dumps every stack and ends everything when a test hangs.

    pytest --- "start 120 tests/x.py::test_y" / "stop" (a pipe) ---> watchdog --- SIGABRT ---> all descendants of pytest

It is a process, not a thread, because threads would change what is tested: a fork beside a running thread. SIGABRT
makes faulthandler print the stacks of all threads, in forked and in started children alike: conftest.py switches it on
through the environment. The descendants come first, the test run itself last.
"""

import io
import os
import select
import signal
import sys
import time
from typing import BinaryIO

from process_tree import PROC, Seen, descendants, processes

GRACE = 5.0  # seconds for a process to write its stacks


def main() -> None:
    """Read orders until the test run ends, and act when a deadline passes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    target = os.getppid()
    deadline, test = None, ""
    pending = b""
    while os.getppid() == target:
        rest = 1.0 if deadline is None else min(1.0, max(0.0, deadline - time.monotonic()))
        if select.select([0], [], [], rest)[0]:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                order, _, rest_of_line = line.decode().partition(" ")
                seconds, _, test = rest_of_line.partition(" ")
                deadline = time.monotonic() + float(seconds) if order == "start" else None
        elif deadline is not None and time.monotonic() >= deadline:
            end_everything(target, test)
            return


def end_everything(target: int, test: str) -> None:
    """Say what every process is doing, make it dump its stacks, and see that it is gone."""
    say(f"\nWATCHDOG: {test} takes too long; every process of it is dumped and ended")
    os.kill(target, signal.SIGSTOP)  # or its test would go on, and even pass, when what it waits for is ended
    victims = [each for each in descendants(target) if each.pid != os.getpid() and not each.is_helper(target)]
    for each in [*victims, *(seen for pid, seen in processes().items() if pid == target)]:
        say(f"--- process {each.pid} (parent {each.parent}), {describe(each)}")
        end(each)
    sys.exit(1)


def end(each: Seen) -> None:
    """Send SIGABRT, wait for the stacks to be written, then SIGKILL."""
    with captured_stderr(each) as stacks:
        for number in (signal.SIGABRT, signal.SIGCONT, signal.SIGKILL):
            try:
                os.kill(each.pid, number)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + (GRACE if number == signal.SIGCONT else 0.0)
            while time.monotonic() < deadline and is_alive(each):
                time.sleep(0.02)  # it is not our child: there is nothing to wait on
        say(stacks.read().decode(errors="replace"))


def captured_stderr(each: Seen) -> BinaryIO:
    """Open what a process writes to stderr from now on, where that is pytest's file and not our own stderr."""
    path = PROC / str(each.pid) / "fd" / "2"
    try:
        if path.is_file() and not path.samefile("/proc/self/fd/2"):
            file = path.open("rb")
            file.seek(0, os.SEEK_END)
            return file
    except OSError:  # it ended meanwhile
        pass
    return io.BytesIO()


def is_alive(each: Seen) -> bool:
    """Whether a process still runs."""
    now = processes().get(each.pid)
    return now is not None and now.started == each.started and now.state not in "ZX"


def describe(each: Seen) -> str:
    """State, kernel function and command line of a process."""
    try:
        asleep_in = (PROC / str(each.pid) / "wchan").read_text()
    except OSError:
        asleep_in = "?"
    return f"state {each.state}, in the kernel at {asleep_in}: {each.command}"


def say(text: str) -> None:
    """Write a line at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
