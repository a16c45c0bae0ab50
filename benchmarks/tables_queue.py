"""The table of queue scenarios: who takes part in each, and what is aimed for."""

from __future__ import annotations

import scenarios_queue as queues
from aims import Aim, Scenario
from rivals_queue import MANY, OURS, PIPE, RING, STANDARD, VIEWS

# Without a bound its producer runs ahead of the consumer: in memory, not in speed, would the difference be.
UNBOUNDED = "holdfast.SimpleQueue"
SHARED = [OURS, UNBOUNDED, STANDARD, "multiprocessing.SimpleQueue", "faster_fifo.Queue", "pyzmq PUSH/PULL"]
THREADS = "queue.Queue in threads"
ALL = [*SHARED, PIPE, "holdfast.Pipe", THREADS, RING]
BOUNDED = [name for name in ALL if name != UNBOUNDED]
WHERE = ("same core", "two cores", "not pinned")
RATE = "messages/s"


def at_least(bound: float, who: str = OURS, versus: str = STANDARD) -> Aim:
    """Return the aim of a ratio to multiprocessing's queue."""
    return Aim(who, versus, ">=", bound)


def one_to_one(kind: queues.Kind, names: list[str], *aims: Aim) -> dict[str, Scenario]:
    """Return the scenario of one producer and one consumer."""
    measure = queues.throughput(names, kind)
    return {f"queue: {kind.name} 1+1": Scenario(measure, RATE, STANDARD, aims, higher=True)}


def two_and_two(kind: queues.Kind, names: list[str], *aims: Aim) -> dict[str, Scenario]:
    """Return the scenario of two producers and two consumers."""
    measure = queues.throughput([name for name in names if "Pipe" not in name and name != RING], kind, 2, 2)
    return {f"queue: {kind.name} 2+2": Scenario(measure, RATE, STANDARD, aims, higher=True)}


def trips(where: str) -> Scenario:
    """Return the scenario of round trips of an int."""
    aims = (at_least(2.5), at_least(1.0, OURS, PIPE))
    return Scenario(queues.round_trips(ALL, where), "round trips/s", STANDARD, aims, higher=True)


QUEUES: dict[str, Scenario] = {
    **one_to_one(queues.INTS, ALL, at_least(8)),
    **one_to_one(queues.DICTS, ALL, at_least(3.5)),
    **one_to_one(queues.MIDDLE, BOUNDED, at_least(4)),
    **one_to_one(queues.BIG, [*BOUNDED, VIEWS], at_least(4), at_least(8, VIEWS)),
    **one_to_one(queues.ARRAYS, [*BOUNDED, VIEWS], at_least(8), at_least(15, VIEWS)),
    **two_and_two(queues.INTS, ALL, at_least(6)),
    **two_and_two(queues.DICTS, ALL, at_least(3)),
    **two_and_two(queues.MIDDLE, BOUNDED, at_least(2)),
    **two_and_two(queues.BIG, [*BOUNDED, VIEWS], at_least(3)),
    **two_and_two(queues.ARRAYS, [*BOUNDED, VIEWS], at_least(6)),
    "queue: ints 8+8": Scenario(queues.crowd, RATE, STANDARD, (at_least(0.5, OURS, f"{OURS}, 2 + 2"),), higher=True),
    "queue: 100 ints at once": Scenario(
        queues.throughput([MANY, OURS, STANDARD, "faster_fifo.Queue, many", RING], queues.INTS),
        RATE,
        STANDARD,
        (at_least(15, MANY),),
        higher=True,
    ),
    **{f"queue trip: {where}": trips(where) for where in WHERE},
    "queue: wake-up": Scenario(queues.wake_ups, "us", "holdfast.Queue.get", ()),
}
