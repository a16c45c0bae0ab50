"""What iterators, callbacks and the end of a pool do to each other: nothing hangs, is lost, or is told twice."""

import contextlib
import gc
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError

import pytest

import holdfast
from holdfast.errors import TasksDropped
from holdfast.futures import ProcessExecutor
from holdfast.parallel import warm_pools
from holdfast.pool import ThreadPool

SOON = 20.0  # seconds; what is tested for took for ever


@pytest.fixture(params=[holdfast.Pool, ThreadPool], ids=["processes", "threads"])
def make(request):
    return request.param


@pytest.fixture
def shown(monkeypatch):
    """The errors that threads have shown."""
    found = []
    monkeypatch.setattr(threading, "excepthook", lambda args: found.append(args.exc_value))
    return found


def same(value):
    return value


def nap(value):
    time.sleep(0.1)
    return value


def busy(value):
    until = time.perf_counter() + 0.006
    while time.perf_counter() < until:
        pass
    return value


class Thing:
    """Can be referred to weakly."""


def make_thing(_):
    return Thing()


class Lying(list):
    """A list that says another length than it has."""

    def __init__(self, values, length):
        super().__init__(values)
        self.length = length

    def __len__(self):
        return self.length


def end(pool):
    """Close a pool and join it, which must not take for ever."""
    pool.close()
    joining = threading.Thread(target=pool.join, daemon=True)
    joining.start()
    joining.join(SOON)
    assert not joining.is_alive()


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_imap_iterator_may_wait_for_the_result_of_what_it_gave(make, way):
    used = threading.Event()

    def values():
        yield 0
        for value in range(1, 5):
            assert used.wait(SOON)
            used.clear()
            yield value

    found = []
    with make(2) as pool:
        for result in getattr(pool, way)(same, values()):
            found.append(result)
            used.set()
    assert found == list(range(5))


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_imap_of_an_iterator_gives_all_in_chunks_of_any_size(make, way, chunk):
    with make(2) as pool:
        for count in (0, 1, chunk, chunk + 1, 1000):
            results = getattr(pool, way)(same, iter(range(count)), chunk)
            assert sorted(results) == list(range(count))


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_imap_of_what_cannot_be_iterated_over_leaves_the_pool_in_order(make, way):
    pool = make(2)
    with pytest.raises(TypeError):
        getattr(pool, way)(same, 5)
    assert pool.map(same, [1, 2]) == [1, 2]
    end(pool)


@pytest.mark.parametrize("length", [2, 7])
def test_imap_of_a_list_that_lies_about_its_length_gives_what_is_in_it(make, length):
    with make(2) as pool:
        assert list(pool.imap(same, Lying([1, 2, 3, 4], length))) == [1, 2, 3, 4]


def test_imap_used_by_several_threads_loses_nothing(make):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for values in (iter(range(2000)), range(2000)):
            found = []
            with make(2) as pool:
                results = pool.imap_unordered(same, values)
                users = [threading.Thread(target=lambda r=results, f=found: f.extend(r)) for _ in range(4)]
                for user in users:
                    user.start()
                for user in users:
                    user.join()
            assert sorted(found) == list(range(2000))
    finally:
        sys.setswitchinterval(interval)


def test_results_of_a_map_are_let_go_while_an_imap_is_open():
    unfinished = threading.Event()

    def values():
        yield 0
        unfinished.wait(SOON)

    with holdfast.Pool(2) as pool:
        results = pool.imap(same, values())
        assert next(results) == 0
        things = [weakref.ref(thing) for _ in range(5) for thing in pool.map(make_thing, range(4))]
        pool.map(same, range(4))
        gc.collect()
        assert [thing() for thing in things] == [None] * 20
        unfinished.set()
        assert list(results) == []


def test_callback_that_terminates_while_an_imap_is_open_is_the_only_one(make):
    gate, told = threading.Event(), []

    def values():
        yield 0
        gate.wait(SOON)

    pool = make(2)
    opened = pool.imap(same, values())
    assert next(opened) == 0

    def done(found):
        told.append(found)
        pool.terminate()

    result = pool.map_async(same, range(4), callback=done, error_callback=told.append)
    assert result.get(SOON) == [0, 1, 2, 3]
    gate.set()
    pool.join()
    assert told == [[0, 1, 2, 3]]


def test_callback_that_raises_as_the_pool_is_terminated_keeps_nobody_waiting(make, shown):
    def complain(_):
        message = "of the callback"
        raise RuntimeError(message)

    pool = make(1)
    results = [pool.apply_async(nap, (value,), error_callback=complain) for value in range(3)]
    results.append(pool.map_async(nap, range(3)))
    pool.terminate()
    pool.join()
    for result in results[1:]:
        with pytest.raises(TasksDropped):
            result.get(SOON)
    assert {str(error) for error in shown} == {"of the callback"}


def test_callback_that_raises_for_what_cannot_be_pickled_leaves_a_result(shown):
    def complain(_):
        message = "of the callback"
        raise RuntimeError(message)

    with holdfast.Pool(1) as pool:
        result = pool.apply_async(same, (threading.Lock(),), error_callback=complain)
        with pytest.raises(TypeError, match="cannot pickle"):
            result.get(SOON)
    assert [str(error) for error in shown] == ["of the callback"]


@pytest.mark.parametrize("use", ["dropped", "kept", "begun", "closed"])
def test_executor_map_with_buffersize_that_is_not_used_up_does_not_keep_the_executor(use):
    executor = ProcessExecutor(2)
    results = executor.map(same, range(10), buffersize=2)
    if use == "dropped":
        del results
    elif use == "begun":
        assert next(results) == 0
    elif use == "closed":
        results.close()
    ending = threading.Thread(target=executor.shutdown, daemon=True)
    ending.start()
    ending.join(SOON)
    assert not ending.is_alive()
    if use in ("kept", "begun"):
        with pytest.raises(RuntimeError, match="after shutdown"):
            list(results)


def test_executor_map_with_buffersize_is_told_that_its_tasks_were_cancelled():
    executor = ProcessExecutor(1)
    results = executor.map(nap, range(10), buffersize=3)
    assert next(results) == 0
    executor.shutdown(cancel_futures=True)
    with contextlib.suppress(RuntimeError, CancelledError):
        list(results)
    assert list(results) == []


def test_executor_map_closed_by_another_thread_lets_shutdown_return_soon():
    executor = ProcessExecutor(1)
    results = executor.map(same, range(10), buffersize=2)
    assert next(results) == 0
    results.close()
    began = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - began < 4  # it took five seconds, the pump's longest sleep


def test_map_on_auto_that_is_left_early_gives_its_workers_back():
    for _ in range(30):
        results = holdfast.map(busy, iter(range(100)), on="auto", workers=2)
        assert next(results) == 0
        results.close()
    until = time.monotonic() + SOON
    while warm_pools._busy and time.monotonic() < until:
        time.sleep(0.01)
    assert not warm_pools._busy
    holdfast.close_warm_pools()
    assert not holdfast.active_children()
