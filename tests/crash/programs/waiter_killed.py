"""PAINS 09: a waiter of a Condition or an Event is killed; notify_all() and set() return and wake every living one."""

import multiprocessing as mp
import time

import steps

ROUNDS = 3


def wait_condition(condition, conn):
    with condition:
        conn.send("in")
        conn.send(condition.wait(30))


def wait_event(event, conn):
    conn.send("in")
    conn.send(event.wait(30))


def start(context, target, thing, count):
    started = []
    for _ in range(count):
        here, there = context.Pipe()
        process = context.Process(target=target, args=(thing, there), daemon=True)
        process.start()
        there.close()
        steps.hear(here, "waiter at its place")
        started.append((process, here))
    for process, _conn in started:
        steps.until_asleep(process.pid)
    return started


def wake(thing):
    if hasattr(thing, "notify_all"):
        with thing:
            thing.notify_all()
    else:
        thing.set()


def scenario(context, kind, victim):
    thing = getattr(context, kind)()
    waiters = start(context, wait_event if kind == "Event" else wait_condition, thing, 3)
    process, _conn = waiters.pop(victim)
    steps.kill(process)
    began = time.monotonic()
    wake(thing)
    if (took := time.monotonic() - began) > steps.PROMPT:
        return f"{kind}: waking took {took:.2f} s"
    for other, conn in waiters:
        if steps.hear(conn, f"{kind}: a living waiter after a waiter was killed") is not True:
            return f"{kind}: a living waiter was not woken"
        other.join()
    return None


def main():
    (method,) = steps.begin()
    context = mp.get_context(method)
    for kind in ("Condition", "Event"):
        for victim in range(ROUNDS):
            if problem := scenario(context, kind, victim):
                return steps.finish(problem)
    steps.finish()


if __name__ == "__main__":
    main()
