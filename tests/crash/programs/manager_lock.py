"""PAINS 28: a manager's lock survives its killed holder, reaches pool tasks, and outlives the manager's server."""

import multiprocessing as mp
import time

import steps


def hold(lock, conn):
    lock.acquire()
    conn.send("held")
    conn.recv()


def attempt(lock):
    got = lock.acquire(False)
    if got:
        lock.release()
    return got


def main():
    (method,) = steps.begin()
    context = mp.get_context(method)
    manager = context.Manager()
    lock = manager.Lock()
    here, there = context.Pipe()
    holder = context.Process(target=hold, args=(lock, there), daemon=True)
    holder.start()
    steps.hear(here, "held")
    steps.kill(holder)
    began = time.monotonic()
    if not lock.acquire(True, 10) or time.monotonic() - began > steps.PROMPT:
        return steps.finish("the lock of a killed holder stayed held")
    with context.Pool(1) as pool:
        held = pool.apply(attempt, (lock,))
        lock.release()
        free = pool.apply(attempt, (lock,))
        if (held, free) != (False, True):
            return steps.finish(f"in a pool task: {held}, {free}")
    manager.shutdown()
    try:
        with lock:
            pass
    except Exception as problem:
        return steps.finish(f"dies with its server: {type(problem).__name__}")
    steps.finish(told=str(holder.pid))


if __name__ == "__main__":
    main()
