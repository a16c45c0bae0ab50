"""Adapters: every rival's queue as a channel between producers and consumers that were forked with it.

    parent      makes the channel, forks, and says the end once all producers are done
    producer    put = sender(); put(item) ...; flush()
    consumer    get = receiver(); get() until the end has come ``stops`` times

``None`` is the end. A consumer drops each message before it takes the next.
"""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import rivals

if TYPE_CHECKING:
    from collections.abc import Callable

OURS, STANDARD = "holdfast.Queue", "multiprocessing.Queue"
VIEWS, MANY = "holdfast.Queue, copy=False", "holdfast.Queue, many"
PIPE = "multiprocessing.Pipe"
RING = "limit: C copies in a ring"
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Kind:
    """A kind of message: how it is made, its bytes, and how many may wait in a queue (0: any number)."""

    name: str
    make: Callable[[], Any]
    size: int
    bound: int = 0
    trial: int = 2_000


class Channel:
    """What most rivals are: an object with ``put`` and ``get`` that all processes share."""

    stops = 1
    threads = False

    def __init__(self, queue: Any) -> None:
        self.queue = queue

    def sender(self) -> Callable[[Any], Any]:
        """Return what puts one message; called in the producer."""
        return self.queue.put  # type: ignore[no-any-return]

    def receiver(self, number: int = 0) -> Callable[[], Any]:
        """Return what gets one message; called in the consumer of that number."""
        del number
        return self.queue.get  # type: ignore[no-any-return]

    def flush(self) -> None:
        """Wait until nothing is left in this process; called in whoever put something, when it is done."""
        if hasattr(self.queue, "join_thread"):
            self.queue.close()
            self.queue.join_thread()

    def end(self, consumers: int) -> None:
        """Tell so many consumers that no more comes; called in the parent."""
        put = self.sender()
        for _ in range(consumers):
            put(None)
        self.flush()

    def producing(self, kind: Kind, count: int) -> Callable[[], None]:
        """Return the loop that puts so many messages."""
        put, item = self.sender(), kind.make()

        def loop() -> None:
            for _ in range(count):
                put(item)

        return loop

    def consuming(self, number: int = 0) -> Callable[[], int]:
        """Return the loop that gets messages to the end; it returns how many there were."""
        get = self.receiver(number)

        def loop() -> int:
            count = 0
            for _ in range(self.stops):
                while get() is not None:
                    count += 1
            return count

        return loop

    def comparing(self, kind: Kind, number: int = 0) -> Callable[[], int]:
        """Return a loop as ``consuming`` does, which counts only messages that are what was put; not for the clock."""
        get, item = self.receiver(number), kind.make()

        def loop() -> int:
            count = 0
            for _ in range(self.stops):
                while (found := get()) is not None:
                    if kind.size >= 65_536:  # compared in place
                        same = memoryview(found).cast("B") == memoryview(item).cast("B")
                    else:
                        same = found == item
                    count += same
            return count

        return loop


class Views(Channel):
    """Ours, with big messages as views of shared memory."""

    def receiver(self, number: int = 0) -> Callable[[], Any]:
        """As above."""
        del number
        return partial(self.queue.get, copy=False)


class Threads(Channel):
    """``queue.Queue``: producers and consumers are threads of one process, and nothing is copied."""

    threads = True


class Connection(Channel):
    """The two ends of a pipe: one producer, one consumer."""

    def sender(self) -> Callable[[Any], Any]:
        """As above."""
        return self.queue[1].send  # type: ignore[no-any-return]

    def receiver(self, number: int = 0) -> Callable[[], Any]:
        """As above."""
        del number
        return self.queue[0].recv  # type: ignore[no-any-return]


