"""PAINS 24: as soon as put() returned, empty() is False, get_nowait() gets the item, and qsize() is exact."""

import multiprocessing as mp
import queue

import steps

TIMES = 500


def look(box, number):
    """Return what is wrong right after put()."""
    box.put(number)
    if box.empty():
        return f"empty() just after put() number {number}"
    if hasattr(box, "qsize") and (size := box.qsize()) != 1:
        return f"qsize() is {size} just after put() number {number}"
    if hasattr(box, "get_nowait"):
        try:
            got = box.get_nowait()
        except queue.Empty:
            return f"get_nowait() says Empty just after put() number {number}"
    else:
        got = box.get()
    if got != number:
        return f"got {got!r} instead of {number}"
    return None if box.empty() else "not empty after the only item was taken"


def echo(there, back, conn):
    """The other process: when told that an item is there, it must be."""
    while conn.recv():
        try:
            back.put(there.get_nowait())
        except queue.Empty:
            back.put("Empty")
        conn.send("put back")


def other_process_sees(context):
    """Return what is wrong when another process looks, told by a pipe that the item was put."""
    there, back = context.Queue(), context.Queue()
    here, far = context.Pipe()
    process = context.Process(target=echo, args=(there, back, far), daemon=True)
    process.start()
    far.close()
    for number in range(100):
        there.put(number)
        here.send(True)
        steps.hear(here, "the other process")
        if back.empty() or (got := back.get_nowait()) != number:
            return "the other process's put() is not seen" if back.empty() else f"the other process got {got!r}"
    here.send(False)
    process.join()
    return None


def full_is_exact(context):
    """Return what is wrong with full() of a bounded queue."""
    box = context.Queue(2)
    seen = [box.full()]
    for number in range(2):
        box.put_nowait(number)
        seen.append(box.full())
    box.get_nowait()
    seen.append(box.full())
    return None if seen == [False, False, True, False] else f"full() said {seen}"


def main():
    (method,) = steps.begin()
    context = mp.get_context(method)
    for kind in ("Queue", "JoinableQueue", "SimpleQueue"):
        box = getattr(context, kind)()
        for number in range(TIMES):
            if problem := look(box, number):
                return steps.finish(f"{kind}: {problem}")
    steps.finish(other_process_sees(context) or full_is_exact(context))


if __name__ == "__main__":
    main()
