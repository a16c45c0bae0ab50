"""The child's side: takes batches from its own queue, runs them task by task, and puts results into the crew's queue.

What it has begun stands in its ledger before it runs, and what it has finished stands there, or in the results' queue,
before the next task begins. States of a task::

    in the queue ─taken─▶ (batch noted in the ledger) begun ─▶ noted or sent ─▶ the next one begins
"""

from __future__ import annotations

import faulthandler
import marshal
import os
import pickle
import signal
import time
from contextlib import suppress
from multiprocessing import reduction

from holdfast import _core, _pickling  # noqa: F401 - what the first message would load, in each worker
from holdfast._records import NamedTuple
from holdfast.boarding import leave_to_parent
from holdfast.crew import cargo, ledger, seat, timesheet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast.crew.ledger import Ledger

__all__ = [
    "FAILED",
    "INIT_FAILED",
    "PATIENT",
    "PLAIN",
    "READY",
    "SEALED",
    "SKIPPED",
    "STAMPED",
    "Failure",
    "Post",
    "main",
]

PLAIN, SEALED, FAILED, SKIPPED = range(4)  # marks of values in a message of results; the last is the parent's own
READY, INIT_FAILED = -1, -2  # instead of a batch's number
_PATIENCE = 0.04  # seconds that finished results of a batch wait for company
_LONG_PATIENCE = 0.25  # the same, where nobody uses them before all are there
_KEPT_FUNCTIONS = 64
_CALLS = 3  # the bits that say how arguments are passed
STAMPED = 4  # beside those: when each task begins stands in the ledger
PATIENT = 8  # and this one: results have time
_OVER, _UNNOTED = 0, 1  # how the core's loop ended, see `_core._run_batch`
_NONES = {None: ledger.NONE, True: ledger.TRUE, False: ledger.FALSE}


class Failure(NamedTuple):
    """How a task failed, in plain texts but for the exception's own pickle.

    Attributes:
        body: the exception, pickled; None if it cannot travel.
        name: of its type.
        text: what it said.
        traceback: from the user's first frame on.
        lost: the task finished, and this is why its result cannot be carried over; else empty.
        shown: the result, shortened, where it was lost.
        unopened: the task never began, for its arguments could not be rebuilt.
    """

    body: bytes | None
    name: str
    text: str
    traceback: str
    lost: str = ""
    shown: str = ""
    unopened: bool = False


class _File:
    """A descriptor that a child inherits, or is handed while it is started."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.fd),)


def _received(handle: Any) -> _File:  # noqa: ANN401 - multiprocessing's own
    return _File(handle.detach())


class Post(NamedTuple):
    """What a worker is given on its way.

    Attributes:
        number: who it is.
        belongings: its own queue, the crew's queue of results, its ledger; pickled for a worker that is not forked.
        stacks: the file that takes its stacks if it crashes.
        initializer: called first, with `initargs`.
        seat: where it sits.
        exits: whether ``sys.exit()`` in a task ends the worker; else it is how that task failed.
    """

    number: int
    belongings: Any
    stacks: _File
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    seat: seat.Seat
    exits: bool = True


def main(post: Post) -> None:
    """Work until told to stop.

    Args:
        post: what this worker is given.
    """
    # An interrupt from the keyboard reaches the whole program: it is the parent's to answer, and this process's to
    # survive. Where it does not share memory, boarding has done so before; where it does, the signal was blocked.
    signal.signal(signal.SIGINT, leave_to_parent)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    tasks, results, book = pickle.loads(post.belongings) if isinstance(post.belongings, bytes) else post.belongings  # noqa: S301
    book.words[ledger.STATE] = ledger.IDLE
    with suppress(OSError):
        faulthandler.enable(post.stacks.fd)
    enter = timesheet.keep(book.words)
    here = seat.take(post.seat)
    if post.initializer is not None:
        try:
            post.initializer(*post.initargs)
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - it is the user's
            results.put((post.number, INIT_FAILED, 0, None, [tuple(_describe(error))], 0.0, 0.0, 0))
            return
    results.put((post.number, READY, os.getpid(), None, [], 0.0, 0.0, 0))
    enter(timesheet.WAITING)
    worker = _Worker(post.number, tasks, results, book, enter, exits=post.exits)
    del post
    try:
        worker.serve()
    finally:  # also if a task has called sys.exit
        enter(timesheet.ENDED)
        here.leave()


class _Leaving(SystemExit):
    """A task's arguments called ``sys.exit()`` as they were unpickled: it never began, so this is not how it failed."""


