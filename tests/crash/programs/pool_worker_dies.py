"""Row 02: a worker of a pool dies in a task; that task says so, every other one has its result, the pool goes on."""

import multiprocessing as mp
import os
import signal
import sys

import steps

WAYS = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "_exit": lambda: os._exit(7),
    "exit": lambda: sys.exit(7),
    "abort": os.abort,
}


def task(way, index):
    """Die at index 5, else return the index."""
    if index == 5:
        WAYS[way]()
    return index


def main():
    """Run."""
    method, way = steps.begin()
    with mp.get_context(method).Pool(2) as pool:
        results = [pool.apply_async(task, (way, index)) for index in range(20)]
        for index, result in enumerate(results):
            try:
                value = result.get(30)
            except Exception as error:
                text = str(error)
                named = way if way.startswith("SIG") else "SIGABRT" if way == "abort" else "exit code 7"
                if index != 5 or "HF301" not in text or named not in text or f"'{way}', 5" not in text:
                    return f"task {index}: {error!r}"
            else:
                if index == 5 or value != index:
                    return f"task {index} returned {value!r}"
        try:
            pool.starmap(task, [(way, index) for index in range(20)])
        except Exception as error:
            if "HF301" not in str(error):
                return repr(error)
        else:
            return "starmap() knows of no death"
        if pool.map(abs, range(-50, 0)) != list(range(50, 0, -1)):
            return "the pool does not go on"
    return None


if __name__ == "__main__":
    steps.finish(main())
