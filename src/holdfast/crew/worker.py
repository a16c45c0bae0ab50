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
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast import _core
from holdfast.boarding import leave_to_parent
from holdfast.crew import cargo, ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.crew.ledger import Ledger

__all__ = ["FAILED", "INIT_FAILED", "PLAIN", "READY", "SEALED", "SKIPPED", "Failure", "Post", "main"]

PLAIN, SEALED, FAILED, SKIPPED = range(4)  # marks of values in a message of results; the last is the parent's own
READY, INIT_FAILED = -1, -2  # instead of a batch's number
_PATIENCE = 0.01  # seconds that finished results of a batch wait for company
_KEPT_FUNCTIONS = 64
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
    """

    body: bytes | None
    name: str
    text: str
    traceback: str
    lost: str = ""
    shown: str = ""


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
        exits: whether ``sys.exit()`` in a task ends the worker; else it is how that task failed.
    """

    number: int
    belongings: Any
    stacks: _File
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
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
    with suppress(OSError):
        faulthandler.enable(post.stacks.fd)
    if post.initializer is not None:
        try:
            post.initializer(*post.initargs)
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - it is the user's
            results.put((post.number, INIT_FAILED, 0, None, [tuple(_describe(error))], 0.0))
            return
    results.put((post.number, READY, os.getpid(), None, [], 0.0))
    worker = _Worker(post.number, tasks, results, book, exits=post.exits)
    del post
    worker.serve()


class _Leaving(SystemExit):
    """A task's arguments called ``sys.exit()`` as they were unpickled: it never began, so this is not how it failed."""


class _Worker:
    """The loop and what it needs at hand."""

    def __init__(self, number: int, tasks: Any, results: Any, book: Ledger, *, exits: bool) -> None:  # noqa: ANN401 - queues
        self._leaves: type[SystemExit] = SystemExit if exits else _Leaving
        self._number = number
        self._tasks, self._results = tasks, results
        self._ledger = book
        self._functions: dict[bytes, Callable[..., Any]] = {}

    def serve(self) -> None:
        """Take batches until told to stop."""
        take = self._tasks.get
        while True:
            message = take()
            if message is None:
                return
            self._run(*message)
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

    def _run(self, batch: int, call: int, body: Any, reference: bool, sealed: bool, values: list[Any]) -> None:  # noqa: ANN401 - sealed
        book = self._ledger
        words = book.words
        count = len(values)
        book.clean(min(count, ledger.NOTES))
        words[ledger.BASE] = 0
        words[ledger.BEGAN] = time.monotonic_ns()
        words[ledger.BATCH] = batch
        words[ledger.STATE] = ledger.RUNNING
        if count == 1:
            self._single(batch, call, body, reference, sealed, values[0])
            return
        out = _Outbox(self._results, self._number, batch, book)
        try:
            function = self._function(body, reference)
        except Exception as error:  # noqa: BLE001 - the user's, as everything here
            for _ in values:
                out.add(FAILED, tuple(_describe(error)))
            out.send()
            return
        index = 0
        while index < count:
            if sealed:
                noted = self._one(function, call, values[index], out)
                index += 1
            else:
                before = out.count
                noted = self._many(function, call, values, index, out)
                index += out.count - before
            if index < count and not (noted and out.may_wait()):
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
        _put(
            self._results,
            (self._number, batch, 0, bytes([mark]) if mark else None, [result], time.perf_counter() - began),
        )
        words[ledger.BASE] = 1

    def _one(self, function: Callable[..., Any], call: int, sealed: Any, out: _Outbox) -> bool:  # noqa: ANN401
        """Run a task with sealed arguments; false if the results must be sent now."""
        try:
            value = self._opened(sealed)
            if call == 0:
                result = function(value)
            elif call == 1:
                result = function(*value)
            else:
                result = function(*value[0], **value[1])
        except self._leaves:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's
            out.add(FAILED, tuple(_describe(error)))
            return False
        return self._finish(result, out)

    def _many(self, function: Callable[..., Any], call: int, values: list[Any], start: int, out: _Outbox) -> bool:
        """Run tasks with plain arguments until the results must be sent, which is false, or the batch ends."""
        results = out.values
        try:
            noted = _core._run_batch(  # noqa: SLF001 - the core's half of this
                function, call, values, start, results, self._ledger.whole, ledger.NOTES, out.count
            )
        except self._leaves:
            out.settle()
            raise
        except BaseException as error:  # noqa: BLE001 - the user's
            out.settle()
            out.add(FAILED, tuple(_describe(error)))
            return False
        if noted:
            out.settle()
            return True
        last = results.pop()
        out.settle()
        return self._finish(last, out)

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

    def __init__(self, results: Any, worker: int, batch: int, book: Ledger) -> None:  # noqa: ANN401 - a queue
        self._results, self._worker, self._batch, self._book = results, worker, batch, book
        self._start = 0
        self._sent = time.perf_counter()
        self._look = self._stride = 1
        self._clear()

    def _clear(self) -> None:
        self.values: list[Any] = []
        self._marks = bytearray()
        self._marked = False
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

    def may_wait(self) -> bool:
        """Whether the results may wait for more; the clock is looked at ever more seldom while tasks are small."""
        if self.count < self._look:
            return True
        since = time.perf_counter() - self._sent
        if since * 4 < _PATIENCE:
            self._stride = min(self._stride * 2, 64)
        else:
            self._stride = 1
        self._look = self.count + self._stride
        return since < _PATIENCE

    def send(self) -> None:
        """Put what is kept into the queue of results."""
        words = self._book.words
        words[ledger.LAST] = self._start + self.count
        words[ledger.STATE] = ledger.SENDING
        now = time.perf_counter()
        marks = bytes(self._marks) if self._marked else None
        message = (self._worker, self._batch, self._start, marks, self.values, now - self._sent)
        _put(self._results, message)
        self._start += self.count
        self._book.clean(min(self.count, ledger.NOTES))  # first: notes without a base are known already
        words[ledger.BASE] = self._start
        words[ledger.STATE] = ledger.RUNNING
        self._sent = now
        self._look = self._stride = 1
        self._clear()


def _put(results: Any, message: tuple[Any, ...]) -> None:  # noqa: ANN401 - a queue
    try:
        results.put(message)
    except OSError as error:  # no more shared memory
        gone = tuple(_lost(error, "what it returned"))
        count = len(message[4])
        results.put((*message[:3], bytes([FAILED]) * count, [gone] * count, message[5]))


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
