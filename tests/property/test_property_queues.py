"""Random calls through several handles of one queue, against a deque; and random crowds of processes against counting.

Handles are pickled copies. A timeout is never longer than a moment: the model knows beforehand whether a call can
succeed.
"""

from __future__ import annotations

import pickle
import queue
from collections import deque
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import holdfast

HANDLES = st.integers(0, 2)
TIMES: Any = st.sampled_from([{"block": False}, {"timeout": 0}, {"timeout": 0.001}, {}])
SIZES = st.sampled_from([0, 1, 100, 4_000, 70_000, 300_000, 1_200_000])
SHAPES = st.sampled_from(["number", "bytes", "tuple", "buffer", "text"])
BIG = 120_000  # bytes
CALLS = settings(max_examples=80, stateful_step_count=50, deadline=None, database=None)


def build(number: int, shape: str, size: int) -> Any:
    """Return an item; the same arguments give an equal one."""
    data = number.to_bytes(4, "little") * (size // 4 + 1)
    if shape == "number":
        return number
    if shape == "bytes":
        return data
    if shape == "text":
        return str(number) * (size // 4 + 1)
    return [number, pickle.PickleBuffer(data) if shape == "buffer" else data]


def plain(thing: Any) -> Any:
    """Return an item, or what arrived, in a form that can be compared."""
    if isinstance(thing, list):
        return [thing[0], bytes(thing[1])]
    return bytes(thing) if isinstance(thing, memoryview) else thing


def flat(thing: Any) -> Any:
    """Return what is big in an item that arrived, if anything is."""
    return thing[1] if isinstance(thing, list) else thing if isinstance(thing, bytes | str) else b""


class QueueMachine(RuleBasedStateMachine):
    """A queue is a deque with a limit, two counters and two flags."""

    def __init__(self) -> None:
        super().__init__()
        self.model: deque[Any] = deque()
        self.made = self.put_count = self.got_count = self.unfinished = self.limit = 0
        self.shut = False
        self.views: list[tuple[Any, Any]] = []

    @initialize(maxsize=st.sampled_from([0, 1, 2, 5]))
    def make(self, maxsize: int) -> None:
        """Start empty, with two copies."""
        self.limit = maxsize
        original = holdfast.JoinableQueue(maxsize)
        first = pickle.loads(pickle.dumps(original))
        self.handles = [original, first, pickle.loads(pickle.dumps(first))]

    def room(self) -> int:
        """Return how many items fit."""
        return self.limit - len(self.model) if self.limit else 1_000_000

    def new(self, shape: str, size: int) -> Any:
        """Return an item that was never there before."""
        self.made += 1
        return build(self.made, shape, size)

    def accept(self, items: list[Any]) -> None:
        """Put into the model."""
        self.model.extend(map(plain, items))
        self.put_count += len(items)
        self.unfinished += len(items)

    def deliver(self, items: list[Any], *, copy: bool) -> None:
        """Compare what arrived with the model; keep views to look at them again."""
        for item in items:
            expected = self.model.popleft()
            assert plain(item) == expected
            if not copy:
                self.views = [*self.views, (item, expected)][-5:]
        self.got_count += len(items)

    @rule(handle=HANDLES, shape=SHAPES, size=SIZES, times=TIMES)
    def put(self, handle: int, shape: str, size: int, times: dict[str, Any]) -> None:
        """Put one item."""
        item, box = self.new(shape, size), self.handles[handle]
        if self.shut:
            with pytest.raises(holdfast.ShutDown):
                box.put(item, **times)
        elif self.room() > 0:
            box.put(item, **times)
            self.accept([item])
        else:
            with pytest.raises(queue.Full):
                box.put(item, **(times or {"block": False}))

    @rule(handle=HANDLES, shape=SHAPES, size=SIZES, count=st.integers(0, 6), times=TIMES)
    def put_many(self, handle: int, shape: str, size: int, count: int, times: dict[str, Any]) -> None:
        """Put several; as many as fit are in."""
        items, box, room = [self.new(shape, size) for _ in range(count)], self.handles[handle], self.room()
        if self.shut and items:
            with pytest.raises(holdfast.ShutDown):
                box.put_many(items, **times)
        elif count <= room and not self.shut:
            box.put_many(items, **times)
            self.accept(items)
        elif not self.shut:
            with pytest.raises(queue.Full) as caught:
                box.put_many(items, **(times or {"timeout": 0}))
            assert caught.value.accepted == room  # type: ignore[attr-defined]
            self.accept(items[:room])

    @rule(handle=HANDLES, times=TIMES, copy=st.booleans())
    def get(self, handle: int, times: dict[str, Any], copy: bool) -> None:
        """Take one."""
        box = self.handles[handle]
        if self.model:
            self.deliver([box.get(**times, copy=copy)], copy=copy)
        else:
            with pytest.raises(holdfast.ShutDown if self.shut else queue.Empty):
                box.get(**(times or {"block": False}), copy=copy)

    @rule(handle=HANDLES, n=st.integers(1, 8), times=TIMES, copy=st.booleans())
    def get_many(self, handle: int, n: int, times: dict[str, Any], copy: bool) -> None:
        """Take what is there, up to n."""
        box = self.handles[handle]
        if self.model:
            got = box.get_many(n, **times, copy=copy)
            most = min(n, len(self.model))
            assert len(got) == most or (copy and got and len(flat(got[-1])) > BIG)  # a batch may end after a big item
            self.deliver(got, copy=copy)
        else:
            with pytest.raises(holdfast.ShutDown if self.shut else queue.Empty):
                box.get_many(n, **(times or {"block": False}), copy=copy)

    @rule(handle=HANDLES)
    def task_done(self, handle: int) -> None:
        """Finish a task; more than there were is an error."""
        if self.unfinished:
            self.handles[handle].task_done()
            self.unfinished -= 1
        else:
            with pytest.raises(ValueError, match="too many times"):
                self.handles[handle].task_done()
            self.handles[handle].join()

    @precondition(lambda self: self.made > 12)
    @rule(handle=HANDLES, immediate=st.booleans())
    def shutdown(self, handle: int, immediate: bool) -> None:
        """Shut down; immediately means that the rest is dropped and counted as finished."""
        self.handles[handle].shutdown(immediate)
        self.shut = True
        if immediate:
            self.unfinished = max(0, self.unfinished - len(self.model))
            self.model.clear()

    @rule(handle=HANDLES)
    def exchange_handle(self, handle: int) -> None:
        """Drop a handle for a copy of another."""
        self.handles[handle] = pickle.loads(pickle.dumps(self.handles[handle - 1]))

    @rule()
    def drop_views(self) -> None:
        """Give the blocks back."""
        self.views.clear()

    @invariant()
    def every_handle_sees_the_same(self) -> None:
        """Sizes are exact, views unchanged."""
        for box in getattr(self, "handles", []):
            size = len(self.model)
            assert (box.qsize(), box.empty(), box.full()) == (size, not size, 0 < self.limit <= size)
        for view, expected in self.views:
            assert plain(view) == expected


TestQueue = QueueMachine.TestCase
TestQueue.settings = CALLS


def produce(box: Any, writer: int, sizes: list[int], batch: int) -> None:
    """Put items of these sizes, one by one or in batches."""
    items = [(writer, number, bytes([writer]) * size) for number, size in enumerate(sizes)]
    if batch == 1:
        for item in items:
            box.put(item)
    for start in range(0, len(items) if batch > 1 else 0, batch):
        box.put_many(items[start : start + batch])


def consume(box: Any, conn: Any, batch: int, copy: bool) -> None:
    """Take items until the queue is shut down; tell which they were."""
    found = []
    while True:
        try:
            got = box.get_many(batch, copy=copy) if batch > 1 else [box.get(copy=copy)]
        except holdfast.ShutDown:
            break
        found += [
            (writer, number, len(data), bytes(data) == bytes([writer]) * len(data)) for writer, number, data in got
        ]
    conn.send(found)
    conn.close()


@settings(max_examples=20, deadline=None, database=None)
@given(
    maxsize=st.sampled_from([0, 1, 3, 20]),
    writers=st.lists(
        st.tuples(st.lists(st.sampled_from([0, 10, 3_000, 90_000, 500_000]), max_size=60), st.sampled_from([1, 2, 25])),
        min_size=1,
        max_size=4,
    ),
    readers=st.lists(st.tuples(st.sampled_from([1, 3, 100]), st.booleans()), min_size=1, max_size=4),
)
def test_queue_of_several_processes_each_item_arrives_once_and_in_its_producers_order(
    maxsize: int, writers: list[tuple[list[int], int]], readers: list[tuple[int, bool]]
) -> None:
    """Each reader sees each writer's items in order; together they see everything."""
    context = holdfast.get_context("fork")
    box = context.Queue(maxsize)
    crowd, ends = [], []
    for batch, copy in readers:
        here, there = context.Pipe(duplex=False)
        crowd.append(context.Process(target=consume, args=(box, there, batch, copy)))
        crowd[-1].start()
        there.close()
        ends.append(here)
    producers = [context.Process(target=produce, args=(box, w, *each)) for w, each in enumerate(writers)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
        assert producer.exitcode == 0
    box.shutdown()
    found = []
    for end, reader in zip(ends, crowd, strict=True):
        mine = end.recv()
        end.close()
        reader.join()
        for writer in range(len(writers)):
            numbers = [number for who, number, *_rest in mine if who == writer]
            assert numbers == sorted(numbers)
        found += mine
    expected = [(w, n, size, True) for w, (sizes, _batch) in enumerate(writers) for n, size in enumerate(sizes)]
    assert sorted(found) == expected
