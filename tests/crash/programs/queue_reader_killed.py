"""PAINS 03: a reader is killed while it waits in get(), many times; no other reader blocks, no item is lost."""

import multiprocessing as mp
import queue

import steps


def take_one(box, conn):
    conn.send("in")
    conn.send(box.get())


def take_all(box, conn):
    conn.send("in")
    while (item := box.get()) is not None:
        conn.send(item)


def start(context, target, box):
    here, there = context.Pipe()
    process = context.Process(target=target, args=(box, there), daemon=True)
    process.start()
    there.close()
    steps.hear(here, "reader at its place")
    steps.until_asleep(process.pid, reads=True)
    return process, here


def waiting_victim_killed(context, box):
    victim, _conn = start(context, take_one, box)
    steps.kill(victim)


def steady_reader_goes_on(context, box, kills):
    """Return what is wrong when a reader that waits beside the killed ones gets everything."""
    reader, conn = start(context, take_all, box)
    for number in range(kills):
        waiting_victim_killed(context, box)
        box.put(number)
        if (got := steps.hear(conn, f"item {number} after kill {number}")) != number:
            return f"got {got!r} instead of {number}"
    box.put(None)
    reader.join()
    return None


def own_get_goes_on(context, box, timeout):
    """Return what is wrong when the next reader is this process; ``timeout`` is None where get() takes none."""
    for number in range(3):
        waiting_victim_killed(context, box)
        box.put(number)
        try:
            got = box.get() if timeout is None else box.get(timeout=timeout)
        except queue.Empty:
            return "get(timeout) said Empty of a queue with an item"
        if got != number:
            return f"got {got!r} instead of {number}"
    return None if box.empty() else "something is left in the queue"


def main():
    method, kind, kills = (*steps.begin(), "Queue", "10")[:3]
    context = mp.get_context(method)
    box = getattr(context, kind)()
    problem = steady_reader_goes_on(context, box, int(kills))
    steps.finish(problem or own_get_goes_on(context, box, None if kind == "SimpleQueue" else 10))


if __name__ == "__main__":
    main()
