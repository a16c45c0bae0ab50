"""PAINS 33: arrays of 8 MiB through a queue arrive whole, and the memory they went through does not pile up.

``$HOLDFAST_DIR`` is where that memory is looked for.
"""

import multiprocessing as mp
import os

import steps

SIZE = 8 << 20  # bytes of one array
WARM, TIMES = 8, 24
LIMIT = 4  # items in the queue at most


def make(number):
    import numpy as np

    return np.arange(number, number + SIZE // 8, dtype=np.int64)


def produce(box, count):
    for number in range(count):
        box.put((number, make(number)))


def right(item, number):
    got, array = item
    expected = make(number)
    return got == number and array.dtype == expected.dtype and bool((array == expected).all())


def shared_bytes():
    """What the files of shared memory take, in bytes."""
    home = os.environ.get("HOLDFAST_DIR")
    return sum(entry.stat().st_blocks * 512 for entry in os.scandir(home)) if home else 0


def round_of(context, box, count):
    """Return what is wrong with so many arrays from another process."""
    producer = context.Process(target=produce, args=(box, count), daemon=True)
    producer.start()
    for number in range(count):
        if not right(box.get(), number):
            return f"array {number} is wrong"
    producer.join()
    return None


def main():
    (method,) = steps.begin()
    context = mp.get_context(method)
    box = context.Queue(LIMIT)
    if problem := round_of(context, box, WARM):
        return steps.finish(problem)
    before = shared_bytes()
    if problem := round_of(context, box, TIMES):
        return steps.finish(problem)
    if (after := shared_bytes()) > before + SIZE:
        return steps.finish(f"shared memory grew from {before:,} to {after:,} bytes")
    steps.finish(told=f"{before} {after}")


if __name__ == "__main__":
    main()
