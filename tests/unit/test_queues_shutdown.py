"""shutdown(): what `queue.Queue` of CPython 3.13 documents, for all handles and threads of a queue."""

import pickle
import queue

import pytest
from asleep import Caller

import holdfast

KINDS = ["Queue", "JoinableQueue"]
IMMEDIATE = pytest.mark.parametrize("immediate", [False, True], ids=["gently", "immediate"])


@pytest.fixture(params=KINDS)
def make(request):
    return getattr(holdfast, request.param)


def refuses_everything(box):
    """Assert that neither putting nor getting is possible any more."""
    calls = [
        lambda: box.put("never"),
        lambda: box.put("never", block=False),
        lambda: box.put("never", timeout=0.01),
        lambda: box.put_nowait("never"),
        lambda: box.put_many(["never"]),
        box.get,
        box.get_nowait,
        lambda: box.get(timeout=0.01),
        lambda: box.get_many(3),
    ]
    for call in calls:
        with pytest.raises(holdfast.ShutDown):
            call()
    assert (box.qsize(), box.empty()) == (0, True)


def test_shut_down_error_is_queues_own_where_there_is_one():
    standard = getattr(queue, "ShutDown", Exception)
    assert issubclass(holdfast.ShutDown, standard)


@IMMEDIATE
def test_shutdown_of_an_empty_queue_everything_raises(make, immediate):
    box = make()
    box.shutdown(immediate=immediate)
    refuses_everything(box)


def test_shutdown_gently_items_can_still_be_got(make):
    box = make()
    box.put_many([1, 2, 3])
    box.shutdown()
    with pytest.raises(holdfast.ShutDown):
        box.put(4)
    assert [box.get(), *box.get_many(5)] == [1, 2, 3]
    refuses_everything(box)


def test_shutdown_immediate_items_are_gone(make):
    box = make()
    box.put_many([1, 2, bytes(1 << 20)])
    box.shutdown(True)
    refuses_everything(box)


def test_shutdown_twice_gentle_then_immediate_empties(make):
    box = make()
    box.put_many([1, 2, 3])
    box.shutdown()
    box.shutdown()
    assert box.get() == 1
    box.shutdown(immediate=True)
    refuses_everything(box)
    box.shutdown()
    refuses_everything(box)


def test_shutdown_of_a_full_queue_put_raises_shut_down_not_full(make):
    box = make(1)
    box.put(1)
    box.shutdown()
    with pytest.raises(holdfast.ShutDown):
        box.put_nowait(2)
    assert box.get_nowait() == 1


@IMMEDIATE
def test_shutdown_waiting_readers_all_raise(make, immediate):
    box = make()
    readers = [Caller(box.get).waits(), Caller(box.get, timeout=60).waits(), Caller(box.get_many).waits()]
    box.shutdown(immediate)
    for reader in readers:
        with pytest.raises(holdfast.ShutDown):
            reader.outcome()


@IMMEDIATE
def test_shutdown_waiting_writers_all_raise_and_add_nothing(make, immediate):
    box = make(1)
    box.put("in")
    writers = [Caller(box.put, 2).waits(), Caller(box.put, 3, timeout=60).waits(), Caller(box.put_many, [4, 5]).waits()]
    box.shutdown(immediate)
    for writer in writers:
        with pytest.raises(holdfast.ShutDown):
            writer.outcome()
    if not immediate:
        assert box.get() == "in"
    refuses_everything(box)


@IMMEDIATE
def test_shutdown_through_another_handle_counts_for_all(make, immediate):
    box = make()
    copy = pickle.loads(pickle.dumps(box))
    copy.shutdown(immediate)
    refuses_everything(box)


def test_shutdown_immediate_wakes_join():
    box = holdfast.JoinableQueue()
    box.put_many([1, 2, 3])
    caller = Caller(box.join).waits()
    box.shutdown(immediate=True)
    assert caller.outcome() is None


def test_shutdown_immediate_one_task_begun_join_waits_for_it():
    box = holdfast.JoinableQueue()
    box.put_many([1, 2, 3])
    assert box.get() == 1
    box.shutdown(immediate=True)
    caller = Caller(box.join).waits()
    assert caller.is_alive()
    box.task_done()
    assert caller.outcome() is None
    with pytest.raises(ValueError, match="too many times"):
        box.task_done()


def test_shutdown_gently_join_waits_for_all_tasks():
    box = holdfast.JoinableQueue()
    box.put_many([1, 2])
    box.shutdown()
    caller = Caller(box.join).waits()
    for number in (1, 2):
        assert box.get() == number
        box.task_done()
    assert caller.outcome() is None


def test_iteration_ends_when_shut_down_and_empty(make):
    box = make()
    box.put_many(range(5))
    box.shutdown()
    assert list(box) == list(range(5))
    assert list(box) == []


def test_iteration_of_a_waiting_thread_ends_with_shutdown(make):
    box = make()
    caller = Caller(lambda: list(box))
    box.put_many(range(3))
    caller.waits()
    box.shutdown()
    assert caller.outcome() == [0, 1, 2]


def take_until_shut_down(box, conn):
    conn.send("ready")
    conn.send(list(box))


def test_shutdown_readers_of_other_processes_end(context, make):
    box = make()
    members = []
    for _ in range(2):
        here, there = context.Pipe()
        process = context.Process(target=take_until_shut_down, args=(box, there))
        process.start()
        there.close()
        assert here.recv() == "ready"
        members.append((process, here))
    box.put_many(range(20))
    box.shutdown()
    found = []
    for process, conn in members:
        found += conn.recv()
        conn.close()
        process.join()
        process.close()
    assert sorted(found) == list(range(20))
