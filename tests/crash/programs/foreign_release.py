"""PAINS 23: somebody releases a lock that another process holds. Documented, so it works; holdfast says who did it."""

import multiprocessing as mp

import steps


def culprit(lock, conn):
    try:
        lock.release()
        conn.send(None)
    except Exception as problem:
        conn.send(repr(problem))


def main():
    (method,) = steps.begin()
    context = mp.get_context(method)
    lock = context.Lock()
    here, there = context.Pipe()
    process = context.Process(target=culprit, args=(lock, there), daemon=True)
    lock.acquire()
    process.start()
    problem = steps.hear(here, "the culprit's release")
    process.join()
    if problem:
        return steps.finish(f"a foreign release raised {problem}")
    if not lock.acquire(timeout=steps.PROMPT):
        return steps.finish("the lock is still held after a foreign release")
    steps.finish(told=f"{process.pid}")


if __name__ == "__main__":
    main()
