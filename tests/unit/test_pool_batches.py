"""Many tasks in one batch, as workers get small ones: each is still by itself."""

import itertools
import os
import signal
import time
from concurrent.futures import CancelledError, as_completed

import pytest

import holdfast
from holdfast.errors import TaskTimeout, WorkerDied
from holdfast.executor_drop_in import DropInExecutor
from holdfast.futures import ProcessExecutor

WARM = 3000
SHARED = {}  # what forked workers use


def act(what):
    """One function for all tasks, so that they travel together."""
    if isinstance(what, str):
        _ACTS[what]()
    return what


def act_on(item):
    number, event = item
    if event is not None:
        event.wait()
    return number


def note_and_wait():
    SHARED["queue"].put(os.getpid())
    time.sleep(600)


_ACTS = {
    "wait": lambda: SHARED["event"].wait(600),
    "tell": lambda: (SHARED["queue"].put("begun"), SHARED["event"].wait(600)),
    "set": lambda: SHARED["event"].set() or None,
    "hang": note_and_wait,
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "rest": lambda: time.sleep(0.2),
}


@pytest.fixture
def shared():
    SHARED.update(event=holdfast.Event(), queue=holdfast.SimpleQueue())
    yield
    SHARED.clear()


@pytest.fixture
def shared_event(shared):  # noqa: ARG001 - it is in there
    yield SHARED["event"]
    if SHARED:
        SHARED["event"].set()


@pytest.fixture
def executor(shared):  # noqa: ARG001 - workers inherit it
    with ProcessExecutor(2, holdfast.get_context("fork")) as executor:
        for future in [executor.submit(act, x) for x in range(WARM)]:  # it learns what they cost
            future.result(60)
        yield executor


def burst(executor, *special):
    """Tasks in one go: 300 small ones around each of the special ones."""
    tasks = list(itertools.chain.from_iterable([*range(300), each] for each in special)) + list(range(300))
    return {executor.submit(act, task): task for task in tasks}


def test_single_calls_one_waits_for_a_later_one_all_finish(executor):
    futures = burst(executor, "wait", "set")
    assert sorted(map(str, (future.result(60) for future in futures))) == sorted(map(str, futures.values()))


def test_single_calls_results_around_one_that_waits_come_before_it_ends(executor):
    futures = burst(executor, "wait")
    waits = next(future for future, task in futures.items() if task == "wait")
    for future in futures:
        if future is not waits:
            future.result(60)
    assert not waits.done()
    SHARED["event"].set()
    assert waits.result(60) == "wait"


def test_single_calls_one_is_cancelled_while_it_runs_the_others_have_results(executor):
    futures = burst(executor, "hang")
    hangs = next(future for future, task in futures.items() if task == "hang")
    SHARED["queue"].get()
    assert hangs.cancel()
    assert hangs.cancelled()
    assert [future.result(60) for future in futures if future is not hangs] == [*range(300), *range(300)]


def test_single_calls_one_is_cancelled_before_it_runs_the_others_have_results(executor):
    futures = burst(executor, "wait", "wait", "die")
    dies = next(future for future, task in futures.items() if task == "die")
    while not sum(future.done() for future in futures) >= 300:
        time.sleep(0.01)
    assert dies.cancel() or dies.exception(60) is not None
    SHARED["event"].set()
    assert all(future.result(60) == task for future, task in futures.items() if future is not dies)


def test_single_calls_worker_dies_only_that_one_fails_and_is_named(executor):
    futures = burst(executor, "die")
    errors = [(task, future.exception(60)) for future, task in futures.items() if future.exception(60)]
    assert [task for task, _ in errors] == ["die"]
    (error,) = (error for _, error in errors)
    assert isinstance(error, WorkerDied)
    assert (error.signal, error.task, error.arguments) == ("SIGKILL", WARM + 300, "('die')")


def test_single_calls_many_die_none_is_lost_and_none_else_fails(executor):
    futures = burst(executor, *["die"] * 20)
    done = list(as_completed(futures, timeout=120))
    assert len(done) == len(futures)
    assert sum(future.exception() is not None for future in done) == 20


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.usefixtures("shared")
def test_iterator_one_waits_for_a_later_one_all_results_come(method):
    tasks = [*range(300), "wait", *range(300), "set", *range(300)]
    with holdfast.get_context("fork").Pool(2) as pool:
        pool.map(act, range(WARM))
        found = list(getattr(pool, method)(act, tasks))
    assert sorted(map(str, found)) == sorted(map(str, tasks))


@pytest.mark.usefixtures("shared")
def test_map_one_waits_for_a_later_one_of_its_chunk_all_results_come():
    tasks = [*range(10), "wait", *range(10), "set", *range(10)]
    with holdfast.get_context("fork").Pool(2) as pool:
        assert pool.map(act, tasks, chunksize=100) == tasks


def test_map_of_objects_one_waits_for_a_later_one_of_its_chunk_all_results_come(context):
    event = context.Event()
    tasks = [(0, None), (1, event), (2, None)]
    with context.Pool(2) as pool:
        result = pool.map_async(act_on, tasks, chunksize=3)
        event.set()
        assert result.get(60) == [0, 1, 2]


@pytest.mark.usefixtures("shared")
def test_timeout_is_that_of_a_task_not_of_its_batch():
    with ProcessExecutor(1, holdfast.get_context("fork"), timeout=1.0) as executor:
        assert list(executor.map(act, ["rest"] * 10, chunksize=10)) == ["rest"] * 10


@pytest.mark.usefixtures("shared")
def test_timeout_in_a_batch_fails_only_that_task():
    with ProcessExecutor(2, holdfast.get_context("fork"), timeout=0.5) as executor:
        for future in [executor.submit(act, x) for x in range(WARM)]:
            future.result(60)
        futures = burst(executor, "hang", "hang")
        errors = {future: future.exception(60) for future in futures}
    failed = [futures[future] for future, error in errors.items() if error is not None]
    assert failed == ["hang", "hang"]
    assert all(error is None or isinstance(error, TaskTimeout) for error in errors.values())


def test_shutdown_with_cancel_what_travels_together_and_has_not_begun_is_cancelled(shared_event):
    executor = ProcessExecutor(2, holdfast.get_context("fork"))
    for future in [executor.submit(act, x) for x in range(WARM)]:
        future.result(60)
    futures = list(burst(executor, "wait", "wait"))
    waiting = [future for future in futures if not future.done()]
    executor.shutdown(wait=False, cancel_futures=True)
    shared_event.set()
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert sum(future.cancelled() for future in waiting) >= 1


def test_shutdown_with_cancel_a_map_under_way_ends_with_an_error(shared_event):
    executor = ProcessExecutor(1, holdfast.get_context("fork"))
    results = executor.map(act, ["wait", *range(1000)], chunksize=10)
    executor.shutdown(wait=False, cancel_futures=True)
    shared_event.set()
    with pytest.raises(CancelledError):
        list(results)
    executor.shutdown()


def test_drop_in_executor_cancel_of_what_was_given_and_has_not_begun_succeeds(shared_event):
    with DropInExecutor(1, holdfast.get_context("fork")) as executor:
        first, second, third = (executor.submit(act, what) for what in ("tell", 2, 3))
        SHARED["queue"].get()
        assert second.cancel()
        assert not first.cancel()
        shared_event.set()
        assert (first.result(60), third.result(60)) == ("tell", 3)
