"""Row 25: an executor whose workers are replaced after 1, 2 and 3 tasks does them all, and no worker does more.

The second argument is the number of tasks. Where the start method is fork, the standard library refuses this.
"""

import multiprocessing as mp
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import steps


def pid_of(_):
    """Say who works."""
    return os.getpid()


def main():
    """Run."""
    method, tasks = steps.begin()
    context = mp.get_context(method)
    for most in (1, 2, 3):
        try:
            executor = ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=most)
        except ValueError as error:
            return None if method == "fork" else repr(error)
        with executor:
            futures = [executor.submit(pid_of, number) for number in range(int(tasks))]
            done = Counter(future.result(30) for future in futures)
        if sum(done.values()) != int(tasks) or max(done.values()) > most:
            return f"after {most}: {done}"
    return None


if __name__ == "__main__":
    steps.finish(main())
