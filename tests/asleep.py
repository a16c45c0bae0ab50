"""Order without sleeping: when another process or thread has gone to sleep is looked up in /proc, not guessed."""

import os
import threading
import time
from pathlib import Path

FUTEXES = {"202", "449"} if os.uname().machine == "x86_64" else {"98", "449"}  # futex, futex_waitv


def sleeps(pid: int, tid: int | None = None) -> bool:
    """Whether a thread (the main one, unless told) sleeps in a futex system call."""
    try:
        line = Path(f"/proc/{pid}/task/{tid or pid}/syscall").read_text()
    except OSError:
        return False
    return line.split()[0] in FUTEXES


def until_asleep(pid: int, tid: int | None = None) -> None:
    """Return once a thread sleeps; the test's watchdog ends it if that never happens."""
    while not sleeps(pid, tid):
        time.sleep(0.001)


class Caller(threading.Thread):
    """A thread that makes one call; ``result`` is what it returned or the exception it raised."""

    def __init__(self, call, *arguments, **options):
        super().__init__(name="caller")
        self.result = None
        self._call = lambda: call(*arguments, **options)
        self.start()

    def run(self):
        """Make the call."""
        try:
            self.result = self._call()
        except Exception as problem:
            self.result = problem

    def waits(self):
        """Return this caller once its call sleeps."""
        while self.native_id is None or not (sleeps(os.getpid(), self.native_id) or not self.is_alive()):
            time.sleep(0.001)
        return self

    def outcome(self):
        """Join the thread; return its result, or raise its exception."""
        self.join()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result
