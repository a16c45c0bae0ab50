"""What the programs beside this file share: order without sleeping, a watchdog, one line at the end.

Every program is an ordinary ``import multiprocessing as mp`` script: ``program.py START_METHOD [more]``. It prints one
line, ``OK ...`` or what went wrong. The tests start it unmodified with ``holdfast run``, and once more with that line
changed to ``import holdfast as mp``.
"""

import faulthandler
import os
import sys
import time

WATCHDOG = 60.0  # seconds until a stuck program prints its stacks and ends
PROMPT = 5.0  # seconds: a generous watchdog over promises that say "well under 1 s"
ASLEEP = {"202", "449"}  # x86-64: futex, futex_waitv
ASLEEP_ARM = {"98", "449"}
READS = {"0"}  # read: how the standard library's queues wait
READS_ARM = {"63"}


def begin():
    """Arm the watchdog and return the program's arguments."""
    faulthandler.dump_traceback_later(float(os.environ.get("STEPS_WATCHDOG", WATCHDOG)), exit=True)
    return sys.argv[1:]


def finish(problem=None, *, told=""):
    """Print the one line."""
    faulthandler.cancel_dump_traceback_later()
    print(problem or f"OK {told}".strip(), flush=True)


def hear(conn, what):
    """Return the next message of a pipe; end the program, saying ``what`` was awaited, if none comes."""
    if not conn.poll(30):
        finish(f"nothing heard: {what}")
        os._exit(1)
    return conn.recv()


def until_asleep(pid, *, reads=False):
    """Return once the main thread of ``pid`` sleeps in a futex (or read) system call: looked up, not guessed."""
    x86 = os.uname().machine == "x86_64"
    wanted = (ASLEEP if x86 else ASLEEP_ARM) | ((READS if x86 else READS_ARM) if reads else set())
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/syscall", encoding="ascii") as file:  # noqa: PTH123  (no import that costs time)
            if file.read().split()[0] in wanted:
                return
        time.sleep(0.001)
    finish(f"process {pid} never slept")
    os._exit(1)


def kill(process):
    """SIGKILL a child and wait until it is gone."""
    process.kill()
    process.join()