class _Unopened(Exception):
    """A task's arguments raised what this holds as they were unpickled."""


class _Worker:
    """The loop and what it needs at hand."""

    def __init__(
        self,
        number: int,
        tasks: Any,  # noqa: ANN401 - a queue
        results: Any,  # noqa: ANN401 - a queue
        book: Ledger,
        enter: Callable[[int], int],
        *,
        exits: bool,
    ) -> None:
        self._leaves: type[SystemExit] = SystemExit if exits else _Leaving
        self._number, self._enter = number, enter
        self._tasks, self._results = tasks, results
        self._ledger = book
        self._functions: dict[bytes, Callable[..., Any]] = {}

    def serve(self) -> None:
        """Take batches until told to stop."""
        take, enter = self._tasks.get, self._enter
        while True:
            message = take()
            if message is None:
                return
            enter(timesheet.WORKING)
            self._run(*message)
            enter(timesheet.WAITING)
            message = None  # while it waits for the next one, it keeps nothing alive

    def _function(self, body: Any, reference: bool) -> Callable[..., Any]:  # noqa: ANN401 - sealed
        if not reference:
            function: Callable[..., Any] = cargo.open_sealed(body)
            return function
        known = self._functions.get(body)
        if known is None:
            if len(self._functions) >= _KEPT_FUNCTIONS:
                self._functions.clear()
            known = self._functions[body] = cargo.open_sealed(body)
        return known

    @staticmethod
    def _opened(sealed: Any) -> Any:  # noqa: ANN401 - arguments
        try:
            return cargo.open_sealed(sealed)
        except SystemExit as leave:
            raise _Leaving(leave.code) from None
        except BaseException as error:  # noqa: BLE001 - a user's __setstate__ may raise anything
            raise _Unopened(error) from None

    def _run(self, batch: int, call: int, body: Any, reference: bool, sealed: bool, travelled: Any) -> None:  # noqa: ANN401 - sealed
        book = self._ledger
        values = cargo.unpacked(travelled)
        count = len(values)
        book.begin(batch, count)
        if count == 1 and book.claim() == 0:
            self._single(batch, call & _CALLS, body, reference, sealed, values[0])
            return
        out = _Outbox(self._results, self._number, batch, book, self._enter)
        if call & PATIENT:
            out.patience = _LONG_PATIENCE
        try:
            function = self._function(body, reference)
        except Exception as error:  # noqa: BLE001 - the user's, as everything here
            while book.claim() >= 0:
                out.add(FAILED, tuple(_describe(error)))
            out.send()
            return
        if sealed:
            while True:
                if call & STAMPED:  # first: whoever sees the claim sees when it began
                    book.words[ledger.BEGAN] = time.monotonic_ns()
                index = book.claim()
                if index < 0:
                    break
                began = time.perf_counter()
                noted = self._one(function, call, values[index], out)
                out.time(time.perf_counter() - began, index)
                if not (noted and out.may_wait()):
                    out.send()
        else:
            while not self._many(function, call, values, out):
                out.send()
        out.send()

    def _single(self, batch: int, call: int, body: Any, reference: bool, sealed: bool, value: Any) -> None:  # noqa: ANN401
        """Run a batch of one: nothing has to be noted."""
        began = time.perf_counter()
        mark = PLAIN
        try:
            function = self._function(body, reference)
            if sealed:
                value = self._opened(value)
            if call == 0:
                result = function(value)
            elif call == 1:
                result = function(*value)
            else:
                result = function(*value[0], **value[1])
        except self._leaves:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's
            mark, result = FAILED, tuple(_describe(error))
        if mark == PLAIN and type(result) not in cargo.PLAIN:
            mark, result = _sealed(result, self._leaves)
        words = self._ledger.words
        words[ledger.LAST] = 1
        words[ledger.STATE] = ledger.SENDING
        self._enter(timesheet.SENDING)
        spent = time.perf_counter() - began
        marks = bytes([mark]) if mark else None
        _put(self._results, (self._number, batch, 0, marks, [result], spent, spent, 0))
        words[ledger.BASE] = 1

    def _one(self, function: Callable[..., Any], call: int, sealed: Any, out: _Outbox) -> bool:  # noqa: ANN401
        """Run a task with sealed arguments; false if the results must be sent now."""
        try:
            value = self._opened(sealed)
            if call & _CALLS == 0:
                result = function(value)
            elif call & _CALLS == 1:
                result = function(*value)
            else:
                result = function(*value[0], **value[1])
        except self._leaves:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's
            out.add(FAILED, tuple(_describe(error)))
            return False
        return self._finish(result, out)

    def _many(self, function: Callable[..., Any], call: int, values: list[Any], out: _Outbox) -> bool:
        """Run tasks with plain arguments until the batch ends, which is true, or the results must be sent."""
        results = out.values
        how, whole, patience = call & ~PATIENT, self._ledger.whole, out.patience
        while True:
            try:
                ended = _core._run_batch(function, how, values, results, whole, ledger.NOTES, out.count, patience)  # noqa: SLF001 - the core's half of this
            except self._leaves:
                out.settle()
                raise
            except BaseException as error:  # noqa: BLE001 - the user's
                out.settle()
                out.add(FAILED, tuple(_describe(error)))
                return False
            if ended != _UNNOTED:
                out.settle()
                return ended == _OVER
            last = results.pop()
            out.settle()
            if not (self._finish(last, out) and out.may_wait()):
                return False

    def _finish(self, result: Any, out: _Outbox) -> bool:  # noqa: ANN401 - what a task returned
        mark = PLAIN
        if type(result) not in cargo.PLAIN:
            mark, result = _sealed(result, self._leaves)
        out.add(mark, result)
        return self._note(out.count, mark, result)

    def _note(self, noted: int, mark: int, result: Any) -> bool:  # noqa: ANN401, PLR0911 - what a task returned
        """Note the newest of `noted` results; False if it, and those before it, must be sent now."""
        book, index = self._ledger, noted - 1
        if noted >= ledger.NOTES:
            return False
        if mark == PLAIN:
            kind = type(result)
            if kind is int:
                try:
                    book.ints[index] = result
                except ValueError:
                    return book.note_bytes(index, ledger.MARSHALLED, marshal.dumps(result))
                book.kinds[index] = ledger.INT
                return True
            if kind is float:
                book.floats[index] = result
                book.kinds[index] = ledger.FLOAT
                return True
            if result is None or kind is bool:
                book.kinds[index] = _NONES[result]
                return True
            return book.note_bytes(index, ledger.MARSHALLED, marshal.dumps(result))
        if mark == SEALED and isinstance(result, bytes):
            return book.note_bytes(index, ledger.PICKLED, result)
        return False


