"""A control group's memory limit ends a worker; the error calls that by its name.

``pool_memory.py START_METHOD FOLDER``: the folder of a memory group with a limit, which this program joins.
"""

import multiprocessing as mp
import os
from pathlib import Path

import steps

STEP, MOST = 16 << 20, 2 << 30  # bytes


def task(index):
    """Use more memory than there is at index 3, else return the index."""
    held = []
    while index == 3 and STEP * len(held) < MOST:
        held.append(b"\1" * STEP)
    return index


def main():
    """Run."""
    method, folder = steps.begin()
    Path(folder, "cgroup.procs").write_text(str(os.getpid()))
    with mp.get_context(method).Pool(2) as pool:
        results = [pool.apply_async(task, (index,)) for index in range(10)]
        for index, result in enumerate(results):
            try:
                value = result.get(30)
            except Exception as error:
                text = str(error)
                if index != 3 or "SIGKILL" not in text or f"memory limit of control group {folder} " not in text:
                    return f"task {index}: {error!r}"
            else:
                if index == 3 or value != index:
                    return f"task {index} returned {value!r}"
        if pool.map(abs, range(-50, 0)) != list(range(50, 0, -1)):
            return "the pool does not go on"
    return None


if __name__ == "__main__":
    steps.finish(main())
