"""PAINS 04: a writer is killed inside put() of a big item; timeouts are honoured, other producers' items arrive.

The item of the killed writer is there as a whole, or not at all.
"""

import multiprocessing as mp
import queue
import time

import steps

BIG = 64 << 20  # bytes: much more than any buffer takes at once
ROUNDS = 5


def put_big(box, conn):
    item = bytes(BIG)
    conn.send("about to put")
    box.put(("big", item))
    conn.recv()  # never comes: the parent kills us


def put_when_full(box, conn):
    conn.send("about to put")
    box.put("never")


def put_small(box, number):
    box.put(("small", number))


def start_and_kill(context, target, box, *, asleep):
    here, there = context.Pipe()
    process = context.Process(target=target, args=(box, there), daemon=True)
    process.start()
    there.close()
    steps.hear(here, "writer at its place")
    if asleep:
        steps.until_asleep(process.pid)
    steps.kill(process)


def drained(box):
    """Return the items of a queue; each get() waits for at most a moment, and no longer."""
    found = []
    while True:
        began = time.monotonic()
        try:
            found.append(box.get(timeout=1))
        except queue.Empty:
            return found
        finally:
            if (took := time.monotonic() - began) > 1 + steps.PROMPT:
                steps.finish(f"get(timeout=1) took {took:.1f} s")


def big_item(context, number):
    """Return what is wrong after a kill inside put()."""
    box = context.Queue()
    start_and_kill(context, put_big, box, asleep=False)
    other = context.Process(target=put_small, args=(box, number))
    other.start()
    other.join()
    box.put(("small", "own"))
    found = drained(box)
    if [item for item in found if item[0] == "small"] != [("small", number), ("small", "own")]:
        return f"items of other producers are lost: {len(found)} arrived"
    whole = [item for item in found if item[0] == "big"]
    if any(len(item[1]) != BIG for item in whole):
        return "half an item arrived"
    return None


def full_queue(context):
    """Return what is wrong after a kill of a writer that waits for room."""
    box = context.Queue(1)
    box.put("first")
    start_and_kill(context, put_when_full, box, asleep=True)
    if (got := box.get(timeout=10)) != "first":
        return f"got {got!r} instead of the first item"
    box.put("second", timeout=10)
    return None if (left := drained(box)) == ["second"] else f"{left!r} is left instead of the second item"


def main():
    (method,) = steps.begin()
    context = mp.get_context(method)
    for number in range(ROUNDS):
        if problem := big_item(context, number) or full_queue(context):
            return steps.finish(problem)
    steps.finish()


if __name__ == "__main__":
    main()
