"""Scenarios of several processes: contention, death of a holder, and round trips."""

from __future__ import annotations

import mmap
import os
import signal
import statistics
import time
import warnings
from typing import TYPE_CHECKING, Any

import rivals
from measure import child, cpus, end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scenarios_one import Result

CONTENDED = 0.25  # seconds of contention
DEATHS = 15
TRIPS = 2_000


def shared_words(count: int) -> memoryview:
    """Return 64-bit words that forked children share, one in each cache line."""
    return memoryview(mmap.mmap(-1, max(4096, count * 128))).cast("q")


def contended(processes: int) -> Callable[[], Iterator[Result]]:
    """Return the scenario of so many processes that acquire and release without a pause."""

    def scenario() -> Iterator[Result]:
        for name in rivals.available(rivals.BETWEEN_PROCESSES):
            yield name, acquisitions(rivals.LOCKS[name](), processes)

    return scenario


def acquisitions(lock: Any, processes: int) -> float:
    """Return acquisitions a second of all processes together."""
    words = shared_words(processes + 2)
    go = 16 * processes
    allowed = cpus()

    def work(index: int) -> None:
        os.sched_setaffinity(0, {allowed[index % len(allowed)]})  # left alone, a loaded machine runs all on one core
        mine = rivals.own(lock)
        acquire, release = mine.acquire, mine.release
        words[16 * index] = -1
        while not words[go]:
            time.sleep(0.0005)
        done = 0
        while time.perf_counter() < words[go] / 1e9:
            for _ in range(100):
                acquire()
                release()
            done += 100
        words[16 * index] = done

    pids = [child(lambda index=index: work(index)) for index in range(processes)]  # type: ignore[misc]
    while any(words[16 * index] != -1 for index in range(processes)):
        time.sleep(0.0005)
    words[go] = int((time.perf_counter() + CONTENDED) * 1e9)
    for pid in pids:
        end(pid)
    return sum(words[16 * index] for index in range(processes)) / CONTENDED


def holder_killed() -> Iterator[Result]:
    """Milliseconds from just before SIGKILL of the holder to the return of acquire() in a sleeping waiter."""
    warnings.simplefilter("ignore")  # ours says who died; here everybody knows
    for name in rivals.available(rivals.SURVIVE_A_DEATH):
        yield name, statistics.median(one_death(rivals.LOCKS[name]) for _ in range(DEATHS))


def one_death(make: Callable[[], Any]) -> float:
    """Return milliseconds of one takeover; a third process kills once the waiter sleeps."""
    lock = make()
    words = shared_words(3)

    def hold() -> None:
        mine = rivals.own(lock)
        mine.acquire()
        words[0] = 1
        signal.pause()

    def kill() -> None:
        time.sleep(0.02)  # lets the waiter go to sleep; the time is not part of the measurement
        words[16] = time.monotonic_ns()
        os.kill(holder, signal.SIGKILL)

    holder = child(hold)
    while not words[0]:
        time.sleep(0.0005)
    killer = child(kill)
    lock.acquire()
    taken = time.monotonic_ns() - words[16]
    lock.release()
    end(killer)
    os.waitpid(holder, 0)
    return taken / 1e6


def semaphores(module: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    """Two semaphores, one for each direction."""
    there, back = module.Semaphore(0), module.Semaphore(0)

    def ping() -> None:
        there.release()
        back.acquire()

    def pong() -> None:
        there.acquire()
        back.release()

    return ping, pong


def events(module: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    """Two events, cleared by whoever waited."""
    there, back = module.Event(), module.Event()

    def ping() -> None:
        there.set()
        back.wait()
        back.clear()

    def pong() -> None:
        there.wait()
        there.clear()
        back.set()

    return ping, pong


def conditions(module: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    """One condition and a word that says whose turn it is."""
    condition = module.Condition(module.Lock())
    turn = shared_words(1)

    def ping() -> None:
        with condition:
            turn[0] = 1
            condition.notify()
            while turn[0] == 1:
                condition.wait()

    def pong() -> None:
        with condition:
            while turn[0] == 0:
                condition.wait()
            turn[0] = 0
            condition.notify()

    return ping, pong


def round_trips(kind: str, make: Callable[[Any], Any], where: str) -> Callable[[], Iterator[Result]]:
    """Return the scenario of round trips a second: both on one core, on two, or where the kernel puts them."""

    def scenario() -> Iterator[Result]:
        import multiprocessing

        import holdfast

        for name, module in ((f"holdfast.{kind}", holdfast), (f"multiprocessing.{kind}", multiprocessing)):
            ping, pong = make(module)
            yield name, trips(ping, pong, where)

    return scenario


def trips(ping: Callable[[], None], pong: Callable[[], None], where: str) -> float:
    """Return round trips a second."""
    allowed = cpus()
    here, there = {
        "same core": ({allowed[-1]}, {allowed[-1]}),
        "two cores": ({allowed[-1]}, {allowed[0]}),
        "not pinned": (allowed, allowed),
    }[where]
    warm = TRIPS // 10

    def answer() -> None:
        os.sched_setaffinity(0, there)
        for _ in range(warm + TRIPS):
            pong()

    pid = child(answer)
    os.sched_setaffinity(0, here)
    try:
        for _ in range(warm):
            ping()
        began = time.perf_counter()
        for _ in range(TRIPS):
            ping()
        taken = time.perf_counter() - began
    finally:
        os.sched_setaffinity(0, set(allowed))
    end(pid)
    return TRIPS / taken
