"""Row 17: tells when all workers are busy; then a Ctrl-C comes, and map() ends with one KeyboardInterrupt."""

import multiprocessing as mp
import time

import steps


def slow(started):
    """Tell that it began, and take long."""
    started.put(1)
    time.sleep(60)


def main():
    """Run."""
    (method,) = steps.begin()
    context = mp.get_context(method)
    with context.Pool(2) as pool:
        started = context.SimpleQueue()
        result = pool.map_async(slow, [started] * 4, 1)
        for _ in range(2):
            started.get()
        print("busy", flush=True)
        result.get()


if __name__ == "__main__":
    main()
