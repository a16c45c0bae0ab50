"""What goes through a queue: everything that can be pickled, whole; and what poison costs: only itself."""

import gc
import os
import pickle
import queue
import sys
import threading

import numpy as np
import pytest

import holdfast
from holdfast import errors

MIB = 1 << 20
KINDS = ["Queue", "JoinableQueue", "SimpleQueue"]


class Name(bytes):
    """Bytes with something more."""

    def __new__(cls, value, more=None):
        self = super().__new__(cls, value)
        self.more = more
        return self


class Text(str):
    __slots__ = ()


def nested(depth):
    thing = []
    for _ in range(depth):
        thing = [thing]
    return thing


THINGS = {
    "none": None,
    "empty bytes": b"",
    "empty text": "",
    "small": (1, 2.5, "x", b"y", [True, None], {"k": {3}}),
    "huge int": 7**40_000,
    "negative huge int": -(1 << 100_000),
    "edge ints": [1 << bits for bits in range(130)] + [-(1 << bits) for bits in range(130)],
    "surrogates": "a\ud800b\udfff",
    "surrogate keys": {"\udcff": b"\xff"},
    "nul": "\0" * 1000,
    "many bytes": bytes(range(256)) * 40_000,
    "bytearray": bytearray(b"abc" * MIB),
    "long text": "\N{SNOWMAN}" * MIB,
    "bytes subclass": Name(b"z" * 100, more=5),
    "big bytes subclass": Name(b"z" * 3 * MIB, more=[6]),
    "text subclass": Text("t" * 70_000),
    "nested": nested(200),
    "exception": (ValueError("x", 1),),
    "nan": (float("inf"), -0.0),
    "complex": 3 + 4j,
    "type": dict,
    "ellipsis": ...,
}
for size in (1, 100, 4_095, 4_096, 4_097, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1, 5 * MIB):
    THINGS[f"{size} bytes"] = os.urandom(size)

ARRAYS = {
    "contiguous": np.arange(300_000, dtype=np.float64),
    "small": np.arange(7, dtype=np.int8),
    "fortran": np.asfortranarray(np.arange(600_000).reshape(600, 1000)),
    "strided": np.arange(600_000)[::3],
    "reversed": np.arange(300_000)[::-1],
    "no size": np.empty((0, 5)),
    "no dimension": np.array(3.5),
    "structured": np.zeros(50_000, dtype=[("a", "i4"), ("b", "f8")]),
    "text": np.array(["abc", "de"] * 50_000),
    "objects": np.array([None, "x", 3], dtype=object),
    "big endian": np.arange(300_000, dtype=">i8"),
}


@pytest.fixture(params=KINDS)
def box(request):
    return getattr(holdfast, request.param)()


@pytest.mark.parametrize("name", THINGS)
def test_object_of_any_kind_arrives_equal_and_of_its_type(box, name):
    thing = THINGS[name]
    box.put(thing)
    got = box.get()
    assert type(got) is type(thing)
    assert getattr(got, "more", None) == getattr(thing, "more", None)
    assert got == thing if name != "exception" else repr(got) == repr(thing)


@pytest.mark.parametrize("name", THINGS)
def test_object_of_any_kind_taken_without_copy_is_equal(name):
    box = holdfast.Queue()
    thing = THINGS[name]
    box.put(thing)
    got = box.get(copy=False)
    assert got == thing if name != "exception" else repr(got) == repr(thing)
    if isinstance(got, memoryview):
        assert got.readonly
        assert type(thing) is bytes


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("name", ARRAYS)
def test_array_of_any_layout_arrives_equal(box, name, copy):
    array = ARRAYS[name]
    box.put(array)
    got = box.get(copy=copy)
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert (got == array).all()
    if copy:
        got[...] = got[::-1] if got.ndim else got  # writable, as after any pickle


@pytest.mark.parametrize("copy", [True, False])
def test_array_read_only_arrives_equal(copy):
    box = holdfast.Queue()
    array = np.arange(300_000)
    array.flags.writeable = False
    box.put(array)
    assert (box.get(copy=copy) == array).all()


