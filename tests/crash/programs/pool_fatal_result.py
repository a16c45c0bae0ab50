"""The limit: a result that ends the process which unpickles it ends the parent. Its workers end with it."""

import multiprocessing as mp
import os
import time

import steps

CODE = 9


class Fatal:
    """Ends who unpickles it."""

    def __reduce__(self):
        return os._exit, (CODE,)


def give(_):
    """Return it."""
    return Fatal()


def main():
    """Run."""
    (method,) = steps.begin()
    with mp.get_context(method).Pool(2) as pool:
        busy = pool.apply_async(time.sleep, (60,))
        print(pool.apply(give, (1,)))
        busy.get()
    return "lived on"


if __name__ == "__main__":
    steps.finish(main())
