"""The table of pool scenarios: what is measured in which unit, and what is aimed for."""

from __future__ import annotations

import scenarios_pool as pools
from aims import BEST, Aim, Scenario
from rivals_pool import EXECUTOR, FUTURES, ONE_LINE, OURS, STANDARD

RATE = "tasks/s"


def milliseconds(kind: str, work: pools.Callable[[int], None]) -> dict[str, Scenario]:
    """Return the scenario of tasks of a millisecond: ours as they come against the best rival, tuned."""
    aims = tuple(Aim(who, BEST, ">=", 1.0) for who in (OURS, ONE_LINE))
    name = f"pool: 2,000 x 1 ms, {kind}"
    return {name: Scenario(pools.milliseconds(work), "% of ideal", STANDARD, aims, higher=True)}


def cold(method: str) -> dict[str, Scenario]:
    """Return the scenarios of the first result of a new pool."""
    aims = tuple(Aim(who, BEST, "<=", 1.0) for who in (OURS, EXECUTOR))
    return {
        f"pool: cold, {method}": Scenario(pools.cold(method, imported=True), "ms", STANDARD, aims),
        f"pool: cold with import, {method}": Scenario(pools.cold(method, imported=False), "ms", STANDARD, aims),
    }


POOLS: dict[str, Scenario] = {
    "pool: map": Scenario(
        pools.mapped, "us/task", STANDARD, tuple(Aim(who, STANDARD, "<=", 1.0) for who in (OURS, ONE_LINE))
    ),
    "pool: submit": Scenario(
        pools.submitted,
        RATE,
        STANDARD,
        (Aim(EXECUTOR, FUTURES, ">=", 9), Aim(EXECUTOR, STANDARD, ">=", 2.5), Aim(OURS, STANDARD, ">=", 2.5)),
        higher=True,
    ),
    "pool: imap_unordered": Scenario(pools.unordered, RATE, STANDARD, (Aim(OURS, STANDARD, ">=", 3),), higher=True),
    **milliseconds("spinning", pools.spin),
    **milliseconds("sleeping", pools.nap),
    "pool: 1 MiB arrays": Scenario(
        pools.arrays, RATE, STANDARD, tuple(Aim(who, STANDARD, ">=", 3) for who in (OURS, ONE_LINE)), higher=True
    ),
    **cold("fork"),
    **cold("spawn"),
    **cold("forkserver"),
    "pool: warm": Scenario(
        pools.warm, "us", STANDARD, tuple(Aim(who, None, "<=", 1000) for who in (OURS, EXECUTOR, ONE_LINE))
    ),
}
