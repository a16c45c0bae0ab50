"""PAINS 01: the holder of a lock is killed; the next acquire succeeds at once, also that of a sleeping waiter."""

import multiprocessing as mp
import time

import steps

KINDS = ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Value", "Array")


def make(context, kind):
    if kind == "Value":
        return context.Value("i", 0).get_lock()
    if kind == "Array":
        return context.Array("i", 4).get_lock()
    return getattr(context, kind)()


def hold(lock, conn):
    lock.acquire()
    conn.send("held")
    conn.recv()  # never comes: the parent kills us


def wait(lock, conn):
    conn.send("waiting")
    conn.send((lock.acquire(timeout=30), time.monotonic()))
    lock.release()


def start(context, target, lock):
    here, there = context.Pipe()
    process = context.Process(target=target, args=(lock, there), daemon=True)
    process.start()
    there.close()
    return process, here


def next_acquire(context, kind):
    lock = make(context, kind)
    holder, conn = start(context, hold, lock)
    steps.hear(conn, "held")
    steps.kill(holder)
    began = time.monotonic()
    if not lock.acquire(timeout=30):
        return f"{kind}: not acquired", holder.pid
    lock.release()
    return late(kind, "the next acquire", time.monotonic() - began), holder.pid


def sleeping_waiter(context, kind):
    lock = make(context, kind)
    holder, conn = start(context, hold, lock)
    steps.hear(conn, "held")
    waiter, answer = start(context, wait, lock)
    steps.hear(answer, "waiting")
    steps.until_asleep(waiter.pid)
    began = time.monotonic()
    steps.kill(holder)
    got, when = steps.hear(answer, "the waiter's acquire")
    waiter.join()
    return (late(kind, "a sleeping waiter", when - began) if got else f"{kind}: waiter timed out"), holder.pid


def late(kind, who, seconds):
    return f"{kind}: {who} took {seconds:.2f} s" if seconds > steps.PROMPT else None


def main():
    method, *kinds = steps.begin()
    context = mp.get_context(method)
    died = []
    for kind in kinds or KINDS:
        for scenario in (next_acquire, sleeping_waiter):
            problem, pid = scenario(context, kind)
            died.append(pid)
            if problem:
                return steps.finish(problem)
    steps.finish(told=" ".join(map(str, died)))


if __name__ == "__main__":
    main()
