"""PAINS 11: a party that waits at a barrier is killed; the others get BrokenBarrierError, and reset() mends it."""

import multiprocessing as mp
import threading
import time

import steps


def party(barrier, conn):
    conn.send("in")
    try:
        barrier.wait(30)
        conn.send(("passed", time.monotonic()))
    except threading.BrokenBarrierError:
        conn.send(("broken", time.monotonic()))


def start(context, barrier):
    here, there = context.Pipe()
    process = context.Process(target=party, args=(barrier, there), daemon=True)
    process.start()
    there.close()
    steps.hear(here, "party at the barrier")
    return process, here


def main():
    (method,) = steps.begin()
    context = mp.get_context(method)
    barrier = context.Barrier(3)
    victim, _conn = start(context, barrier)
    other, conn = start(context, barrier)
    steps.until_asleep(victim.pid)
    steps.until_asleep(other.pid)
    began = time.monotonic()
    steps.kill(victim)
    how, when = steps.hear(conn, "the other party after one was killed")
    if how != "broken" or when - began > steps.PROMPT:
        return steps.finish(f"the other party: {how} after {when - began:.2f} s")
    try:
        barrier.wait(30)
        return steps.finish("a broken barrier let a third party pass")
    except threading.BrokenBarrierError:
        pass
    other.join()
    barrier.reset()
    parties = [start(context, barrier) for _ in range(2)]
    barrier.wait(30)
    if [steps.hear(conn, "party after reset")[0] for _process, conn in parties] != ["passed", "passed"]:
        return steps.finish("reset() did not mend the barrier")
    steps.finish()


if __name__ == "__main__":
    main()
