"""Pipes: real connections, whose big messages lie in blocks of shared memory."""

import multiprocessing
import pickle
import select
import threading
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import _core, pipes

BIG = 1 << 20


@pytest.fixture(params=[True, False])
def ends(request):
    """Both kinds of pipe: the reading end and the writing one."""
    reading, writing = holdfast.Pipe(request.param)
    with reading, writing:
        yield reading, writing


OBJECTS = [
    1,
    None,
    b"small",
    b"x" * BIG,
    bytearray(b"y" * BIG),
    "ä" * BIG,
    [b"z" * BIG, {"a": b"w" * BIG}],
    pickle.dumps(b"a pickle of its own" * BIG),
]


@pytest.mark.parametrize("item", OBJECTS, ids=range(len(OBJECTS)))
def test_pipe_any_object_arrives_as_it_was(ends, item):
    reading, writing = ends
    sender = threading.Thread(target=writing.send, args=(item,))
    sender.start()
    got = reading.recv()
    sender.join()
    assert type(got) is type(item)
    assert got == item


@pytest.mark.parametrize("item", OBJECTS, ids=range(len(OBJECTS)))
def test_pipe_with_too_much_under_way_sends_through_the_pipe(ends, item, monkeypatch):
    monkeypatch.setattr(pipes, "_MOST_BYTES", 0)
    reading, writing = ends
    sender = threading.Thread(target=writing.send, args=(item,))
    sender.start()
    got = reading.recv()
    sender.join()
    assert type(got) is type(item)
    assert got == item


def test_pipe_far_ahead_of_its_reader_every_message_arrives_in_order(ends):
    reading, writing = ends
    count = (80 << 20) // BIG  # more than may be under way outside of the pipe

    def send():
        for number in range(count):
            writing.send(bytes([number]) * BIG)

    sender = threading.Thread(target=send)
    sender.start()
    for number in range(count):
        assert reading.recv() == bytes([number]) * BIG
    sender.join()


def test_pipe_array_arrives_as_a_writable_copy(ends):
    reading, writing = ends
    array = np.arange(BIG)
    writing.send(array)
    got = reading.recv()
    got[0] = 7
    assert (got[1:] == array[1:]).all()
    assert array[0] == 0


def test_pipe_object_that_cannot_be_pickled_raises_and_sends_nothing(ends):
    reading, writing = ends
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        writing.send(lambda: None)
    assert not reading.poll()
    writing.send("good")
    assert reading.recv() == "good"


def test_pipe_raw_bytes_of_any_size_are_what_was_sent(ends):
    reading, writing = ends
    sender = threading.Thread(target=writing.send_bytes, args=(b"r" * BIG,))
    sender.start()
    into = bytearray(BIG)
    assert reading.recv_bytes_into(into) == BIG
    sender.join()
    assert into == b"r" * BIG


def test_pipe_is_a_real_one_for_select_and_wait(ends):
    reading, writing = ends
    assert select.select([reading], [], [], 0)[0] == []
    writing.send(b"x" * BIG)
    assert select.select([reading], [], [], 0)[0] == [reading]
    assert multiprocessing.connection.wait([reading], 0) == [reading]
    assert reading.recv() == b"x" * BIG


def test_pipe_closed_writer_gives_end_of_file_after_the_last_message(ends):
    reading, writing = ends
    writing.send(b"x" * BIG)
    writing.close()
    assert reading.recv() == b"x" * BIG
    with pytest.raises(EOFError):
        reading.recv()
    with pytest.raises(OSError, match="closed"):
        writing.send(1)


def giver(writing):
    writing.send(np.arange(BIG))
    writing.close()


def test_pipe_big_message_outlives_its_sender(context):
    reading, writing = context.Pipe(duplex=False)
    process = context.Process(target=giver, args=(writing,))
    process.start()
    writing.close()
    process.join()
    assert reading.recv().sum() == np.arange(BIG).sum()
    with pytest.raises(EOFError):
        reading.recv()
    reading.close()


def test_pipe_message_nobody_read_gives_its_memory_back_with_the_ends():
    reading, writing = holdfast.Pipe()
    _core.release_cache()  # what earlier tests left warm would be used again and hide the growth
    before = store_bytes()
    for _ in range(8):
        writing.send(b"x" * (4 * BIG))
    assert store_bytes() >= before + 8 * 4 * BIG
    reading.close()
    writing.close()
    del reading, writing
    _core.release_cache()
    assert store_bytes() <= before


def store_bytes():
    arena = Path(_core.arena_stats()["path"])
    store = arena.with_name(f"b-{arena.name}-store")
    return store.stat().st_blocks * 512 if store.exists() else 0


def test_pipe_message_read_twice_says_that_it_is_gone(ends):
    reading, writing = ends
    writing.send(b"x" * BIG)
    message = reading.recv_bytes()
    assert pickle.loads(message) == b"x" * BIG
    with pytest.raises(holdfast.HandleGone):
        pickle.loads(message)


def test_pipe_end_sent_through_a_queue_still_works(ends):
    reading, writing = ends
    queue = holdfast.Queue()
    queue.put(writing)
    with queue.get() as again:
        again.send(b"x" * BIG)
        assert reading.recv() == b"x" * BIG
