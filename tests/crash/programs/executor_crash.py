"""Row 27: one crash in an executor: 19 of 20 results arrive, the error names pid, signal and task, it goes on."""

import multiprocessing as mp
import os
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed

import steps


def task(index):
    """Die at index 5, else return the index."""
    if index == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return index


def main():
    """Run."""
    (method,) = steps.begin()
    with ProcessPoolExecutor(2, mp_context=mp.get_context(method)) as executor:
        futures = [executor.submit(task, index) for index in range(20)]
        done = {future: future.exception() for future in as_completed(futures, 30)}
        failed = [error for error in done.values() if error is not None]
        if len(failed) != 1 or "SIGKILL" not in str(failed[0]) or "task(5)" not in str(failed[0]):
            return repr(failed)
        if str(getattr(failed[0], "pid", "?")) not in str(failed[0]):
            return f"no pid: {failed[0]!r}"
        if list(executor.map(abs, range(-5, 0))) != [5, 4, 3, 2, 1]:
            return "the executor does not go on"
    return None


if __name__ == "__main__":
    steps.finish(main())
