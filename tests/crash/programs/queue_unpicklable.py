"""PAINS 08: put() of something that cannot be pickled raises in the caller; good items before and after arrive."""

import multiprocessing as mp
import threading

import steps

ROUNDS = 20


class Refuses:
    def __reduce__(self):
        msg = "I do not travel"
        raise RuntimeError(msg)


def bad_things():
    return [lambda: None, threading.Lock(), Refuses(), (number for number in range(3)), [1, {2: Refuses()}]]


def raises(box, thing):
    try:
        box.put(thing)
    except Exception:
        return True
    return False


def take_all(box, conn):
    found = []
    while (item := box.get()) is not None:
        found.append(item)
    conn.send(found)


def main():
    method, kind = (*steps.begin(), "Queue")[:2]
    context = mp.get_context(method)
    box = getattr(context, kind)()
    here, there = context.Pipe()
    reader = context.Process(target=take_all, args=(box, there), daemon=True)
    reader.start()
    there.close()
    expected = []
    for number in range(ROUNDS):
        for position, thing in enumerate(bad_things()):
            box.put((number, position))
            expected.append((number, position))
            if not raises(box, thing):
                return steps.finish(f"put({thing!r}) raised nothing")
    box.put(None)
    if (found := steps.hear(here, "what the reader found")) != expected:
        return steps.finish(f"{len(expected) - len(found)} of {len(expected)} good items vanished")
    reader.join()
    steps.finish()


if __name__ == "__main__":
    main()
