"""Row 17 for an executor: tells when its workers are busy; then a Ctrl-C comes, with or without a ``with`` block."""

import multiprocessing as mp
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import steps


def slow(started):
    """Tell that it began, and take long."""
    started.put(1)
    time.sleep(60)


def use(executor, started):
    """Keep both workers busy and wait for them."""
    futures = [executor.submit(slow, started) for _ in range(4)]
    for _ in range(2):
        started.get()
    print("busy", flush=True)
    futures[0].result()


def main():
    """Run."""
    method, block = steps.begin()
    context = mp.get_context(method)
    started = context.SimpleQueue()
    if block == "block":
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            use(executor, started)
    else:
        use(ProcessPoolExecutor(2, mp_context=context), started)


if __name__ == "__main__":
    sys.exit(main())
