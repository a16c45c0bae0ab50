"""The contract of Queue, JoinableQueue and SimpleQueue in one process: order, room, timeouts, closing, names."""

import math
import pickle
import queue

import pytest
from asleep import Caller

import holdfast
from holdfast import errors

KINDS = ["Queue", "JoinableQueue", "SimpleQueue"]
BOUNDED = KINDS[:2]


@pytest.fixture(params=KINDS)
def box(request):
    return getattr(holdfast, request.param)()


@pytest.fixture(params=BOUNDED)
def small(request):
    """A queue with room for two."""
    return getattr(holdfast, request.param)(2)


def test_queue_items_put_arrive_in_order(box):
    for number in range(1000):
        box.put(number)
    assert [box.get() for _ in range(1000)] == list(range(1000))
    assert box.empty()


def test_queue_sizes_after_each_step_are_exact(small):
    seen = [(small.qsize(), small.empty(), small.full())]
    for step in (small.put, small.put, lambda _: small.get(), lambda _: small.get()):
        step(0)
        seen.append((small.qsize(), small.empty(), small.full()))
    assert seen == [(0, True, False), (1, False, False), (2, False, True), (1, False, False), (0, True, False)]


@pytest.mark.parametrize("maxsize", [0, -1, -5])
def test_queue_maxsize_not_positive_is_unlimited(maxsize):
    box = holdfast.Queue(maxsize)
    for number in range(5000):
        box.put_nowait(number)
    assert (box.qsize(), box.full()) == (5000, False)


@pytest.mark.parametrize("maxsize", ["2", 1.5, None])
def test_queue_maxsize_that_is_no_number_is_refused(maxsize):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        holdfast.Queue(maxsize)


@pytest.mark.parametrize(
    "put",
    [
        lambda box: box.put(3, False),
        lambda box: box.put(3, block=False),
        lambda box: box.put(3, True, 0),
        lambda box: box.put(3, timeout=0.01),
        lambda box: box.put_nowait(3),
        lambda box: box.put(3, False, 60),
    ],
)
def test_queue_full_put_raises_full_and_changes_nothing(small, put):
    small.put(1)
    small.put(2)
    with pytest.raises(queue.Full):
        put(small)
    assert [small.get(), small.get()] == [1, 2]
    assert small.empty()


@pytest.mark.parametrize(
    "get",
    [
        lambda box: box.get(False),
        lambda box: box.get(block=False),
        lambda box: box.get(True, 0),
        lambda box: box.get(timeout=0.01),
        lambda box: box.get_nowait(),
        lambda box: box.get(False, 60),
        lambda box: box.get_many(5, False),
        lambda box: box.get_many(5, timeout=0.01),
    ],
)
def test_queue_empty_get_raises_empty_and_next_item_arrives(box, get):
    with pytest.raises(queue.Empty):
        get(box)
    box.put("next")
    assert box.get() == "next"


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, -math.inf])
def test_queue_timeout_that_is_no_time_is_bad_timeout(small, timeout):
    calls = [
        lambda: small.get(timeout=timeout),
        lambda: small.put(1, timeout=timeout),
        lambda: small.put_many([1], timeout=timeout),
        lambda: small.get_many(timeout=timeout),
    ]
    for call in calls:
        with pytest.raises(errors.BadTimeout, match="HF106"):
            call()
    assert small.empty()


def test_queue_put_many_no_room_in_time_says_how_many_are_in():
    box = holdfast.Queue(3)
    with pytest.raises(queue.Full) as caught:
        box.put_many(range(5), timeout=0.01)
    assert caught.value.accepted == 3
    with pytest.raises(queue.Full) as caught:
        box.put_many("ab", block=False)
    assert caught.value.accepted == 0
    assert box.get_many(10) == [0, 1, 2]


def test_queue_put_many_more_than_fits_goes_in_as_room_comes():
    box = holdfast.Queue(3)
    caller = Caller(box.put_many, range(50))
    assert [box.get() for _ in range(50)] == list(range(50))
    assert caller.outcome() is None


def test_queue_put_many_bad_object_among_them_puts_nothing_after_it():
    box = holdfast.Queue()
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        box.put_many([1, lambda: None, 3])
    assert 3 not in ([] if box.empty() else box.get_many())


def test_queue_put_many_iterator_that_raises_passes_the_error_on():
    box = holdfast.Queue()

    def items():
        yield 1
        raise LookupError

    with pytest.raises(LookupError):
        box.put_many(items())
    assert box.qsize() in (0, 1)


