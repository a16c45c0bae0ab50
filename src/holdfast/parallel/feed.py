"""Reads the arguments of `holdfast.map` from an iterator, ahead of the results that were used, up to the window.

Two threads, because nobody knows whether the iterator's next step takes long: what it has given goes to the workers
meanwhile, and the first result may be what it waits for::

    reader: next(iterator), puts it into the job ──bell──▶ giver: has the backend give it, at most once a millisecond
"""

from __future__ import annotations

import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from holdfast.parallel.stream import MapJob

__all__ = ["Feed"]

_COLLECT = 0.001  # seconds between two looks at what has come


class Feed:
    """The two threads of one call.

    Args:
        backend: who works: a `Crew` or what looks like one.
        job: the job.
        values: its arguments.
        spread: each argument is a sequence of them.
    """

    def __init__(self, backend: Any, job: MapJob, values: Iterator[Any], *, spread: bool) -> None:  # noqa: ANN401 - see above
        self._backend, self._job, self._spread = backend, job, spread
        self._bell = threading.Event()
        self._over = False
        threading.Thread(target=self._give, name="holdfast-map-give", daemon=True).start()
        threading.Thread(target=self._read, args=(values,), name="holdfast-map-read", daemon=True).start()

    def stop(self) -> None:
        """Read no more; a step of the iterator that has begun is waited for by nobody."""
        self._over = True
        self._bell.set()
        self._job.stir()

    def _read(self, values: Iterator[Any]) -> None:
        job, bell = self._job, self._bell
        put = job.waiting.append
        fed = job.given
        error: BaseException | None = None
        left = 0
        try:
            while True:
                if left == 0:
                    left = self._room(fed)
                    if left == 0:
                        return
                value = next(values)
                if self._over:
                    return
                put(tuple(value) if self._spread else value)
                fed += 1
                left -= 1
                if not bell.is_set():
                    bell.set()
        except StopIteration:
            pass
        except BaseException as raised:  # noqa: BLE001 - it is the users' iterator
            error = raised
        finally:
            self._over = True
            bell.set()
        job.tell_total(fed, error)
        self._backend.feed(job, credit=None, ended=True)

    def _room(self, fed: int) -> int:
        """Wait until more arguments may be read; how many, 0 for the end."""
        job = self._job
        with job.condition:
            while not (self._over or job.dropped or job.ended):
                window = job.window()
                room = window - (fed - job.consumed)
                if room >= max(1, window // 4):
                    return room
                job.condition.wait()
        return 0

    def _give(self) -> None:
        job, bell = self._job, self._bell
        while not self._over:
            bell.wait()
            bell.clear()
            if job.waiting:
                self._backend.feed(job, credit=None)
            time.sleep(_COLLECT)
