"""Tasks with big arguments travel few in a batch, however many they are."""

import os
import signal

import pytest

import holdfast
from holdfast.crew import cargo
from holdfast.crew.plan import Hand, Job, Plan, Shelf
from holdfast.errors import WorkerDied

SIZE = 300_000  # bytes


def first_byte(data):
    if data[0] == 5 and data[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return data[0]


def heavy(count, deadly=0):
    return [bytearray([number, deadly]) + bytearray(SIZE) for number in range(count)]


def test_pool_map_of_heavy_arguments_gives_results_in_order():
    with holdfast.Pool(2) as pool:
        assert pool.map(first_byte, heavy(60)) == list(range(60))


def test_pool_map_of_heavy_arguments_worker_dies_only_that_task_fails():
    done = []
    with holdfast.Pool(2) as pool:
        result = pool.map_async(first_byte, heavy(40, deadly=1), error_callback=done.append)
        with pytest.raises(WorkerDied, match="SIGKILL"):
            result.get()
        assert len(done) == 1
        assert pool.map(first_byte, heavy(10)) == list(range(10))


def test_pool_map_of_heavy_arguments_one_cannot_be_pickled_the_others_run():
    values = heavy(30)
    values[17] = (values[17], open)  # a builtin can
    values[18] = (values[18], (number for number in ()))  # a generator cannot
    with holdfast.Pool(2) as pool, pytest.raises(TypeError, match="generator"):
        pool.map(len, values)


def test_seal_all_stops_after_so_many_bytes():
    sealed, failures = cargo.seal_all([bytearray(SIZE)] * 10, 2 * SIZE)
    assert (len(sealed), failures) == (2, [])
    assert len(cargo.seal_all([bytearray(SIZE)] * 10)[0]) == 10


def test_plan_batch_is_shortened_the_rest_is_given_next():
    job = Job(b"function", True, chunk=0)
    job.waiting, job.ended, job.cost = Shelf(list(range(100))), True, 1e-4
    plan = Plan()
    plan.hands[0] = Hand(0)
    plan.add(job)
    _, batch = plan.give()
    before = batch.count
    assert before > 3
    assert plan.most_bytes(job)
    plan.shorten(batch, 3)
    assert (batch.count, list(batch.values)) == (3, [0, 1, 2])
    _, following = plan.give()
    assert (following.start, following.count) == (3, before - 3)


def test_plan_batches_that_count_are_not_changed():
    job = Job(b"function", True, chunk=7)
    assert Plan().most_bytes(job) is not None
    job.fixed = True
    assert Plan().most_bytes(job) is None
    assert Plan(2).most_bytes(Job(b"function", True, chunk=0)) is None
