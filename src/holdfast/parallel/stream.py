"""The job of one `holdfast.map`: its arguments, its window, and its results on their way to whoever iterates.

::

    arguments ──▶ waiting ──cut, as far as the window allows──▶ workers ──▶ ready ──blocks, in order──▶ the caller
                     ▲                                                                                     │
                     └──────────────── the window moves as results are used ◀──────────────────────────────┘

Results move in blocks (lists), so that what one of them costs does not depend on how many layers it passes.
"""

from __future__ import annotations

import threading
from collections import deque

from holdfast.crew.plan import UNDIVIDED, Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["MapJob"]

_AHEAD = 0.1  # seconds of work of each worker that may be under way beyond what was used
_LEAST_AHEAD = 4  # tasks of each worker, whatever they cost
_LAST_ROUNDS = 2  # of batches that are not divided, in which each worker gets the same
_MOST_AHEAD = 1 << 16  # tasks of all workers


class MapJob(Job):
    """A job whose results are used block by block.

    Args:
        function: sealed, or as it is for workers that are threads.
        reference: whether it is sealed as a mere reference.
        workers: how many there are at most.
        ordered: results come in the order of their arguments.
        collect: failures are results; else the first one ends the job.
        look_ahead: tasks that may be under way beyond those whose results were used; None: measured.
        options: those of `Job`.
    """

    urgent = True
    worthwhile = 0.03  # less than the workers keep results for company

    def __init__(
        self,
        function: Any,  # noqa: ANN401 - sealed
        reference: bool,
        *,
        workers: int,
        ordered: bool,
        collect: bool,
        look_ahead: int | None,
        **options: Any,  # noqa: ANN401 - as above
    ) -> None:
        super().__init__(function, reference, **options)
        self._workers, self._ordered, self._collect, self._look_ahead = workers, ordered, collect, look_ahead
        # Reentrant: the garbage collector may drop the results in the midst of anything.
        self.condition = threading.Condition(threading.RLock())
        self._ready: Any = {} if ordered else deque()
        self.used = 0  # results handed out
        self.consumed = 0  # of those, the ones before the block that is being used
        self.done = self.failed = 0
        self.total: int | None = None
        self.expected: int | None = None  # what the arguments say of their number
        self.error: BaseException | None = None  # what the arguments' iterator raised at their end
        self.failure: BaseException | None = None  # why nothing more will come
        self.dropped = False
        self._even, self._even_until = (
            0,
            -1,
        )  # the size of the last batches, and the number of tasks up to which it counts
        self.on_failure: Callable[[], object] | None = None  # called once, when the first failure decides
        self.listeners: list[Callable[[], object]] = []  # called whenever something has changed

    # the window

    def window(self) -> int:
        """How many tasks may be under way beyond those whose results were used."""
        if self._look_ahead is not None:
            return self._look_ahead
        least = max(_LEAST_AHEAD, 2 * self.chunk) * self._workers
        if self.cost is None:
            return least
        return max(least, min(_MOST_AHEAD, int(_AHEAD * self._workers / max(self.cost, 1e-9))))

    def _size(self, left: int, hands: int) -> int:
        if self.given < self._even_until:
            return self._even
        size = super()._size(left, hands)
        if self.chunk or self.timeout is not None:
            return size
        hands = max(hands, 1)
        least = 1 if self.cost is None else int(UNDIVIDED / max(self.cost, 1e-9))
        size = max(1, min(size, -(-self.window() // (2 * hands)), max(-(-left // hands), least)))
        if self.ended and left <= _LAST_ROUNDS * hands * least:
            rounds = -(-left // (hands * size))
            self._even, self._even_until = -(-left // (hands * rounds)), self.given + left
            return self._even
        return size

    # the workers' side

    def deliver(self, start: int, marks: bytes | None, values: list[Any]) -> None:
        """Take results in."""
        if marks is None:
            self.add(start, values)
            return
        from holdfast.crew.failures import opened  # noqa: PLC0415 - not for workers that are threads

        run: list[Any] = []
        for index, mark, value in opened(start, marks, values):
            if run and (mark or index != start + len(run)):
                self.add(start, run)
                run = []
            if mark:
                self.fail(index, _error_of(value))
                continue
            if not run:
                start = index
            run.append(value)
        if run:
            self.add(start, run)

    def add(self, start: int, values: list[Any]) -> None:
        """Take in the results of tasks that follow each other."""
        with self.condition:
            self.done += len(values)
            if not self.dropped:
                self._put(start, values)
            self._tell()

    def fail(self, index: int, error: BaseException) -> None:
        """Take in how a task failed."""
        call = None
        with self.condition:
            self.done += 1
            self.failed += 1
            if not self.dropped:
                self._put(index, [error] if self._collect else error)
                if not self._collect:
                    call, self.on_failure = self.on_failure, None
            self._tell()
        if call is not None:
            call()

    def end(self, error: BaseException) -> None:
        """Take in that nothing more will come."""
        with self.condition:
            self.failure = error
            self._tell()

    def _put(self, start: int, what: Any) -> None:  # noqa: ANN401 - a list of results or an exception
        if self._ordered:
            self._ready[start] = what
        else:
            self._ready.append(what)

    def _tell(self) -> None:
        self.condition.notify_all()
        for listener in self.listeners:
            listener()

    def stir(self) -> None:
        """Have whoever waits look again."""
        with self.condition:
            self._tell()

    def tell_total(self, total: int, error: BaseException | None = None) -> None:
        """Say how many arguments there are; `error`: what their iterator raised at the end."""
        with self.condition:
            self.total, self.error = total, error
            self._tell()

    # the caller's side

    def take(self) -> list[Any] | None:
        """Wait for the next results.

        Returns:
            One or more; None if there are no more.

        Raises:
            BaseException: the failure that stands there, what the arguments' iterator raised, or why nothing comes.
        """
        with self.condition:
            while not self._stirred():
                self.condition.wait()
            return self.take_nowait()

    def stirred(self) -> bool:
        """Whether `take` would not wait."""
        with self.condition:
            return self._stirred()

    def _stirred(self) -> bool:
        there = self.used in self._ready if self._ordered else bool(self._ready)
        return there or self.dropped or self.failure is not None or self._at_end()

    def _at_end(self) -> bool:
        return self.total is not None and self.used >= self.total

    def take_nowait(self) -> list[Any] | None:
        """The next results, which are there; else as `take`."""
        with self.condition:
            block: Any = self._pop()
            if isinstance(block, BaseException):
                try:
                    raise block
                finally:
                    del block  # no cycle of error and frame
            if block is None:
                if self.dropped:
                    return None
                if self._at_end():
                    error, self.error = self.error, None
                    if error is None:
                        return None
                    try:
                        raise error
                    finally:
                        del error  # as above
                if self.failure is not None:
                    raise self.failure
                return []
            most = max(1, self.window() // 4)
            while len(block) < most and isinstance(self._peek(len(block)), list):
                block += self._pop(len(block))
            if len(block) > most:
                self._put_back(block, most)
            self.used += len(block)
            found: list[Any] = block
            return found

    def _peek(self, offset: int) -> Any:  # noqa: ANN401 - a list of results, an exception, or None
        if self._ordered:
            return self._ready.get(self.used + offset)
        return self._ready[0] if self._ready else None

    def _pop(self, offset: int = 0) -> Any:  # noqa: ANN401 - as above
        if self._ordered:
            return self._ready.pop(self.used + offset, None)
        return self._ready.popleft() if self._ready else None

    def _put_back(self, block: list[Any], kept: int) -> None:
        rest = block[kept:]
        del block[kept:]
        if self._ordered:
            self._ready[self.used + kept] = rest
        else:
            self._ready.appendleft(rest)

    def move_window(self) -> None:
        """The block handed out last is used up."""
        with self.condition:
            if self.consumed != self.used:
                self.consumed = self.used
                self.condition.notify_all()

    def drop(self) -> None:
        """Nobody wants the results any more."""
        with self.condition:
            self.dropped = True
            self._ready.clear()
            self._tell()


def _error_of(told: Any) -> BaseException:  # noqa: ANN401 - a Told
    from holdfast.crew.failures import lost, rebuilt  # noqa: PLC0415 - only where something failed

    if told.lost:
        return lost(told)
    error = rebuilt(told)
    if isinstance(error, AttributeError) and "__main__" in told.text and "get attribute" in told.text:
        error.add_note(
            "holdfast: the workers cannot see what this session has defined; install cloudpickle, "
            "or move it into a module"
        )
    return error
