"""The benchmarks: every scenario, every rival, medians of rounds that take turns, as ratios in one table.

    python benchmarks/run.py                   all scenarios, 7 rounds
    python benchmarks/run.py --rounds 3 lock   those whose name contains "lock"; "pool:" for pools

Rivals that are not installed are left out; ``pip install '.[bench]'`` has the ones of pools.

Each round runs every scenario once in a fresh process, so that no rival profits from one lucky memory layout. Aims and
verdicts are information: the exit code is 0 whatever they say. Machines differ; ratios of one run can be compared,
single figures cannot.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import platform
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import scenarios_logs as logs
import scenarios_one as one
import scenarios_two as two
from aims import Aim, Scenario
from rivals import OURS, STANDARD
from tables_pool import POOLS
from tables_queue import QUEUES

if TYPE_CHECKING:
    from collections.abc import Callable


LONGEST = 240  # seconds for one scenario


def twins(kind: str, bound: float, sign: str = "<=") -> tuple[str, tuple[Aim, ...]]:
    """Return the anchor and the aim for a class that multiprocessing has as well."""
    anchor = f"multiprocessing.{kind}"
    return anchor, (Aim(f"holdfast.{kind}", anchor, sign, bound),)


def trips(kind: str, make: Callable[..., object]) -> dict[str, Scenario]:
    """Return the round-trip scenarios of a class, one for each placement of the two processes."""
    anchor, aims = twins(kind, 1.3, ">=")
    return {
        f"{kind.lower()}: {where}": Scenario(
            two.round_trips(kind, make, where), "round trips/s", anchor, aims, higher=True
        )
        for where in ("same core", "two cores", "not pinned")
    }


def of_logs(processes: int) -> dict[str, Scenario]:
    """Return the scenarios of logs with so many processes."""
    file, setup = (Aim(who, logs.QUEUE, ">=", 3 if who == logs.OURS else 2) for who in (logs.OURS, logs.SETUP))
    rotating = tuple(Aim(who, logs.QUEUE, ">=", 2) for who in (logs.OURS, logs.SETUP))
    cost = tuple(Aim(who, logs.QUEUE, "<=", 1) for who in (logs.OURS, logs.SETUP))
    count = f"{processes} processes"
    return {
        f"log: {count}": Scenario(logs.lines(logs.PLAIN, processes), "lines/s", logs.QUEUE, (file, setup), higher=True),
        f"log, rotating: {count}": Scenario(
            logs.lines(logs.ROTATING, processes), "lines/s", logs.QUEUE, rotating, higher=True
        ),
        f"log, caller: {count}": Scenario(logs.caller(processes), "us", logs.QUEUE, cost),
    }


SCENARIOS: dict[str, Scenario] = {
    "lock: with": Scenario(
        one.lock_with, "ns", STANDARD, (Aim(OURS, STANDARD, "<=", 0.5), Aim(OURS, "threading.Lock", "<=", 0.7))
    ),
    "lock: pair": Scenario(one.lock_pair, "ns", STANDARD, (Aim(OURS, STANDARD, "<=", 1.0),)),
    "lock: contended by 2": Scenario(
        two.contended(2), "acquisitions/s", STANDARD, (Aim(OURS, STANDARD, ">=", 1.7),), higher=True
    ),
    "lock: contended by 4": Scenario(
        two.contended(4), "acquisitions/s", STANDARD, (Aim(OURS, STANDARD, ">=", 2.5),), higher=True
    ),
    "lock: holder killed": Scenario(two.holder_killed, "ms", OURS, (Aim(OURS, None, "<=", 1.0),)),
    "lock: of a manager": Scenario(one.manager_pair, "ns", OURS, (Aim("holdfast.Manager().Lock", OURS, "<=", 1.1),)),
    "value: get": Scenario(one.value_get, "ns", *twins("Value", 0.4)),
    "value: set": Scenario(one.value_set, "ns", *twins("Value", 0.4)),
    "value: add": Scenario(one.value_add, "ns", *twins("Value", 0.4)),
    "event: is_set": Scenario(
        one.event_is_set, "ns", "threading.Event", (Aim("holdfast.Event", "threading.Event", "<=", 1.5),)
    ),
    "semaphore: pair": Scenario(one.semaphore_pair, "ns", *twins("Semaphore", 1.0)),
    **trips("Semaphore", two.semaphores),
    **trips("Condition", two.conditions),
    **trips("Event", two.events),
    "process: fork": Scenario(one.process_start("fork"), "us", *twins("Process", 1.15)),
    "process: spawn": Scenario(one.process_start("spawn"), "us", *twins("Process", 1.15)),
    "process: forkserver": Scenario(one.process_start("forkserver"), "us", *twins("Process", 1.15)),
    **of_logs(2),
    **of_logs(4),
    "import": Scenario(
        one.import_time, "us", "import multiprocessing", (Aim("import holdfast", "import multiprocessing", "<=", 1.2),)
    ),
    **QUEUES,
    **POOLS,
}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Measure holdfast against its rivals.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print every single figure as one JSON object")
    parser.add_argument("--one-round", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help="run scenarios whose name contains one of these")
    return parser.parse_args()


def one_round(names: list[str]) -> None:
    """Measure once and print one JSON line for each figure; end with a traceback if that takes too long."""
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    for name in names:
        for who, figure in SCENARIOS[name].measure():
            print(json.dumps([name, who, figure]), flush=True)


def rounds(names: list[str], count: int) -> dict[str, dict[str, list[float]]]:
    """Run rounds in fresh processes, every second one backwards; return all figures."""
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for number in range(count):
        order = names if number % 2 == 0 else names[::-1]
        for name in order:
            command = [sys.executable, __file__, "--one-round", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                print(f"{name}: the round failed with exit code {done.returncode}", file=sys.stderr)
            for line in done.stdout.splitlines():
                scenario, who, figure = json.loads(line)
                figures[scenario].setdefault(who, []).append(figure)
        print(f"round {number + 1} of {count}", file=sys.stderr, flush=True)
    return figures


def table(figures: dict[str, dict[str, list[float]]]) -> None:
    """Print medians, ratios to the anchor, aims and verdicts."""
    print(f"| {'scenario':<24} | {'contender':<32} | {'median':>14} | {'unit':<14} | {'x of anchor':>11} | aim |")
    print(f"| {'-' * 24} | {'-' * 32} | {'-' * 13}: | {'-' * 14} | {'-' * 10}: | --- |")
    for name, by_contender in figures.items():
        scenario = SCENARIOS[name]
        medians = {who: statistics.median(found) for who, found in by_contender.items()}
        for who, median in sorted(medians.items(), key=lambda item: item[1], reverse=scenario.higher):
            anchor = medians.get(scenario.anchor)
            ratio = f"{median / anchor:.2f}" if anchor else ""
            said = "; ".join(verdict(aim, medians) for aim in scenario.aims if aim.who == who)
            print(f"| {name:<24} | {who:<32} | {median:>14,.3f} | {scenario.unit:<14} | {ratio:>11} | {said} |")


def verdict(aim: Aim, medians: dict[str, float]) -> str:
    """Return an aim in words, with what was measured."""
    found = aim.met(medians)
    versus = aim.named(medians)
    of = f" of {versus}" if versus is not None else ""
    if found is None:
        return f"{aim.sign} {aim.bound}{of}: not measured"
    return f"{aim.sign} {aim.bound}{of}: {found[0]:.2f}, {'met' if found[1] else 'MISSED'}"


def main() -> int:
    """Run what was asked for; the exit code is 0."""
    options = arguments()
    if options.one_round:
        one_round(options.names)
        return 0
    names = [name for name in SCENARIOS if not options.names or any(part in name for part in options.names)]
    figures = rounds(names, options.rounds)
    if options.json:
        print(json.dumps(figures))
        return 0
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {platform.release()}, "
        f"{len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f}, {options.rounds} rounds\n"
    )
    table(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
