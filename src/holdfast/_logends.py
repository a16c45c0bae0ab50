"""The two ends of a log: its home, where the handlers are, and the senders in all other processes.

States of a sender: sending ─the home has ended▶ alone (says so once, prints what it and the queue still have).
States of a home's listener: running ─before a fork▶ resting ─after it▶ running; it ends when the home closes.
"""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import queue
import sys
import threading
from collections import deque
from contextlib import contextmanager, suppress
from multiprocessing import util
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from holdfast import _logwire, boarding, errors
from holdfast.queues import Queue
from holdfast.sharedctypes import Value
from holdfast.synchronize import Event, Lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["Channel", "Home", "Sender", "levels", "loggers", "say", "set_levels", "taken"]

_BATCH = 256  # records that the listener takes at a time
_LOOK = 0.1  # seconds between two looks whether the home lives
_EXIT_PRIORITY = -900  # of multiprocessing's exit functions: after all children were joined
_REST = 0.2  # seconds that a fork waits for a handler to finish what it does
_OWN_LOGGER = "holdfast.logs"


def say(code: str, text: str) -> None:
    """Write a line on standard error, whatever state the program's own stream is in.

    Args:
        code: of the line; its page says more. "" if there is nothing to look up.
        text: what happened.
    """
    stream: Any = sys.stderr
    with suppress(Exception):
        stream.write(f"holdfast: {errors.make(code, text) if code else text}\n")
        stream.flush()


@contextmanager
def taken(lock: Any) -> Iterator[None]:  # noqa: ANN401 - a Lock or RLock with on_owner_death="raise"
    """Hold a lock that raises after a death, of which nothing has to be mended here."""
    while True:
        try:
            lock.acquire()
            break
        except errors.OwnerDied:
            continue
    try:
        yield
    finally:
        lock.release()


