"""PAINS 10: a signal handler sets the event that its own process waits for."""

import multiprocessing as mp
import os
import signal
import time

import steps


def poke(pid, conn):
    conn.recv()
    steps.until_asleep(pid)
    os.kill(pid, signal.SIGUSR1)


def main():
    (method,) = steps.begin()
    context = mp.get_context(method)
    event = context.Event()
    handled = []

    def handler(_number, _frame):
        handled.append(time.monotonic())
        event.set()

    signal.signal(signal.SIGUSR1, handler)
    here, there = context.Pipe()
    helper = context.Process(target=poke, args=(os.getpid(), there), daemon=True)
    helper.start()
    here.send("go")
    woken = event.wait(30)
    now = time.monotonic()
    helper.join()
    if not handled:
        return steps.finish("the handler never ran")
    if not woken or now - handled[0] > steps.PROMPT:
        return steps.finish(f"wait() returned {woken} after {now - handled[0]:.2f} s")
    steps.finish()


if __name__ == "__main__":
    main()
