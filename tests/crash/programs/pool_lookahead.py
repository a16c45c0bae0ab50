"""Row 29: imap runs a bounded number of tasks ahead of who uses the results, however many there are."""

import multiprocessing as mp
import time

import steps

TASKS, MOST = 5_000, 1000


def count(counter):
    """Count that it ran."""
    with counter.get_lock():
        counter.value += 1


def begin(counter):
    """Keep the counter."""
    count.counter = counter


def task(number):
    """Count that it ran."""
    count(count.counter)
    return number


def until_steady(counter):
    """Return the count once nothing has run for a while."""
    before = -1
    while before != counter.value:
        before = counter.value
        time.sleep(0.1)
    return before


def main():
    """Run."""
    (method,) = steps.begin()
    context = mp.get_context(method)
    counter = context.Value("i", 0)
    taken = []

    def numbers():
        for number in range(TASKS):
            taken.append(number)
            yield number

    with context.Pool(2, begin, (counter,)) as pool:
        for call in (pool.imap, pool.imap_unordered):
            for values in (numbers(), range(TASKS)):
                counter.value = 0
                taken.clear()
                results = call(task, values)
                next(results)
                if not 1 <= until_steady(counter) <= MOST or len(taken) > MOST:
                    return f"{counter.value} ran, {len(taken)} taken, for one result used"
                if sum(1 for _ in results) != TASKS - 1 or counter.value != TASKS:
                    return f"{counter.value} ran in the end"
    return None


if __name__ == "__main__":
    steps.finish(main())