class _Outbox:
    """Results of a batch that have not been sent yet."""

    patience = _PATIENCE  # seconds

    def __init__(self, results: Any, worker: int, batch: int, book: Ledger, enter: Callable[[int], int]) -> None:  # noqa: ANN401 - a queue
        self._results, self._worker, self._batch, self._book = results, worker, batch, book
        self._enter = enter
        self._start = 0
        self._sent = time.perf_counter()
        self._clear()

    def _clear(self) -> None:
        self.values: list[Any] = []
        self._marks = bytearray()
        self._marked = False
        self._longest, self._at = 0.0, 0
        self.count = 0

    def add(self, mark: int, value: Any) -> None:  # noqa: ANN401 - a result
        """Keep a result."""
        self.values.append(value)
        self._marks.append(mark)
        self.count += 1
        if mark:
            self._marked = True

    def settle(self) -> None:
        """Count plain results that were added to the list."""
        self._marks.extend(bytes(len(self.values) - self.count))
        self.count = len(self.values)

    def time(self, spent: float, position: int) -> None:
        """Say how long a task took, in seconds."""
        if spent > self._longest:
            self._longest, self._at = spent, position

    def may_wait(self) -> bool:
        """Whether the results may wait for more."""
        return time.perf_counter() - self._sent < self.patience

    def send(self) -> None:
        """Put what is kept into the queue of results."""
        if not self.count:
            return
        words = self._book.words
        words[ledger.LAST] = self._start + self.count
        words[ledger.STATE] = ledger.SENDING
        self.time(*self._book.slowest())
        self._enter(timesheet.SENDING)
        now = time.perf_counter()
        marks = bytes(self._marks) if self._marked else None
        values = self.values if marks else cargo.packed(self.values)
        at = self._at - self._start
        _put(
            self._results,
            (self._worker, self._batch, self._start, marks, values, now - self._sent, self._longest, at),
        )
        self._start += self.count
        self._book.clean(min(self.count, ledger.NOTES))  # first: notes without a base are known already
        words[ledger.BASE] = self._start
        words[ledger.STATE] = ledger.RUNNING
        self._enter(timesheet.WORKING)
        self._sent = now
        self._clear()


