"""PAINS 13: makes a bit of everything, lets children use it, says so, and waits to be killed with its whole group."""

import multiprocessing as mp
import os
import signal

import steps


def use(things, conn):
    lock, semaphore, event, value = things
    lock.acquire()
    semaphore.acquire()
    value.value = os.getpid()
    conn.send("used")
    event.wait()


def main():
    (method,) = steps.begin()
    context = mp.get_context(method)
    children = []
    for _ in range(3):
        here, there = context.Pipe()
        things = (context.Lock(), context.Semaphore(2), context.Event(), context.Value("i", 0))
        child = context.Process(target=use, args=(things, there))
        child.start()
        steps.hear(here, "used")
        children.append((child, things))
    print("OK ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
