"""PAINS 18: the parent is killed; its busy daemon children, executor workers and their daemon children must end.

Prints one JSON object with the pids to watch, then waits to be killed.
"""

import concurrent.futures
import json
import multiprocessing as mp
import os
import signal

import steps


def spin(conn):
    conn.send(os.getpid())
    while True:
        pass


def patient(conn):
    """A process that is not a daemon: documented to live on."""
    conn.send(os.getpid())
    signal.pause()


def start(context, target, conn, *, daemon=True):
    process = context.Process(target=target, args=(conn,), daemon=daemon)
    process.start()
    return process


def main():
    (method,) = steps.begin()
    context = mp.get_context(method)
    here, there = context.Pipe()
    keep = [start(context, spin, there) for _ in range(2)]
    executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
    pool = context.Pool(1)
    with context.Manager() as manager:
        workers = [executor.submit(os.getpid).result(), pool.apply(os.getpid), manager._process.pid]
        ends = {"daemons": [steps.hear(here, "daemon") for _ in keep], "workers": workers}
        keep.append(start(context, patient, there, daemon=False))
        lives = steps.hear(here, "child that is no daemon")
        grandchild = executor.submit(run_grandchild, method).result()
        executor.submit(forever)
        pool.apply_async(forever)
        print(json.dumps({**ends, "grandchildren": [grandchild], "lives": lives}), flush=True)
        signal.pause()


GRANDCHILDREN = []


def run_grandchild(method):
    context = mp.get_context(method)
    here, there = context.Pipe()
    GRANDCHILDREN.append(start(context, spin, there))
    return steps.hear(here, "grandchild")


def forever():
    while True:
        pass


if __name__ == "__main__":
    main()
