"""Adapters: every rival's pool of two workers, with the calls that it has.

    python benchmarks/rivals_pool.py NAME METHOD     print the milliseconds to the first result of that new pool: from
                                                     making it, when its name and its start method
                                                     were named, and from the import of its name

All are forked unless said; loky, and joblib over it, start their workers by a method of their own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WORKERS = 2
OURS, EXECUTOR, ONE_LINE = "holdfast.Pool", "holdfast.ProcessExecutor", "holdfast.map"
STANDARD, FUTURES = "multiprocessing.Pool", "ProcessPoolExecutor"
LOKY, JOBLIB, MPIRE, PEBBLE, BILLIARD = "loky", "joblib.Parallel", "mpire", "pebble", "billiard.Pool"
THREADS = "threads: ThreadPool"
MINE = [OURS, EXECUTOR, ONE_LINE]
RIVALS = [STANDARD, FUTURES, LOKY, JOBLIB, MPIRE, PEBBLE, BILLIARD]
PACKAGES = {
    OURS: "holdfast",
    EXECUTOR: "holdfast",
    ONE_LINE: "holdfast",
    STANDARD: "multiprocessing",
    FUTURES: "concurrent.futures",
    LOKY: "loky",
    JOBLIB: "joblib",
    MPIRE: "mpire",
    PEBBLE: "pebble",
    BILLIARD: "billiard",
    THREADS: "multiprocessing",
}
NAMES = {  # what a program imports from it
    OURS: "Pool",
    EXECUTOR: "ProcessExecutor",
    ONE_LINE: "map",
    STANDARD: "Pool",
    FUTURES: "ProcessPoolExecutor",
    LOKY: "ProcessPoolExecutor",
    JOBLIB: "Parallel",
    MPIRE: "WorkerPool",
    PEBBLE: "ProcessPool",
    BILLIARD: "Pool",
}


class Rival:
    """A pool and its calls; each returns when all results are there."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def map(self, function: Callable[[Any], Any], values: Iterable[Any], chunk: int | None = None) -> list[Any]:
        """Call the function with each value, with default settings or in chunks of a size; the results in order."""
        return self.pool.map(function, values, chunk)  # type: ignore[no-any-return]

    def submit(self, function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        """Hand over the calls one by one, then take the results one by one."""
        handed = [self.pool.apply_async(function, (value,)) for value in values]
        return [one.get() for one in handed]

    def unordered(self, function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        """Take the results as they come; chunks of one."""
        return list(self.pool.imap_unordered(function, values))

    def close(self) -> None:
        """End the workers."""
        self.pool.terminate()
        self.pool.join()


class Futures(Rival):
    """What has the interface of ``concurrent.futures``."""

    def map(self, function: Callable[[Any], Any], values: Iterable[Any], chunk: int | None = None) -> list[Any]:
        """As above."""
        size = {} if chunk is None else {"chunksize": chunk}
        return list(self.pool.map(function, values, **size))

    def submit(self, function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        """As above."""
        handed = [self.pool.submit(function, value) for value in values]
        return [one.result() for one in handed]

    def close(self) -> None:
        """As above."""
        self.pool.shutdown()


class OneLine(Rival):
    """``holdfast.map``, which keeps its pool."""

    def map(self, function: Callable[[Any], Any], values: Iterable[Any], chunk: int | None = None) -> list[Any]:
        """As above."""
        size = {} if chunk is None else {"chunk": chunk}
        return list(self.pool(function, values, workers=WORKERS, **size))

    def submit(self, function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        """A call of its own for each."""
        return [found for value in values for found in self.pool(function, [value], workers=WORKERS)]

    def close(self) -> None:
        """It ends with the program."""


class Joblib(Rival):
    """``Parallel``, which keeps its workers."""

    def map(self, function: Callable[[Any], Any], values: Iterable[Any], chunk: int | None = None) -> list[Any]:
        """As above."""
        parallel = self.pool.Parallel(n_jobs=WORKERS, batch_size="auto" if chunk is None else chunk)
        return parallel(self.pool.delayed(function)(value) for value in values)  # type: ignore[no-any-return]

    def submit(self, function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        """A call of its own for each."""
        return [self.map(function, [value])[0] for value in values]

    def close(self) -> None:
        """As above."""
        importlib.import_module("joblib.externals.loky").get_reusable_executor().shutdown()


class Mpire(Rival):
    """``WorkerPool``, its workers kept alive."""

    def map(self, function: Callable[[Any], Any], values: Iterable[Any], chunk: int | None = None) -> list[Any]:
        """As above."""
        return self.pool.map(function, values, chunk_size=chunk, concatenate_numpy_output=False)  # type: ignore[no-any-return]

    def unordered(self, function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        """As above."""
        return list(self.pool.imap_unordered(function, values, chunk_size=1))


class Pebble(Rival):
    """``ProcessPool``."""

    def map(self, function: Callable[[Any], Any], values: Iterable[Any], chunk: int | None = None) -> list[Any]:
        """As above."""
        return list(self.pool.map(function, values, chunksize=chunk or 1).result())

    def submit(self, function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        """As above."""
        handed = [self.pool.schedule(function, args=(value,)) for value in values]
        return [one.result() for one in handed]

    def close(self) -> None:
        """As above."""
        self.pool.stop()
        self.pool.join()


def make(name: str, method: str = "fork") -> Rival:
    """Return a new pool whose workers start by a method.

    Raises:
        ImportError, AttributeError: the rival is not installed.
    """
    package = importlib.import_module(PACKAGES[name])
    makers: dict[str, Callable[[], Rival]] = {
        OURS: lambda: Rival(package.get_context(method).Pool(WORKERS)),
        EXECUTOR: lambda: Futures(package.ProcessExecutor(WORKERS, mp_context=package.get_context(method))),
        ONE_LINE: lambda: OneLine(package.map),
        STANDARD: lambda: Rival(package.get_context(method).Pool(WORKERS)),
        FUTURES: lambda: Futures(package.ProcessPoolExecutor(WORKERS, mp_context=standard_context(method))),
        LOKY: lambda: Futures(package.ProcessPoolExecutor(WORKERS)),
        JOBLIB: lambda: Joblib(package),
        MPIRE: lambda: Mpire(package.WorkerPool(WORKERS, start_method=method, keep_alive=True)),
        PEBBLE: lambda: Pebble(package.ProcessPool(WORKERS, context=standard_context(method))),
        BILLIARD: lambda: Rival(package.get_context(method).Pool(WORKERS)),
        THREADS: lambda: Rival(importlib.import_module("multiprocessing.pool").ThreadPool(WORKERS)),
    }
    return makers[name]()


def standard_context(method: str) -> Any:
    """Return multiprocessing's context of a start method."""
    import multiprocessing

    return multiprocessing.get_context(method)


def available(names: list[str]) -> list[str]:
    """Return the rivals of ``names`` that are installed here, with a word on stderr about the others."""
    found = []
    for name in names:
        if importlib.util.find_spec(PACKAGES[name]) is None:  # not imported: that may leave threads and hooks
            print(f"left out: {name} (not installed)", file=sys.stderr)
        else:
            found.append(name)
    return found


def same(value: Any) -> Any:
    """A trivial task."""
    return value


def main() -> None:
    """Measure a cold start once."""
    name, method = sys.argv[1:]
    began = time.perf_counter()
    package = importlib.import_module(PACKAGES[name])
    getattr(package, NAMES[name])
    getattr(package, "get_context", standard_context)(method)
    imported = time.perf_counter()
    rival = make(name, method)
    found = rival.submit(same, [7])
    now = time.perf_counter()
    assert found == [7]
    print((now - imported) * 1e3, (now - began) * 1e3, flush=True)
    rival.close()


if __name__ == "__main__":
    main()
