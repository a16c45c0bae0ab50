"""Row 30: leaving a pool's block with tasks under way tells how many; leaving an executor's finishes them."""

import multiprocessing as mp
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor

import steps


def wait_for(event):
    """Wait."""
    event.wait()


def double(number):
    """Compute."""
    return 2 * number


def main():
    """Run."""
    (method,) = steps.begin()
    context = mp.get_context(method)
    event = context.Event()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with context.Pool(2) as pool:
            for _ in range(6):
                pool.apply_async(wait_for, (event,))
        with context.Pool(2) as pool:
            pool.map(double, range(6))
    ours = [each for each in told if "HF304" in str(each.message)]  # newer versions warn of forks beside threads, too
    if len(ours) != 1 or "6 tasks" not in str(ours[0].message) or not ours[0].filename.endswith("pool_thrown_away.py"):
        return str([(each.filename, str(each.message)) for each in told])
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        futures = [executor.submit(double, number) for number in range(6)]
    if [future.result(0) for future in futures] != [0, 2, 4, 6, 8, 10]:
        return "the executor threw results away"
    return None


if __name__ == "__main__":
    sys.exit(steps.finish(main()))