def _started(pid: int) -> int:
    """When a process was started, in clock ticks since boot; 0 if it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


class Channel:
    """What both ends share: the queue, who the home is, and how many records were dropped.

    Args:
        name: the same name is the same channel for every process of this user.
        maxsize: how many records it holds.
        drop: whether senders drop what has no room.
    """

    def __init__(self, name: str | None, maxsize: int, *, drop: bool) -> None:
        def named(what: str) -> str | None:
            return None if name is None else f"log {name} ({what})"

        self.name = name
        self.drop = drop
        self.queue: Any = Queue(maxsize, name=named("records"))
        self.pid: Any = Value("q", name=named("home"))
        self.start: Any = Value("q", name=named("home's start"))
        self.dropped: Any = Value("q", name=named("dropped"))
        self.lock = Lock(named("lock"), on_owner_death="raise")

    def settle(self) -> bool:
        """Become the home if there is none; whether this process is it now."""
        with taken(self.lock):
            if self.has_home():
                return False
            self.start.value = _started(os.getpid())
            self.pid.value = os.getpid()
            return True

    def leave(self) -> None:
        """Be the home no longer."""
        with taken(self.lock):
            if self.pid.value == os.getpid():
                self.pid.value = 0

    def has_home(self) -> bool:
        """Whether the home runs."""
        pid = self.pid.value
        return bool(pid) and _started(pid) == self.start.value

    def ticket(self) -> bytes:
        """What makes the same channel in another process; valid once."""
        parts = (self.name, self.drop, self.queue, self.pid, self.start, self.dropped, self.lock)
        return bytes(ForkingPickler.dumps(parts))

    @classmethod
    def from_ticket(cls, ticket: bytes) -> Channel:
        """The channel of a ticket."""
        made = cls.__new__(cls)
        parts = pickle.loads(ticket)  # noqa: S301 - from the parent
        made.name, made.drop, made.queue, made.pid, made.start, made.dropped, made.lock = parts
        return made

    def flush(self, timeout: float | None) -> bool:
        """Wait until all that was put before is handled.

        Args:
            timeout: seconds to wait at most.

        Returns:
            False if the time was over first, or there is no home any more.
        """
        end = None if timeout is None else monotonic() + timeout
        done, sent = Event(), False
        while self.has_home():
            rest = _LOOK if end is None else min(_LOOK, max(0.0, end - monotonic()))
            if not sent:
                with suppress(queue.Full):
                    self.queue.put(done, True, rest)
                    sent = True
            elif done.wait(rest):
                return True
            if end is not None and monotonic() >= end:
                return done.is_set()
        return done.is_set()


class Home:
    """The end with the handlers: a thread that gives them what arrives.

    The thread rests while this process is forked: no handler is at work then, so a child inherits nothing half done.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._left: deque[Any] = deque()  # taken from the queue, and not handled yet
        self._told = channel.dropped.value
        self._turn = threading.Lock()  # over the next two
        self._resting = False
        self._running = False
        self._thread: threading.Thread | None = None
        self._finalizer: Any = None

    def open(self) -> None:
        """Start to listen, and see to the end of this process."""
        global _home  # noqa: PLW0603 - one a process
        _home = self
        _hook_forks()
        # Records of children that are joined at exit still come; logging closes its handlers after that, not before.
        atexit.unregister(logging.shutdown)
        self._finalizer = util.Finalize(None, self._at_exit, exitpriority=_EXIT_PRIORITY)
        self.resume()

    def _at_exit(self) -> None:
        self.close()
        logging.shutdown()

    def close(self) -> None:
        """Handle all that is there, and be the home no longer."""
        global _home  # noqa: PLW0603 - as above
        if _home is not self:
            return
        _home = None
        if self._finalizer.still_active():
            self._finalizer.cancel()
            atexit.register(logging.shutdown)
        self.rest(None)
        self._drain()
        self.channel.leave()
        self._drain()  # what senders put while the first time was under way
        _logwire.take_clocks_back()

    def is_at_work_here(self) -> bool:
        """Whether the calling thread is the listener, which cannot wait for itself."""
        return self._thread is threading.current_thread()

    def rest(self, seconds: float | None) -> None:
        """Have the listener finish the record at hand and end.

        Args:
            seconds: how many to wait for that; None: as long as it takes.
        """
        thread = self._thread
        if thread is None or self.is_at_work_here():
            return
        with self._turn:
            self._resting = True
        with suppress(queue.Full, errors.HoldfastError):  # if it is full, the listener is not asleep
            self.channel.queue.put_nowait(None)
        thread.join(seconds)

    def resume(self) -> None:
        """Listen again."""
        with self._turn:
            self._resting = False
            if self._running:  # it is still at work: it did not rest
                return
            self._running = True
        self._thread = threading.Thread(target=self._listen, name="holdfast-log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is ending: `close` handles the rest
            self._running, self._thread = False, None

    def _listen(self) -> None:
        while True:
            with self._turn:
                if self._resting:
                    self._running = False
                    return
            try:
                if not self._left:
                    self._take(block=True)
                while self._left and not self._resting:
                    self._handle(self._left.popleft())
                self._tell_dropped()
            except Exception as error:  # noqa: BLE001 - the listener ends with the program, not before
                say("HF803", f"the log of process {os.getpid()} met {type(error).__name__}: {error}")
                if isinstance(error, errors.HoldfastError):  # its shared memory is not what it was
                    return

    def _take(self, *, block: bool) -> bool:
        """Take from the queue what is there; whether that was anything."""
        try:
            self._left.extend(self.channel.queue.get_many(_BATCH, block))
        except queue.Empty:
            return False
        except errors.ItemsBroken as broken:
            self._left.extend(broken.items)
            for error in broken.errors:
                text = f"a record could not be rebuilt: {type(error).__name__}: {error}"
                _logwire.deliver(_own_record(logging.ERROR, text))
        return True

    def _handle(self, item: Any) -> None:  # noqa: ANN401 - whatever is in the queue
        if type(item) is tuple:
            _logwire.deliver(_logwire.unpack(item))
        elif item is not None:
            item.set()

    def _drain(self) -> None:
        while self._left or self._take(block=False):
            self._handle(self._left.popleft())
        self._tell_dropped()

    def _tell_dropped(self) -> None:
        dropped = self.channel.dropped.value
        if dropped != self._told:
            more, self._told = dropped - self._told, dropped
            text = f"{more} records were dropped, because handlers were slower than what logged"
            _logwire.deliver(_own_record(logging.WARNING, str(errors.make("HF804", text))))


def _own_record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(_OWN_LOGGER, level, __file__, 0, text, (), None)


_home: Home | None = None
_hooked = False


def _hook_forks() -> None:
    global _hooked  # noqa: PLW0603 - hooks cannot be taken back
    if not _hooked:
        _hooked = True
        os.register_at_fork(before=_before_fork, after_in_parent=after_fork)


def _before_fork() -> None:
    if _home is not None:
        _home.rest(_REST)


def after_fork() -> None:
    """Let the listener listen again; not before `os.fork` has returned, if we call it: it would count the thread."""
    if _home is not None and not boarding.launch.starting:
        _home.resume()


def loggers() -> list[logging.Logger]:
    """All loggers of this process, the root first."""
    named = logging.root.manager.loggerDict.values()
    return [logging.root, *(each for each in list(named) if isinstance(each, logging.Logger))]


def levels() -> tuple[Any, ...]:
    """What decides here which records are made, for a child that does not inherit it: see `set_levels`."""
    of_loggers = {each.name: (each.level, each.disabled) for each in loggers() if each.level or each.disabled}
    captures = getattr(logging, "_warnings_showwarning", None) is not None
    return logging.root.level, logging.root.manager.disable, captures, of_loggers


def set_levels(found: tuple[Any, ...]) -> None:
    """Make the records that the parent would make.

    Args:
        found: what `levels` said there.
    """
    root, disable, captures, of_loggers = found
    logging.root.setLevel(root)
    logging.root.manager.disable = disable
    if captures:
        logging.captureWarnings(True)
    for name, (level, disabled) in of_loggers.items():
        logger = logging.getLogger(name) if name != "root" else logging.root
        logger.setLevel(level)
        logger.disabled = disabled


class Sender(logging.Handler):
    """The other end: the one handler of a process, which puts records into the queue.

    Args:
        channel: the queue.
        guest: whether this process is a program of its own, with handlers for the time when there is no home.
    """

    def __init__(self, channel: Channel, *, guest: bool) -> None:
        super().__init__()
        self.channel = channel
        self._guest = guest
        self._put = channel.queue.put
        self._look_at = 0.0
        self._alone = False
        self._fallback: logging.Handler | None = None
        self._kept: list[tuple[logging.Logger, list[logging.Handler], bool]] = []
        self._watched: Any = None

    def attach(self) -> None:
        """Be the only handler there is; those there were are kept."""
        if self._alone:
            return
        for logger in loggers():
            others = [each for each in logger.handlers if each is not self]
            if others or not logger.propagate:
                self._kept.append((logger, others, logger.propagate))
            logger.handlers[:] = [self] if logger is logging.root else []
            logger.propagate = True
        if not self._guest:
            self._forget_kept()

    def _forget_kept(self) -> None:
        """Keep logging from flushing the parent's handlers when this process ends: what they hold is the parent's."""
        kept = {id(each) for _, others, _ in self._kept for each in others}
        for reference in list(logging._handlerList):  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way
            if id(reference()) in kept:
                logging._removeHandlerRef(reference)  # type: ignore[attr-defined]  # noqa: SLF001 - as above

    def watch_exit(self) -> None:
        """See, when this process ends, whether the home is there to handle what it has sent."""
        self._watched = util.Finalize(None, self._look, exitpriority=_EXIT_PRIORITY)

    def handle(self, record: logging.LogRecord) -> Any:  # noqa: ANN401 - as the base class
        """Send a record; without the lock of other handlers, for the queue has its own."""
        passed: Any = self.filter(record)
        if passed:
            self.emit(
                record if passed is True else passed
            )  # since Python 3.12 a filter may put another one in its place
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record into the queue."""
        now = record.created
        if not self.channel.pid.value or not self._look_at - 2 * _LOOK < now < self._look_at:
            self._look_at = now + _LOOK
            self._look()
        if self._alone:
            self._handle_alone(record)
            return
        try:
            item = _logwire.pack(record)
            try:
                self._send(item)
            except (errors.HoldfastError, queue.Full):
                raise
            except Exception:  # noqa: BLE001 - pickling runs anybody's code
                self._send(_logwire.only_texts(item))
        except Exception:  # noqa: BLE001 - as all of logging's handlers
            self.handleError(record)

    def _send(self, item: tuple[Any, ...]) -> None:
        if self.channel.drop:
            try:
                self._put(item, False)
            except queue.Full:
                self.channel.dropped.add(1)
            return
        while True:
            try:
                self._put(item, True, _LOOK)
            except queue.Full:
                self._look()
                if self._alone:
                    self._handle_alone(_logwire.unpack(item))
                    return
            else:
                return

    def _look(self) -> None:
        """See whether the home is there; if not, take what the queue still has."""
        if self._alone or self.channel.has_home():
            return
        self._alone = True
        pid = self.channel.pid.value
        how = f"process {pid}, the home of the log, has died" if pid else "the home of the log has ended"
        if self._guest:
            self._restore()
            say("HF803", f"{how}; process {os.getpid()} uses its own handlers from now on")
        else:
            self._fallback = _logwire.stderr_handler()
            say("HF803", f"{how}; records of process {os.getpid()} follow here from now on")
        while True:
            try:
                items = self.channel.queue.get_many(_BATCH, False)
            except queue.Empty:
                return
            except errors.ItemsBroken as broken:
                items = broken.items
            for item in items:
                if type(item) is tuple:
                    self._handle_alone(_logwire.unpack(item))

    def _handle_alone(self, record: logging.LogRecord) -> None:
        if self._fallback is not None:
            self._fallback.handle(record)
        else:
            _logwire.deliver(record)

    def _restore(self) -> None:
        with suppress(ValueError):
            logging.root.handlers.remove(self)
        for logger, handlers, propagate in self._kept:
            logger.handlers.extend(each for each in handlers if each not in logger.handlers)
            logger.propagate = propagate
        self._kept.clear()

    def close(self) -> None:
        """Handle records here again."""
        if self._guest and not self._alone:
            self._restore()
        super().close()