def test_queue_get_many_takes_what_is_there_and_no_more(box):
    box.put_many(range(7))
    assert [box.get_many(3), box.get_many(3), box.get_many(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    box.put_many(range(300))
    assert (len(box.get_many()), len(box.get_many(n=1000))) == (100, 200)


def test_queue_get_many_of_nothing_returns_nothing_and_takes_nothing(box):
    assert box.get_many(0) == []
    box.put(1)
    assert box.get_many(0) == []
    assert box.get() == 1


@pytest.mark.parametrize("n", [-1, "3", 1.5])
def test_queue_get_many_of_no_number_is_refused_and_takes_nothing(box, n):
    box.put(1)
    with pytest.raises((TypeError, ValueError)):
        box.get_many(n)
    assert box.get() == 1


def test_queue_get_waits_for_an_item_of_another_thread(box):
    caller = Caller(box.get).waits()
    box.put("late")
    assert caller.outcome() == "late"


def test_queue_get_many_waits_for_the_first_item_only(box):
    caller = Caller(box.get_many, 5).waits()
    box.put("late")
    assert caller.outcome() == ["late"]


def test_queue_put_waits_for_room_made_by_another_thread(small):
    small.put_many([1, 2])
    caller = Caller(small.put, 3).waits()
    assert small.get() == 1
    assert caller.outcome() is None
    assert small.get_many(5) == [2, 3]


def test_queue_many_threads_each_item_arrives_once(box):
    readers = [Caller(lambda: list(iter(box.get, None))) for _ in range(4)]
    writers = [Caller(lambda first=first: box.put_many(range(first, first + 500))) for first in range(0, 2000, 500)]
    for writer in writers:
        writer.outcome()
    box.put_many([None] * 4)
    found = [reader.outcome() for reader in readers]
    assert sorted(number for part in found for number in part) == list(range(2000))
    for part in found:
        for first in range(0, 2000, 500):
            mine = [number for number in part if first <= number < first + 500]
            assert mine == sorted(mine)


def test_queue_closed_put_and_get_raise_value_error(box):
    box.put(1)
    box.close()
    for call in (lambda: box.put(2), box.get, lambda: box.put_many([2]), box.get_many):
        with pytest.raises(ValueError, match=r"HF105|closed"):
            call()
    box.close()


@pytest.mark.parametrize("kind", BOUNDED)
def test_queue_closed_join_thread_and_cancel_return_at_once(kind):
    box = getattr(holdfast, kind)()
    box.put(1)
    box.cancel_join_thread()
    box.close()
    box.join_thread()
    box.cancel_join_thread()


def test_queue_join_thread_before_close_is_an_error_as_in_multiprocessing():
    with pytest.raises((AssertionError, ValueError)):
        holdfast.Queue().join_thread()


def test_queue_closed_here_copy_goes_on():
    box = holdfast.Queue()
    copy = pickle.loads(pickle.dumps(box))
    box.put(1)
    box.close()
    copy.put(2)
    assert copy.get_many(5) == [1, 2]


def test_joinable_queue_task_done_too_often_is_value_error():
    box = holdfast.JoinableQueue()
    with pytest.raises(ValueError, match="too many times"):
        box.task_done()
    box.put(1)
    box.task_done()
    with pytest.raises(ValueError, match="too many times"):
        box.task_done()
    assert box.get() == 1


def test_joinable_queue_join_waits_for_the_last_task():
    box = holdfast.JoinableQueue()
    box.join()
    box.put_many(range(3))
    caller = Caller(box.join).waits()
    for _ in range(3):
        assert caller.is_alive()
        box.get()
        box.task_done()
    assert caller.outcome() is None


def test_queue_same_name_second_maker_gets_the_same_queue():
    first = holdfast.Queue(3, name="test-queue")
    second = holdfast.Queue(3, name="test-queue")
    first.put("x")
    assert second.get(timeout=10) == "x"
    assert first.stats().name == "test-queue"


@pytest.mark.parametrize(
    "other",
    [
        lambda: holdfast.Queue(4, name="test-queue-clash"),
        lambda: holdfast.Queue(name="test-queue-clash"),
        lambda: holdfast.JoinableQueue(3, name="test-queue-clash"),
        lambda: holdfast.SimpleQueue(name="test-queue-clash"),
        lambda: holdfast.Lock("test-queue-clash"),
    ],
)
def test_queue_same_name_with_another_maxsize_or_kind_is_refused(other):
    first = holdfast.Queue(3, name="test-queue-clash")
    with pytest.raises(errors.NameClash, match="HF111"):
        other()
    assert first.empty()


def test_queue_stats_after_use_count_what_happened():
    box = holdfast.Queue(5)
    box.put_many("abc")
    box.get()
    told = box.stats()
    assert (told.kind, told.maxsize, told.size, told.put, told.got) == ("Queue", 5, 2, 3, 1)
    assert told.created.rpartition(":")[0].endswith("test_queues.py")
    with pytest.raises(AttributeError):
        told.size = 0


def test_queue_stats_of_a_waiting_reader_name_this_process():
    box = holdfast.Queue()
    caller = Caller(box.get).waits()
    assert box.stats().waiters
    box.put(1)
    caller.outcome()
    assert not box.stats().waiters


def test_queue_of_a_context_is_the_same_class(context):
    assert isinstance(context.Queue(2), type(holdfast.Queue()))
    assert isinstance(context.JoinableQueue(), type(holdfast.JoinableQueue()))
    assert isinstance(context.SimpleQueue(), type(holdfast.SimpleQueue()))


def test_queue_repr_names_its_kind(box):
    assert type(box).__name__ in repr(box)
