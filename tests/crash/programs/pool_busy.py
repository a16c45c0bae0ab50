"""Tells that it begins, then keeps a pool and an executor busy until it is ended from outside.

Tasks are short, so that at any moment some are given, taken, run and sent; a few are long.
"""

import itertools
import multiprocessing as mp
import time
from concurrent.futures import ProcessPoolExecutor

import steps


def task(number):
    """Take a little time, now and then much."""
    time.sleep(60 if number % 3000 == 2999 else 0.0005)
    return number


def main():
    """Run."""
    (method,) = steps.begin()
    context = mp.get_context(method)
    print("begins", flush=True)
    for _ in itertools.count():
        with context.Pool(2) as pool, ProcessPoolExecutor(2, mp_context=context) as executor:
            results = pool.imap_unordered(task, range(100))
            single = pool.apply_async(task, (0,))
            futures = [executor.submit(task, number) for number in range(20)]
            if sum(results) != 4950 or single.get() != 0 or pool.map(task, range(50)) != list(range(50)):
                return "wrong results"
            if [future.result() for future in futures] != list(range(20)):
                return "wrong results of the executor"
            list(executor.map(task, range(50)))
    return None


if __name__ == "__main__":
    steps.finish(main())
