"""Whatever ends a worker, at whatever moment: one task fails, by name; all others are done, once; the pool goes on.

The ways and moments stand in ``deadly``. One pool takes all of them, so that deaths also fall together.
"""

from __future__ import annotations

import itertools
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.pool import MaybeEncodingError
from typing import TYPE_CHECKING, Any

import deadly
import pytest
from deadly import DEADLY, EXITCODE, MOMENTS, SIGNALS, WAYS, Item, work
from support import alive, eventually

from holdfast import RemoteError
from holdfast.errors import ResultLost, WorkerDied
from holdfast.futures import ProcessExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANY = 1000  # more than a test has tasks
POISON = [(way, moment) for moment in MOMENTS for way in WAYS] + [("raise", "unpacking"), ("exit", "unpacking")]


@dataclass
class Front:
    """A pool or an executor, seen through one of its calls.

    Attributes:
        outcomes: runs `work` on items that may die and tells for each what came of it.
        alive: runs `work` on items that live.
        call: calls a function in a worker.
        pids: of the workers.
        is_pool: it is no executor.
    """

    outcomes: Callable[[list[Item]], list[Any]]
    alive: Callable[[list[Item]], list[Any]]
    call: Callable[..., Any]
    pids: Callable[[], list[int]]
    is_pool: bool = True


def caught(call: Callable[..., Any], *args: Any) -> Any:
    """Return what a call returns, or raises."""
    try:
        return call(*args)
    except BaseException as error:
        return error


def by_apply(pool: Any, items: list[Item]) -> list[Any]:
    """All as single tasks."""
    return [caught(each.get, 60) for each in [pool.apply_async(work, (item,)) for item in items]]


def by_map(pool: Any, items: list[Item]) -> list[Any]:
    """A map for each three items, the second of which may die: that error is all such a map tells.

    That the other two have run, and once, shows in the count of the runs.
    """
    triples = [items[start : start + 3] for start in range(0, len(items), 3)]
    outcomes: list[Any] = []
    for triple, result in zip(triples, [pool.map_async(work, triple, 2) for triple in triples], strict=True):
        found = caught(result.get, 60)
        outcomes += found if isinstance(found, list) else [triple[0].number, found, triple[2].number]
    return outcomes


def by_imap(chunk: int) -> Callable[[Any, list[Item]], list[Any]]:
    """All in one iterator, chunks of them in a message."""

    def outcomes(pool: Any, items: list[Item]) -> list[Any]:
        results = pool.imap(work, items, chunk)
        return [caught(results.next, 60) for _ in items]

    return outcomes


POOLS: dict[str, Callable[[Any, list[Item]], list[Any]]] = {
    "apply_async": by_apply,
    "map": by_map,
    "imap": by_imap(1),
    "imap in chunks": by_imap(7),
}


@pytest.fixture
def runs(context: Any) -> Any:
    """How often each task ran."""
    return context.RawArray("b", MANY)


@pytest.fixture(params=[*POOLS, "executor"])
def front(request: pytest.FixtureRequest, context: Any, runs: Any) -> Iterator[Front]:
    """Two workers behind each kind of call."""
    if request.param == "executor":
        with ProcessExecutor(2, context, deadly.begin, (runs,)) as executor:

            def outcomes(items: list[Item]) -> list[Any]:
                return [caught(each.result, 60) for each in [executor.submit(work, item) for item in items]]

            yield Front(
                outcomes,
                lambda items: list(executor.map(work, items)),
                lambda function, *args: executor.submit(function, *args).result(60),
                lambda: list(executor._processes),
                is_pool=False,
            )
        return
    with context.Pool(2, deadly.begin, (runs,)) as pool:
        yield Front(
            lambda items: POOLS[request.param](pool, items),
            lambda items: pool.map(work, items),
            lambda function, *args: pool.apply_async(function, args).get(60),
            lambda: [process.pid for process in pool._pool],
        )


def wrong_with_death(item: Item, found: Any, index: int | None) -> str | None:
    """What is not as it should be about the error for a task whose worker died; None if nothing."""
    if not isinstance(found, WorkerDied):
        return f"{found!r} is no WorkerDied"
    name = SIGNALS.get(item.way)
    if found.signal != name or found.exitcode != (-signal.Signals[name] if name else EXITCODE):
        return f"signal {found.signal}, exit code {found.exitcode}"
    text = str(found)
    how = name or f"exit code {EXITCODE}"
    missing = [each for each in ("[HF301]", f"pid {found.pid}", how, "work(", repr(item)) if each not in text]
    if missing or (index is not None and found.task != index):
        return f"without {missing}, task {found.task}: {text}"
    return None


def wrong(item: Item, found: Any, index: int | None, is_pool: bool) -> str | None:
    """What is not as it should be about what came of an item; None if nothing."""
    told = item.moment in ("telling", "retelling")
    if item.moment == "unpacking":
        fine = isinstance(found, ResultLost) and repr(item) in str(found)
    elif item.way in DEADLY or (item.way == "exit" and not told and (is_pool or item.moment == "taking")):
        return wrong_with_death(item, found, index)
    elif told:
        fine = isinstance(found, RemoteError) and type(found).__name__ == item.moment.capitalize()
    elif item.way == "exit":
        fine = isinstance(found, SystemExit) and found.code == EXITCODE
    elif item.moment == "sending" and is_pool:
        fine = isinstance(found, MaybeEncodingError) and "MemoryError" in str(found)
    else:
        fine = isinstance(found, MemoryError)
    return None if fine else repr(found)


def test_worker_dies_in_every_way_at_every_moment_only_its_task_fails_and_names_it(front: Front, runs: Any) -> None:
    living = [Item(number) for number in range(2 * len(POISON))]
    dying = [Item(100 + number, *poison) for number, poison in enumerate(POISON)]
    items = [*itertools.chain.from_iterable(zip(living[::2], dying, living[1::2], strict=True))]
    problems = []
    for index, (item, found) in enumerate(zip(items, front.outcomes(items), strict=True)):
        if not item.way and found != item.number:
            problems.append(f"{item} became {found!r}")
        elif item.way and (problem := wrong(item, found, None if front.is_pool else index, front.is_pool)):
            problems.append(f"{item}: {problem}")
        if runs[item.number] != (item.moment != "taking"):
            problems.append(f"{item} ran {runs[item.number]} times")
        if (
            not front.is_pool
            and isinstance(found, WorkerDied | ResultLost)
            and not isinstance(found, BrokenProcessPool)
        ):
            problems.append(f"{item}: {found!r} is no BrokenProcessPool")
    assert problems == []
    assert front.alive([Item(number) for number in range(500, 600)]) == list(range(500, 600))


def test_idle_worker_dies_in_every_way_no_task_fails(front: Front, runs: Any) -> None:
    numbers = itertools.count()
    for way in WAYS:
        pid = front.call(deadly.plant, way)
        os.kill(pid, signal.SIGUSR1)
        items = [Item(next(numbers)) for _ in range(10)]
        assert front.outcomes(items) == [item.number for item in items], way
        assert eventually(lambda pid=pid: not alive(pid), watchdog=60), f"{way}: the worker lives on"
    number = next(numbers)
    assert list(runs[:number]) == [1] * number
    assert eventually(lambda: all(map(alive, front.pids())), watchdog=60)
