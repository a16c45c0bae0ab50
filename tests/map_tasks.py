"""What the tests of `holdfast.map` call in workers."""

import os
import signal
import time
from pathlib import Path

import holdfast


def double(x):
    return 2 * x


def pid_of(_):
    return os.getpid()


def fail_at_five(x):
    if x == 5:
        raise KeyError(x)
    return x


def die_at_five(x):
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def count_and_fail(counter, x):
    counter.add(1)
    raise LookupError(x)


def fail_until_third(counter, x):
    if counter.add(1) < 3:
        raise LookupError(x)
    return x


def wait_if(event, which, x):
    if x == which:
        event.wait()
    return x


def tell_and_sleep(queue, _):
    queue.put(os.getpid())
    time.sleep(600)


def sleep_if(which, x):
    if x == which:
        time.sleep(600)
    return x


def nested(x):
    return sum(holdfast.map(double, range(x), workers=2))


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
