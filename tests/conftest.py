"""What every test gets: a watchdog, leak checks, and the start methods.

After each test nothing may be left that was not there before: no child process, no orphan in our process group, no file
of shared memory, but for what this process itself still uses (its home arena). A test that needs longer than 120 s says
`@pytest.mark.watchdog(seconds)`; one that cleans up by other means `@pytest.mark.leaves_nothing_unchecked`.
"""

import gc
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import process_tree
import pytest

os.environ.setdefault("PYTHONFAULTHANDLER", "1")  # children answer the watchdog's SIGABRT with their stacks

SECONDS = 120.0  # for one test, unless it is marked
SETTLE = 5.0  # seconds in which what a test left must have gone by itself


class Watchdog:
    """The test run's end of the pipe to tests/watchdog.py."""

    def __init__(self):
        # A stderr of its own, taken before pytest redirects file descriptor 2.
        command = [sys.executable, str(Path(__file__).with_name("watchdog.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)

    def order(self, text):
        """Send one order; a watchdog that is gone is a failure of the run."""
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()

    def close(self):
        """Send it home."""
        self.process.stdin.close()
        self.process.terminate()  # a leaked child may hold the other end of the pipe
        self.process.wait()


WATCHDOG = pytest.StashKey[Watchdog]()


def pytest_sessionstart(session):
    """Start the watchdog while file descriptor 2 is still the real one."""
    capture = session.config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture()
    try:
        session.config.stash[WATCHDOG] = Watchdog()
    finally:
        if capture is not None:
            capture.resume_global_capture()


def pytest_sessionfinish(session):
    """Send the watchdog home."""
    if WATCHDOG in session.config.stash:
        session.config.stash[WATCHDOG].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Watch one test with its fixtures."""
    marker = item.get_closest_marker("watchdog")
    seconds = float(marker.args[0]) if marker else SECONDS
    watchdog = item.config.stash[WATCHDOG]
    watchdog.order(f"start {seconds} {item.nodeid!r}")
    try:
        return (yield)
    finally:
        watchdog.order("stop")


@pytest.fixture(autouse=True)
def _leaves_nothing(request):
    """Compare processes and shared memory before and after the test."""
    if request.node.get_closest_marker("leaves_nothing_unchecked"):
        yield
        return
    processes, files = process_tree.ours(), process_tree.shared_files()
    yield
    left = remains(processes, files)
    if left and any("/" in line for line in left):
        start_next_program()  # "nothing is left once the next program has started" is what is promised after kills
    deadline = time.monotonic() + SETTLE
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = remains(processes, files)
    if left:
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


def remains(processes, files):
    """What is there now and was not before, one line each."""
    gc.collect()
    multiprocessing.active_children()  # reaps children that have ended
    if "holdfast" in sys.modules:
        sys.modules["holdfast"].active_children()
    known = {(each.pid, each.started) for each in processes}
    new = [each for each in process_tree.ours() if (each.pid, each.started) not in known]
    lines = [f"process {each.pid} ({each.state}): {each.command}" for each in new if not each.is_helper(os.getpid())]
    paths = process_tree.shared_files() - files
    if paths:
        paths -= {path for path in process_tree.mapped_by("self") if Path(path).parent != process_tree.SHM}
    if paths:  # only now what costs more: another program of this user may have come meanwhile
        paths -= process_tree.mapped_elsewhere()
    return lines + sorted(paths)


def start_next_program():
    """Let another program use holdfast once: it sweeps what killed ones left."""
    program = "import holdfast; holdfast.Lock().acquire()"
    subprocess.run([sys.executable, "-c", program], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def start_method(request):
    """Each start method in turn, by name."""
    return request.param


@pytest.fixture
def context(start_method):
    """holdfast's context of each start method in turn."""
    import holdfast

    return holdfast.get_context(start_method)
