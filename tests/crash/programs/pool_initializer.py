"""Row 31: an initializer that raises; map() raises that, after few starts."""

import multiprocessing as mp

import steps


def initialize(counter):
    """Count, and raise."""
    with counter.get_lock():
        counter.value += 1
    message = "no such thing"
    raise LookupError(message)


def main():
    """Run."""
    (method,) = steps.begin()
    context = mp.get_context(method)
    counter = context.Value("i", 0)
    pool = context.Pool(2, initialize, (counter,))
    try:
        pool.map(abs, range(10))
    except LookupError as error:
        if "no such thing" not in str(error):
            return repr(error)
    else:
        return "map() returned"
    pool.terminate()
    pool.join()
    if not 1 <= counter.value < 10:
        return f"{counter.value} starts"
    return None


if __name__ == "__main__":
    steps.finish(main())