def test_array_changed_after_put_arrives_as_it_was(box):
    array = np.zeros(MIB)
    box.put(array)
    array[:] = 1
    assert not box.get().any()


def test_view_without_copy_is_read_only_and_keeps_its_content_while_others_come():
    box = holdfast.Queue()
    expected = np.arange(MIB)
    box.put(expected)
    view = box.get(copy=False)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    for number in range(10):
        box.put(np.full(MIB, number))
        assert box.get()[0] == number
    assert (view == expected).all()


def test_view_of_bytes_without_copy_outlives_its_queue():
    box = holdfast.Queue()
    data = os.urandom(3 * MIB)
    box.put(data)
    view = box.get(copy=False)
    assert isinstance(view, memoryview)
    assert view.readonly
    del box
    gc.collect()
    assert view == data
    view.release()


def test_views_without_copy_of_many_items_are_all_right():
    box = holdfast.Queue()
    arrays = [np.full(100_000, number) for number in range(20)]
    box.put_many(arrays)
    views = box.get_many(20, copy=False)
    assert all((view == array).all() for view, array in zip(views, arrays, strict=True))


@pytest.mark.parametrize("size", [0, 10, 2 * MIB])
def test_pickle_buffers_in_a_tuple_arrive_equal(box, size):
    data = os.urandom(size)
    box.put((1, pickle.PickleBuffer(data), pickle.PickleBuffer(bytearray(data)), data))
    one, first, second, third = box.get()
    assert (one, bytes(first), bytes(second), third) == (1, data, data, data)


def test_pickle_buffer_that_is_not_contiguous_raises_or_arrives(box):
    strided = pickle.PickleBuffer(memoryview(bytes(100))[::2])
    try:
        box.put(strided)
    except (pickle.PicklingError, BufferError):
        assert box.empty()
    else:
        assert bytes(box.get()) == bytes(50)


def test_recursive_object_arrives_recursive(box):
    thing = [1]
    thing.append(thing)
    box.put(thing)
    got = box.get()
    assert got[1] is got


def test_object_nested_too_deep_raises_in_put_and_next_item_arrives(box):
    with pytest.raises(RecursionError):
        box.put(nested(sys.getrecursionlimit() * 100))
    box.put("good")
    assert box.get() == "good"


def test_locks_inside_an_object_are_the_same_locks(box):
    lock, event = holdfast.Lock(), holdfast.Event()
    box.put({"lock": lock, "more": [event, bytes(MIB)]})
    got = box.get()
    with got["lock"]:
        assert not lock.acquire(False)
    got["more"][0].set()
    assert event.is_set()


def test_lock_in_a_queue_outlives_its_maker(box):
    box.put(holdfast.Lock())
    gc.collect()
    others = [holdfast.Lock() for _ in range(50)]
    with box.get():
        assert all(other.acquire(False) for other in others)
    for other in others:
        other.release()


def test_queue_in_itself_arrives_as_itself(box):
    box.put(box)
    box.put("second")
    got = box.get()
    assert got.get() == "second"
    got.put("third")
    assert box.get() == "third"


def test_queue_in_a_queue_in_a_queue_keeps_its_items():
    outer, inner, innermost = holdfast.Queue(), holdfast.SimpleQueue(), holdfast.JoinableQueue()
    innermost.put("deep")
    inner.put(innermost)
    outer.put(inner)
    del inner, innermost
    gc.collect()
    assert outer.get().get().get() == "deep"


class Poison:
    """Does something bad when it is pickled, or when it is loaded."""

    def __init__(self, when, deed):
        self.when, self.deed = when, deed

    def __reduce__(self):
        if self.when == "dump":
            self.deed()
        return act, (self.deed,)


def act(deed):
    return deed()


def raise_lookup_error():
    msg = "poison"
    raise LookupError(msg)


def exit_quietly():
    sys.exit(0)


def interrupt():
    raise KeyboardInterrupt


def crash():
    os.abort()


