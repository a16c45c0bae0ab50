"""Row 19: a pool inside a pool's task works; killed with its outer worker it leaves nothing behind."""

import multiprocessing as mp
import os
import signal
import time
from pathlib import Path

import steps


def inner(argument):
    """Use a pool of its own."""
    with mp.get_context(argument[0]).Pool(2) as pool:
        return sum(pool.map(abs, range(argument[1])))


def doomed(method, told):
    """Tell the pids of a pool of its own, and die."""
    pool = mp.get_context(method).Pool(2)
    pids = {pool.apply(os.getpid) for _ in range(4)}
    told.put(sorted(pids))
    os.kill(os.getpid(), signal.SIGKILL)


def main():
    """Run."""
    (method,) = steps.begin()
    context = mp.get_context(method)
    told = context.SimpleQueue()
    with context.Pool(2) as pool:
        if pool.map(inner, [(method, 10), (method, 20)], 1) != [45, 190]:
            return "wrong sums"
        result = pool.apply_async(doomed, (method, told))
        pids = told.get()
        try:
            result.get(30)
        except Exception as error:
            if "SIGKILL" not in str(error):
                return repr(error)
        deadline = time.monotonic() + 30
        while any(map(running, pids)):
            if time.monotonic() > deadline:
                return "the inner workers live on"
            time.sleep(0.01)
    return None


def running(pid):
    """Whether a process runs and is no zombie."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


if __name__ == "__main__":
    steps.finish(main())
