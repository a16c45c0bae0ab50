"""The worker processes themselves: starting, signalling, burying; and the thread that sleeps until one ends."""

from __future__ import annotations

import itertools
import os
import pickle
import select
import signal
import threading
import time
from _queue import Empty  # the module around it loads more than it has
from collections import deque
from contextlib import suppress
from multiprocessing.reduction import ForkingPickler

from holdfast import _core, guard, ownership, popen
from holdfast.boarding import launch
from holdfast.crew import deaths, ledger, seat, timesheet, worker
from holdfast.crew.deaths import Death
from holdfast.crew.ledger import Ledger
from holdfast.queues import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Staff"]

_METHODS = ("fork", "spawn", "forkserver")
_SPARES = 64  # kits kept for later workers
_STARTING = 0.2  # seconds that a forked child may take to begin
_FREEZING = 0.1  # seconds that a worker may take to stand still


class _Kit:
    """What a worker works with; outlives it and serves the next one."""

    __slots__ = ("ledger", "stacks", "tasks")

    def __init__(self) -> None:
        self.tasks = SimpleQueue()
        self.ledger = Ledger()
        self.stacks = os.memfd_create("holdfast-stacks")

    def close(self) -> None:
        """Give up what it holds."""
        os.close(self.stacks)


class _Member:
    """A process, its kit, and what the kernel tells of it."""

    __slots__ = ("belongings", "kit", "pidfd", "process", "seat")

    def __init__(self, process: Any, kit: _Kit, belongings: Any, seat: int) -> None:  # noqa: ANN401 - of either library
        self.process, self.kit, self.belongings = process, kit, belongings
        self.seat = seat
        self.pidfd = -1