def end_at_once():
    os._exit(7)


RAISING = [(raise_lookup_error, LookupError), (exit_quietly, SystemExit), (interrupt, KeyboardInterrupt)]


@pytest.mark.parametrize(("deed", "error"), RAISING, ids=lambda value: value.__name__)
def test_object_that_raises_when_pickled_raises_in_put_and_touches_nothing(box, deed, error):
    box.put(1)
    with pytest.raises(error):
        box.put(Poison("dump", deed))
    with pytest.raises(error):
        box.put((bytes(MIB), Poison("dump", deed)))
    box.put(2)
    assert [box.get(), box.get()] == [1, 2]
    assert box.empty()


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize(("deed", "error"), RAISING, ids=lambda value: value.__name__)
def test_object_that_raises_when_loaded_costs_only_itself(box, deed, error, copy):
    box.put(1)
    box.put((bytes(MIB), np.zeros(MIB), Poison("load", deed)))
    box.put(2)
    assert box.get(copy=copy) == 1
    with pytest.raises(error):
        box.get(copy=copy)
    assert box.get(copy=copy) == 2
    assert box.empty()


def test_object_that_raises_when_loaded_by_get_many_does_not_take_the_others_along(box):
    box.put_many([1, 2, Poison("load", raise_lookup_error), 3])
    with pytest.raises(errors.ItemsBroken, match="HF203") as caught:
        box.get_many(10)
    assert caught.value.items == [1, 2, 3]
    assert [type(error) for error in caught.value.errors] == [LookupError]
    assert box.empty()


def put_poison(box, deed):
    box.put(Poison("dump", deed))


def get_poison(box):
    box.get()


@pytest.mark.parametrize("deed", [crash, end_at_once])
def test_object_that_ends_its_writer_when_pickled_harms_nobody(context, box, deed):
    process = context.Process(target=put_poison, args=(box, deed))
    process.start()
    process.join()
    assert process.exitcode in (-6, 7)
    assert box.empty()
    box.put("good")
    assert box.get() == "good"
    process.close()


@pytest.mark.parametrize("deed", [crash, end_at_once])
def test_object_that_ends_its_reader_when_loaded_harms_nobody_else(context, box, deed):
    box.put(Poison("load", deed))
    process = context.Process(target=get_poison, args=(box,))
    process.start()
    process.join()
    assert process.exitcode in (-6, 7)
    box.put("good")
    found = box.get(timeout=10)
    if isinstance(found, str):
        assert found == "good"
    assert box.empty()
    process.close()


@pytest.mark.parametrize(
    "thing", [lambda: None, threading.Lock(), (number for number in range(3)), sys.stdout, sys._getframe()]
)
def test_object_that_cannot_be_pickled_raises_in_put(box, thing):
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        box.put(thing)
    assert box.empty()


class PutsMore:
    """Uses the same queue while it is pickled and while it is loaded."""

    def __init__(self, box):
        self.box = box

    def __reduce__(self):
        self.box.put("while pickling")
        return use_again, (self.box,)


def use_again(box):
    return box.get_nowait()


def test_object_that_uses_its_queue_while_it_travels_works():
    box = holdfast.Queue()
    box.put(PutsMore(box))
    box.put("last")
    assert box.get() == "while pickling"
    assert box.get() == "last"
    with pytest.raises(queue.Empty):
        box.get_nowait()


class Cyclic:
    """Garbage that only the collector finds, and whose finalizer uses a queue."""

    def __init__(self, queue, told):
        self.me, self.queue, self.told = self, queue, told

    def __del__(self):
        self.queue.put("a finalizer's")
        self.told.append(1)


@pytest.mark.parametrize("copy", [True, False])
def test_queue_used_by_a_finalizer_during_get_is_not_locked_by_it(copy):
    queue, told = holdfast.Queue(), []
    array = np.zeros(1 << 16)
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(20):
            queue.put([array, array])
            Cyclic(queue, told)
            assert queue.get(copy=copy) is not None
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(told) == 20
