"""What pebble's tests of process pools import, with holdfast's executor in place.

pebble's pool takes a timeout with each task where holdfast's executor has one for all; `ProcessPool._submit` sets it
in between, which is the one thing here that is not public.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from concurrent.futures import wait
from types import ModuleType, SimpleNamespace

import holdfast
from holdfast import WorkerDied as ProcessExpired
from holdfast.crew.trades import Trades
from holdfast.futures import ProcessExecutor

__all__ = ["CONSTS", "ProcessExpired", "ProcessPool"]

CONSTS = SimpleNamespace(channel_lock_timeout=60)
_base_pool = ModuleType("pebble.pool.base_pool")
_base_pool.PoolStatus = SimpleNamespace(ERROR=4)
sys.modules["pebble.pool"] = ModuleType("pebble.pool")
sys.modules["pebble.pool.base_pool"] = _base_pool


class MapFuture:
    """What `ProcessPool.map` returns: a future whose result is an iterator that goes on after an error."""

    def __init__(self, futures):
        self._futures = futures

    def result(self):
        return Results(self._futures)

    def cancel(self):
        cancelled = [future.cancel() for future in self._futures]
        return all(cancelled)


class Results:
    """The results one by one."""

    def __init__(self, futures):
        self._left = iter(futures)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._left).result()


class ProcessPool:
    """A pool of processes, as pebble's."""

    def __init__(self, max_workers=None, max_tasks=0, initializer=None, initargs=(), context=None):
        method = (context or multiprocessing).get_start_method()
        self._executor = ProcessExecutor(
            max_workers,
            holdfast.get_context(method),
            initializer,
            tuple(initargs),
            max_tasks_per_child=max_tasks or None,
        )
        self._lock = threading.Lock()
        self._futures = []
        self._closed = self._stopped = self._begun = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        self.join()

    @property
    def active(self):
        """Whether it works; as in pebble, to ask starts it."""
        if not (self._begun or self._closed):
            self._submit(int, None, (), {})
        return not self._stopped

    @property
    def _pool_manager(self):
        """Where pebble's tests find the pids of the workers."""
        pids = [child.pid for child in holdfast.active_children() if "ExecutorWorker" in child.name]
        return SimpleNamespace(worker_manager=SimpleNamespace(workers=pids))

    def _submit(self, function, timeout, args, kwargs):
        with self._lock:
            self._begun = True
            self._executor._trades = Trades(timeout)  # a limit for each task, where holdfast has one for each executor
            future = self._executor.submit(function, *args, **kwargs)
            self._futures.append(future)
        return future

    def schedule(self, function, args=(), kwargs=None, timeout=None):
        return self._submit(function, timeout, args, kwargs or {})

    def submit(self, function, timeout, /, *args, **kwargs):
        return self._submit(function, timeout, args, kwargs)

    def map(self, function, *iterables, chunksize=1, timeout=None):
        if chunksize < 1:
            message = "chunksize must be >= 1"
            raise ValueError(message)
        rounds = zip(*iterables, strict=False)
        return MapFuture([self._submit(function, timeout, args, {}) for args in rounds])

    def close(self):
        self._closed = True
        self._executor.shutdown(wait=False)

    def stop(self):
        self._closed = self._stopped = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        for future in self._futures:
            future.cancel()

    def join(self, timeout=None):
        if not self._closed:
            message = "The Pool is still running"
            raise RuntimeError(message)
        if wait(self._futures, timeout).not_done:
            message = "Some workers are still running"
            raise TimeoutError(message)
        self._executor.shutdown()
        self._stopped = True