class Staff:
    """The processes of a crew, by number.

    Args:
        context: where processes come from.
        workers: how many there are at most at a time.
        label: of the processes' names.
        initializer: called in each, with `initargs`.
        outfit: of their seats.
        started: called with the seat and the pid of each that was started.
        exits: as of `worker.Post`.

    Raises:
        ArenaFull: no space for shared memory.
    """

    def __init__(
        self,
        context: Any,  # noqa: ANN401 - of either library
        workers: int,
        label: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        outfit: seat.Outfit,
        started: Callable[[int, int], object],
        *,
        exits: bool = True,
    ) -> None:
        from holdfast.context import _default_context  # noqa: PLC0415 - contexts make pools, and the other way round

        self.context = context
        method = context.get_start_method()
        self._ours = _default_context.get_context(method if method in _METHODS else None)  # a context may be a stand-in
        self.forks = self._ours.get_start_method() == "fork"
        if not self.forks:
            guard.check()
        self.results = SimpleQueue()
        self.members: dict[int, _Member] = {}
        self._outfit, self._started = seat.shared_out(outfit, workers), started
        self._label, self._initializer, self._initargs = label, initializer, initargs
        self._exits = exits
        self._numbers = 0
        self._taken: set[int] = set()  # seats
        self._gone: deque[int] = deque()
        self._spare: list[_Kit] = []
        self._lock = threading.Lock()
        self._poll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._bell, select.EPOLLIN)
        self._watch = threading.Thread(target=self._look, name="holdfast-pool-watch", daemon=True)
        self._closed = False

    def watch(self) -> None:
        """Begin to look out for workers that end; those that have ended before are seen, too."""
        self._watch.start()

    def next_number(self) -> int:
        """A number for another worker."""
        self._numbers += 1
        return self._numbers

    def start(self, number: int) -> None:
        """Start a worker.

        Raises:
            TooManyProcesses: the system refuses another process.
        """
        if self.forks and self._outfit.threads is not None:
            seat.prepare()
        with self._lock:
            kit = self._spare.pop() if self._spare else _Kit()
            free = next(each for each in itertools.count() if each not in self._taken)
            self._taken.add(free)
        place = seat.assigned(self._outfit, free)
        belongings: Any = (kit.tasks, self.results, kit.ledger)
        if not self.forks:
            belongings = bytes(ForkingPickler.dumps(belongings))
            popen.prepare("spawn")  # now, for as the tracker starts it unblocks what is blocked below
            launch.limits = place.limits
        stacks = worker._File(kit.stacks)  # noqa: SLF001 - of this package
        post = worker.Post(number, belongings, stacks, self._initializer, self._initargs, place, self._exits)
        process = self.context.Process(target=worker.main, args=(post,))
        process.name = process.name.replace("Process", self._label)
        member = self.members[number] = _Member(process, kit, belongings, free)
        timesheet.begin(kit.ledger.words)
        # Until it has its own answer to an interrupt from the keyboard, the child must not get any.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        except BaseException:
            del self.members[number]
            self._taken.discard(free)
            kit.close()
            raise
        finally:
            launch.limits = None
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        with suppress(ProcessLookupError, AttributeError):  # a stand-in may have no pid
            self._started(free, process.pid)
            member.pidfd = os.pidfd_open(process.pid)
            self._poll.register(member.pidfd, select.EPOLLIN)
        if member.pidfd < 0:
            self._report(number)

    def processes(self) -> list[Any]:
        """The worker processes."""
        return [member.process for member in list(self.members.values())]

    def present(self) -> list[tuple[int, Any]]:
        """The seats that are taken, with the words of the workers' ledgers."""
        return [(member.seat, member.kit.ledger.words) for member in list(self.members.values())]

    def give(self, number: int, messages: list[Any]) -> None:
        """Put batches into a worker's queue.

        Raises:
            ArenaFull: no space for shared memory.
        """
        tasks = self.members[number].kit.tasks
        if len(messages) == 1:
            tasks.put(messages[0])
        else:
            tasks.put_many(messages)

    def dismiss(self, number: int) -> None:
        """Have a worker end when it has done what it was given."""
        member = self.members.get(number)
        if member is not None:
            member.kit.tasks.put(None)

    def take_back(self, number: int) -> list[int]:
        """Take what a worker has not taken out of its queue; the numbers of the batches."""
        member = self.members.get(number)
        found: list[Any] = []
        if member is None:
            return found
        with suppress(Empty):
            while True:
                found.append(member.kit.tasks.get_nowait())
        if None in found:
            member.kit.tasks.put(None)
        return [message[0] for message in found if message is not None]

    def revoke(self, number: int, batch: int) -> tuple[int, int] | None:
        """Take back what a worker has not claimed of a batch: positions from and to; None if there is nothing."""
        return self.members[number].kit.ledger.revoke(batch)

    def peek(self, number: int, batch: int, known: int) -> tuple[int, bytes, list[Any]] | None:
        """What a worker has noted of a batch and not sent, see `Ledger.peek`."""
        return self.members[number].kit.ledger.peek(batch, known)

    def running(self, number: int, batch: int) -> int | None:
        """The position of the task of a batch that a worker runs; None if it has none of that batch under way."""
        return self.members[number].kit.ledger.running(batch)

    def freeze(self, number: int) -> None:
        """Have a worker stand still, until SIGCONT; returns when it does, or has not for a while."""
        self.signal(number, signal.SIGSTOP)
        until = time.monotonic() + _FREEZING
        stat = f"/proc/{self.members[number].process.pid}/stat"
        with suppress(OSError):
            while time.monotonic() < until:
                with open(stat, "rb") as file:  # noqa: PTH123 - a line of it
                    if file.read().rpartition(b") ")[2][:1] not in b"RSD":
                        return
                time.sleep(0.0002)

    def words(self, number: int) -> Any:  # noqa: ANN401 - a memory view
        """The words of a worker's ledger."""
        return self.members[number].kit.ledger.words

    def signal(self, number: int, what: int) -> None:
        """Send a worker a signal; nothing happens if it has ended."""
        member = self.members.get(number)
        if member is not None and member.pidfd >= 0:
            self._see_started(member)
            ownership.adopt(member.process.pid)  # its blocks of shared memory become ours, as with Process.terminate()
            with suppress(OSError):
                signal.pidfd_send_signal(member.pidfd, what)

    def _see_started(self, member: _Member) -> None:
        """Wait for a forked child to be past the fork, if it has just been made.

        One that is killed within the fork's own hooks leaves its place in the shared memory taken for a while.
        """
        if isinstance(member.belongings, bytes):
            return
        words = member.kit.ledger.words
        until = time.monotonic() + _STARTING
        while words[ledger.STATE] == ledger.NEW and time.monotonic() < until and not _ended(member.pidfd, 0.0005):
            pass

    def signal_all(self, what: int) -> None:
        """Send every worker a signal."""
        for number in list(self.members):
            self.signal(number, what)

    def end_all(self, grace: float) -> None:
        """Wait for all to end, `grace` seconds for those that take their time, then kill them."""
        deadline = time.monotonic() + grace
        for number, member in list(self.members.items()):
            if member.pidfd >= 0 and not _ended(member.pidfd, max(0.0, deadline - time.monotonic())):
                self.signal(number, signal.SIGKILL)
        for member in list(self.members.values()):
            if member.pidfd >= 0:
                _ended(member.pidfd, 5.0)

    def gone(self) -> list[int]:
        """The numbers of workers that have ended since the last call."""
        found = []
        while self._gone:
            found.append(self._gone.popleft())
        return found

    def has_gone(self) -> bool:
        """Whether `gone` has something to tell."""
        return bool(self._gone)

    def bury(self, number: int, *, ready: bool) -> tuple[Death, list[int], tuple[bytes, list[Any]]]:
        """Take leave of a worker that has ended.

        Args:
            number: which.
            ready: whether it had started up.

        Returns:
            How it ended, its ledger's words and notes.
        """
        member = self.members.pop(number)
        _join(member)
        kit = member.kit
        if not ready and isinstance(member.belongings, bytes):
            pickle.loads(member.belongings)  # noqa: S301 - a pickle that nobody loads would keep shared memory
        death = Death(member.process.pid, member.process.exitcode, deaths.read_stacks(kit.stacks), seat=member.seat)
        words, notes = list(kit.ledger.words), kit.ledger.notes()
        if member.pidfd >= 0:
            os.close(member.pidfd)
        kit.ledger.erase()
        with suppress(Empty):
            while True:
                kit.tasks.get_nowait()
        with self._lock:
            self._taken.discard(member.seat)
            if len(self._spare) < _SPARES and not self._closed:
                self._spare.append(kit)
            else:
                kit.close()
        return death, words, notes

    def close(self) -> None:
        """End the watch, and whoever has not ended, after something went wrong."""
        self.signal_all(signal.SIGKILL)
        for member in self.members.values():
            if member.pidfd < 0:
                member.process.terminate()
            _join(member)
            if member.pidfd >= 0:
                os.close(member.pidfd)
            self._spare.append(member.kit)
        self.members.clear()
        with self._lock:
            self._closed = True
            spare, self._spare = self._spare, []
        for kit in spare:
            kit.close()
        os.eventfd_write(self._bell, 1)
        if self._watch.ident is not None:
            self._watch.join()
        self._poll.close()
        os.close(self._bell)
        _core.sweep()  # workers have inherited shared memory that nobody else may have kept

    def _look(self) -> None:
        """The watch: sleep until a worker ends."""
        while not self._closed:
            for fd, _ in self._poll.poll():
                if fd == self._bell:
                    continue
                self._poll.unregister(fd)
                number = next((n for n, m in list(self.members.items()) if m.pidfd == fd), None)
                if number is not None:
                    self._report(number)

    def _report(self, number: int) -> None:
        self._gone.append(number)
        with suppress(Exception):  # without memory: the pump looks around by itself, later
            self.results.put(None)


def _join(member: _Member) -> None:
    """Wait for a process that has ended, or has been told to."""
    if member.pidfd < 0:
        member.process.join()  # maybe of a stand-in, which knows no timeout
    else:
        member.process.join(5.0)


def _ended(pidfd: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