def _put(results: Any, message: tuple[Any, ...]) -> None:  # noqa: ANN401 - a queue
    try:
        results.put(message)
    except OSError as error:  # no more shared memory
        gone = tuple(_lost(error, "what it returned"))
        count = len(cargo.unpacked(message[4]))
        results.put((*message[:3], bytes([FAILED]) * count, [gone] * count, *message[5:]))


def _sealed(result: Any, leaves: type[SystemExit]) -> tuple[int, Any]:  # noqa: ANN401 - what a task returned
    if type(result) is tuple and set(map(type, result)) <= cargo.PLAIN:
        return PLAIN, result
    try:
        return SEALED, cargo.seal(result)
    except leaves:
        raise
    except BaseException as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
        return FAILED, tuple(_lost(error, result))


def _lost(error: BaseException, result: object) -> Failure:
    """What is told instead of a result that cannot be sent."""
    from holdfast.crew.deaths import shortened  # noqa: PLC0415 - only where something failed

    described = _describe(error)
    why = f"the result of type {type(result).__name__} cannot be pickled: {described.name}: {described.text}"
    return described._replace(lost=why, shown=shortened(result))


def _describe(error: BaseException) -> Failure:
    if isinstance(error, _Unopened):
        return _describe(error.args[0])._replace(unopened=True)
    import traceback  # noqa: PLC0415 - only where something failed

    from holdfast import outcome  # noqa: PLC0415 - as above

    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_globals.get("__name__") in (__name__, cargo.__name__):
        tb = tb.tb_next
    kind = type(error)
    name = outcome._type_name(kind)  # noqa: SLF001 - of this package
    return Failure(_travelling(error), name, outcome._text(error), "".join(traceback.format_exception(kind, error, tb)))  # noqa: SLF001


def _travelling(error: BaseException) -> bytes | None:
    """The pickle of an exception that can be rebuilt; trying it here spares the parent a bad surprise."""
    try:
        body = cargo.seal(error)
        if isinstance(body, bytes) and isinstance(cargo.open_sealed(body), BaseException):
            return body
    except BaseException:  # noqa: BLE001, S110 - a user's __reduce__ may raise or exit; then texts must do
        pass
    return None
