"""PAINS 05: join() before the queue is drained returns, and everything put is still readable."""

import multiprocessing as mp

import steps

ITEMS = 200
SIZE = 50_000  # bytes of one item: together far more than a pipe holds


def fill(box, conn):
    for number in range(ITEMS):
        box.put((number, bytes([number % 256]) * SIZE))
    conn.send("filled")


def main():
    method, kind = (*steps.begin(), "Queue")[:2]
    context = mp.get_context(method)
    box = getattr(context, kind)()
    here, there = context.Pipe()
    process = context.Process(target=fill, args=(box, there), daemon=True)
    process.start()
    there.close()
    process.join()
    if process.exitcode != 0:
        return steps.finish(f"the writer ended with {process.exitcode}")
    steps.hear(here, "writer has put everything")
    for number in range(ITEMS):
        if box.empty():
            return steps.finish(f"only {number} of {ITEMS} items survived their writer")
        if box.get() != (number, bytes([number % 256]) * SIZE):
            return steps.finish(f"item {number} is wrong")
    steps.finish(None if box.empty() else "there is more than was put")


if __name__ == "__main__":
    main()
