"""Scenarios of one process: nobody else wants the lock, the value or the event."""

from __future__ import annotations

import mmap
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import rivals
from measure import Loop, per_call, pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = tuple[str, float]


def with_lock(lock: Any) -> Loop:
    """``with lock: pass``."""

    def loop(count: int) -> None:
        for _ in range(count):
            with lock:
                pass

    return loop


def pair(thing: Any) -> Loop:
    """``acquire(); release()``."""

    def loop(count: int) -> None:
        acquire, release = thing.acquire, thing.release
        for _ in range(count):
            acquire()
            release()

    return loop


def each(loops: dict[str, Loop]) -> Iterator[Result]:
    """Yield nanoseconds per turn of each loop, pinned to one CPU."""
    with pinned():
        for name, loop in loops.items():
            yield name, per_call(loop)


def lock_with() -> Iterator[Result]:
    """Every lock, as a context manager."""
    return each({name: with_lock(rivals.LOCKS[name]()) for name in rivals.available(list(rivals.LOCKS))})


def lock_pair() -> Iterator[Result]:
    """Every lock, called."""
    return each({name: pair(rivals.LOCKS[name]()) for name in rivals.available(list(rivals.LOCKS))})


def manager_pair() -> Iterator[Result]:
    """The lock of a manager against a plain lock."""
    import multiprocessing

    import holdfast

    with holdfast.Manager() as ours, multiprocessing.Manager() as theirs:
        loops = {
            "holdfast.Manager().Lock": pair(ours.Lock()),
            rivals.OURS: pair(holdfast.Lock()),
            "multiprocessing.Manager().Lock": pair(theirs.Lock()),
        }
        yield from each(loops)


def semaphore_pair() -> Iterator[Result]:
    """Semaphores, uncontended."""
    import multiprocessing

    import holdfast

    return each(
        {
            "holdfast.Semaphore": pair(holdfast.Semaphore(4)),
            "multiprocessing.Semaphore": pair(multiprocessing.Semaphore(4)),
        }
    )


def event_is_set() -> Iterator[Result]:
    """Asking an event."""
    import multiprocessing
    import threading

    import holdfast

    def asking(event: Any) -> Loop:
        def loop(count: int) -> None:
            is_set = event.is_set
            for _ in range(count):
                is_set()

        return loop

    return each(
        {
            "holdfast.Event": asking(holdfast.Event()),
            "multiprocessing.Event": asking(multiprocessing.Event()),
            "threading.Event": asking(threading.Event()),
        }
    )


def values() -> tuple[Any, Any, memoryview]:
    """Return our shared integer, multiprocessing's, and a memory view of shared memory."""
    import multiprocessing

    import holdfast

    return holdfast.Value("i", 0), multiprocessing.Value("i", 0), memoryview(mmap.mmap(-1, 4096)).cast("i")


def value_get() -> Iterator[Result]:
    """Reading a shared integer."""
    ours, theirs, view = values()

    def reading(value: Any) -> Loop:
        def loop(count: int) -> None:
            for _ in range(count):
                value.value  # noqa: B018  (reading it is the work)

        return loop

    def view_loop(count: int) -> None:
        for _ in range(count):
            view[0]

    return each({"holdfast.Value": reading(ours), "multiprocessing.Value": reading(theirs), "memory view": view_loop})


def value_set() -> Iterator[Result]:
    """Writing a shared integer."""
    ours, theirs, view = values()

    def writing(value: Any) -> Loop:
        def loop(count: int) -> None:
            for _ in range(count):
                value.value = 7

        return loop

    def view_loop(count: int) -> None:
        for _ in range(count):
            view[0] = 7

    return each({"holdfast.Value": writing(ours), "multiprocessing.Value": writing(theirs), "memory view": view_loop})


def value_add() -> Iterator[Result]:
    """An exact increment: ours by ``add``, multiprocessing's as its documentation says."""
    ours, theirs, _view = values()

    def add_loop(count: int) -> None:
        add = ours.add
        for _ in range(count):
            add(1)

    def locked_loop(count: int) -> None:
        for _ in range(count):
            with theirs.get_lock():
                theirs.value += 1

    return each({"holdfast.Value": add_loop, "multiprocessing.Value": locked_loop})


def process_start(method: str) -> Callable[[], Iterator[Result]]:
    """Return the scenario of one start method: start a process that does nothing, and join it."""

    def scenario() -> Iterator[Result]:
        import multiprocessing

        import holdfast

        for name, module in (("holdfast.Process", holdfast), ("multiprocessing.Process", multiprocessing)):
            context = module.get_context(method)
            nothing(context)  # starts the servers that the method needs

            def loop(count: int, context: Any = context) -> None:
                for _ in range(count):
                    nothing(context)

            yield name, per_call(loop, part=0.25) / 1e3

    return scenario


def nothing(context: Any) -> None:
    """Start and join a process."""
    process = context.Process(target=int)
    process.start()
    process.join()


IMPORT = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def import_time() -> Iterator[Result]:
    """The import alone, in a fresh interpreter; best of seven, in microseconds."""
    statements = {
        "import holdfast": "import holdfast",
        "import multiprocessing": "import multiprocessing",
        "import holdfast, use Lock": "import holdfast; holdfast.Lock",
        "import multiprocessing, use Lock": "import multiprocessing; multiprocessing.Lock()",
    }
    for name, statement in statements.items():
        command = [sys.executable, "-c", IMPORT.format(statement)]
        taken = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(7)]
        yield name, min(taken) * 1e6