class Many(Channel):
    """``put_many`` and ``get_many``, a hundred at a time; the end comes last in its list."""

    def producing(self, kind: Kind, count: int) -> Callable[[], None]:
        """As above."""
        items, put_many = [kind.make()] * 100, self.queue.put_many

        def loop() -> None:
            for _ in range(count // 100):
                put_many(items)

        return loop

    def consuming(self, number: int = 0) -> Callable[[], int]:
        """As above."""
        del number
        queue = self.queue
        get_many = partial(queue.get_many, max_messages_to_get=100) if "fifo" in type(queue).__module__ else None
        get_many = get_many or partial(queue.get_many, 100)

        def loop() -> int:
            count = -1  # for the end
            while count := count + len(items := get_many()):
                if items[-1] is None:
                    break
            return count

        return loop

    def comparing(self, kind: Kind, number: int = 0) -> Callable[[], int]:
        """As above, but counted only: the messages are those of the scenario of single ones."""
        del kind
        return self.consuming(number)


class Zmq(Channel):
    """pyzmq: each consumer binds a PULL socket, each producer has a PUSH socket to each of them, in turn."""

    def __init__(self, kind: Kind, producers: int, consumers: int) -> None:
        import zmq

        super().__init__(zmq)
        self.stops = producers
        rivals.FOLDER.mkdir(mode=0o700, exist_ok=True)
        self.names = [f"ipc://{rivals.FOLDER}/zmq-{next(NUMBERS)}-{id(self):x}" for _ in range(consumers)]
        self.copy = kind.size < 65_536
        self.high = (kind.bound + 1) // 2  # there are two queues, one on each side; 0 is any number
        self.sockets: list[Any] = []

    def sender(self) -> Callable[[Any], Any]:
        """As above; big buffers travel as parts of their own, not copied into the pickle."""
        zmq = self.queue
        self.context = zmq.Context()
        for name in self.names:
            socket = self.context.socket(zmq.PUSH)
            socket.setsockopt(zmq.SNDHWM, self.high)
            socket.connect(name)
            self.sockets.append(socket)
        turns = itertools.cycle([socket.send_multipart for socket in self.sockets])

        def put(item: Any) -> None:
            buffers: list[Any] = []
            head = pickle.dumps(item, protocol=5, buffer_callback=buffers.append)
            next(turns)([head, *buffers], copy=self.copy)

        return put

    def receiver(self, number: int = 0) -> Callable[[], Any]:
        """As above."""
        zmq = self.queue
        self.context = zmq.Context()
        socket = self.context.socket(zmq.PULL)
        socket.setsockopt(zmq.RCVHWM, self.high)
        socket.bind(self.names[number])
        receive, loads = socket.recv_multipart, pickle.loads

        def get() -> Any:
            head, *buffers = receive(copy=self.copy)
            return loads(head if self.copy else head.buffer, buffers=buffers)

        return get

    def flush(self) -> None:
        """Say the end to every consumer; the process must stay until they have it."""
        for socket in self.sockets:
            socket.send(pickle.dumps(None))

    def end(self, consumers: int) -> None:
        """The producers have said it; remove the names."""
        del consumers
        for name in self.names:
            rivals.Path(name.removeprefix("ipc://")).unlink(missing_ok=True)


class Ring(Channel):
    """The limit: C loops that copy messages of the same size in and out."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(rivals.build_limit("limit_ring").Ring(kind.bound or 1024, kind.size))
        self.size = kind.size

    def sender(self) -> Callable[[Any], Any]:
        """As above."""
        put, size = self.queue.put, self.size
        return lambda item: put(0 if item is None else size)

    def receiver(self, number: int = 0) -> Callable[[], Any]:
        """As above."""
        del number
        get = self.queue.get
        return lambda: get() or None

    def producing(self, kind: Kind, count: int) -> Callable[[], None]:
        """As above."""
        return partial(self.queue.put, kind.size, count)

    def consuming(self, number: int = 0) -> Callable[[], int]:
        """As above."""
        del number
        return self.queue.drain  # type: ignore[no-any-return]

    def comparing(self, kind: Kind, number: int = 0) -> Callable[[], int]:
        """As above; there is nothing to compare."""
        del kind
        return self.consuming(number)


def make(name: str, kind: Kind, producers: int = 1, consumers: int = 1) -> Channel:
    """Return a new channel.

    Raises:
        ImportError: the rival is not installed.
        OSError, subprocess.CalledProcessError: the limit cannot be compiled.
    """
    if name == RING:
        return Ring(kind)
    if name.startswith("pyzmq"):
        return Zmq(kind, producers, consumers)
    if name.startswith("faster_fifo"):
        import faster_fifo  # type: ignore[import-not-found,unused-ignore]

        fifo = faster_fifo.Queue(max_size_bytes=max(1_000_000, kind.bound * (kind.size + 1_000)))
        return Many(fifo) if name.endswith("many") else Channel(fifo)
    return of_the_library(name, kind)


def of_the_library(name: str, kind: Kind) -> Channel:
    """Return a channel of holdfast or of the standard library."""
    import multiprocessing
    import queue

    import holdfast

    makers: dict[str, Callable[[], Channel]] = {
        OURS: lambda: Channel(holdfast.Queue(kind.bound)),
        VIEWS: lambda: Views(holdfast.Queue(kind.bound)),
        MANY: lambda: Many(holdfast.Queue(kind.bound)),
        "holdfast.SimpleQueue": lambda: Channel(holdfast.SimpleQueue()),
        "holdfast.Pipe": lambda: Connection(holdfast.Pipe(duplex=False)),
        STANDARD: lambda: Channel(multiprocessing.Queue(kind.bound)),
        "multiprocessing.SimpleQueue": lambda: Channel(multiprocessing.SimpleQueue()),
        PIPE: lambda: Connection(multiprocessing.Pipe(duplex=False)),
        "queue.Queue in threads": lambda: Threads(queue.Queue(kind.bound)),
    }
    return makers[name]()


def available(names: list[str], kind: Kind) -> list[str]:
    """Return the rivals of ``names`` that are installed here, with a word on stderr about the others."""
    found = []
    for name in names:
        try:
            make(name, kind)
        except (ImportError, OSError, subprocess.CalledProcessError) as problem:
            print(f"left out: {name} ({problem})", file=sys.stderr)
        else:
            found.append(name)
    return found
