"""A pipeline: one process makes numbers, two factor them, one adds up; each stage ends when the one before it has.

    python examples/producer_consumer.py [COUNT]

    make ──numbers──▶ factor, factor ──factored──▶ summarize

There are no sentinels to count: `shutdown()` says "that was all" to any number of consumers, and their loops end when
the queue is empty. A process that fails raises its exception here, out of `result()`.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import holdfast

if TYPE_CHECKING:
    from holdfast.queues import Queue


def make(numbers: Queue, count: int) -> int:
    """Put the numbers from 2 on; `put` waits while the queue is full, so that a slow consumer costs no memory."""
    for number in range(2, 2 + count):
        numbers.put(number)
    return count


def factor(numbers: Queue, factored: Queue) -> int:
    """Factor numbers until there are no more; return how many this process had."""
    done = 0
    for number in numbers:  # ends when the queue is shut down and empty
        factored.put((number, prime_factors(number)))
        done += 1
    return done


def prime_factors(number: int) -> list[int]:
    """The prime factors of a number, by trial division."""
    factors, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return [*factors, number] if number > 1 else factors


def summarize(factored: Queue) -> Counter[int]:
    """Count how many numbers have one prime factor, two, and so on."""
    return Counter(len(factors) for _, factors in factored)


def main() -> int:
    """Run the command."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    numbers = holdfast.Queue(maxsize=1000)
    factored = holdfast.Queue(maxsize=1000)

    maker = holdfast.Process(target=make, args=(numbers, count))
    workers = [holdfast.Process(target=factor, args=(numbers, factored)) for _ in range(2)]
    summary = holdfast.Process(target=summarize, args=(factored,))
    for process in (maker, *workers, summary):
        process.start()

    made = maker.result()  # waits for the end of the process
    numbers.shutdown()  # nobody will put another number
    shares = [worker.result() for worker in workers]
    factored.shutdown()  # nobody will put another result
    counts = summary.result()

    print(f"{made} numbers, factored by two processes: {shares[0]} + {shares[1]}")
    for factors, how_many in sorted(counts.items()):
        print(f"{how_many:6} have {factors} prime factor{'s' * (factors > 1)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
