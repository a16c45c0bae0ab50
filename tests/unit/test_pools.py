"""Pools and executors: the parts of their contracts that the standard library's tests do not have."""

import asyncio
import dataclasses
import gc
import os
import signal
import threading
import time
import warnings
import weakref
from concurrent.futures import CancelledError, as_completed
from pathlib import Path

import pytest

import holdfast
from holdfast.errors import InitializerFailed, TasksDropped, TasksDroppedWarning, TaskTimeout, WorkerDied
from holdfast.futures import ProcessExecutor


def double(x):
    return 2 * x


def pid_of(_):
    return os.getpid()


def die(x):
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def wait_for(event):
    event.wait()
    return "set"


def tell_and_wait(queue):
    queue.put(os.getpid())
    time.sleep(600)


def note_and_die(counter, x):
    with counter.get_lock():
        counter.value += 1
    if x == 5:
        os._exit(9)
    return x


def tuple_of(x):
    return (x, str(x), [x])


class Fragile(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


def fail(x):
    raise Fragile(x, x)


def text_of(x):
    return ["", "a", "ü€", "a" * 5000, b"bytes", 2**80, -1, 1.5, None, True, False, "\udc80", 1j][x]


def fail_until(path, times):
    with Path(path).open("a") as file:
        file.write("x")
    if Path(path).stat().st_size < times:
        raise ValueError(times)
    return times


@pytest.fixture
def pool(context):
    with context.Pool(2) as made:
        yield made


def test_pool_map_of_every_kind_of_result_brings_it_back(pool):
    wanted = [text_of(x) for x in range(13)]
    assert pool.map(text_of, range(13)) == wanted
    assert pool.map(text_of, range(13), 13) == wanted
    assert [type(x) for x in pool.map(text_of, range(13))] == [type(x) for x in wanted]


def test_pool_map_in_one_batch_worker_dies_results_before_and_after_arrive(pool):
    seen = []
    results = pool.imap(die, range(20), chunksize=20)
    for index in range(20):
        try:
            seen.append(next(results))
        except WorkerDied as error:
            seen.append((index, error.task, error.signal, error.arguments, error.pid > 0))
    assert seen == [*range(5), (5, 5, "SIGKILL", "(5)", True), *range(6, 20)]


def test_pool_batch_with_results_of_many_kinds_worker_dies_none_is_lost(context):
    def outcome(results):
        try:
            return next(results)
        except WorkerDied:
            return "dead"

    with context.Pool(1) as pool:
        results = pool.imap(many_kinds_then_die, range(14), chunksize=14)
        assert [outcome(results) for _ in range(14)] == [*(text_of(x) for x in range(12)), "dead", 13]


def many_kinds_then_die(x):
    if x == 12:
        os.abort()
    return 13 if x == 13 else text_of(x)


def test_pool_death_in_a_batch_no_task_runs_twice(context):
    counter = context.Value("i", 0)
    with context.Pool(2) as pool, pytest.raises(WorkerDied):
        pool.starmap(note_and_die, [(counter, x) for x in range(40)], 10)
    assert counter.value == 40


def test_pool_results_that_are_no_plain_values_arrive(pool):
    assert pool.map(tuple_of, range(100)) == [tuple_of(x) for x in range(100)]


def test_pool_exception_that_cannot_be_rebuilt_arrives_as_stand_in_of_its_name(pool):
    with pytest.raises(holdfast.RemoteError) as caught:
        pool.apply(fail, (7,))
    assert type(caught.value).__name__ == "Fragile"
    assert "in fail" in str(caught.value.__cause__)
    assert any("fail(7)" in note for note in caught.value.__notes__)


def test_pool_left_with_tasks_under_way_warns_with_their_number():
    event = holdfast.Event()
    pool = holdfast.Pool(2)
    results = [pool.apply_async(wait_for, (event,)) for _ in range(6)]
    with pytest.warns(TasksDroppedWarning) as caught:
        pool.__exit__(None, None, None)
    assert caught[0].message.tasks == 6
    with pytest.raises(TasksDropped):
        results[0].get()


def test_pool_left_without_tasks_under_way_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with holdfast.Pool(2) as pool:
            assert pool.map(double, range(10)) == [double(x) for x in range(10)]


def test_pool_imap_takes_arguments_only_as_far_as_results_are_used(context):
    taken = []

    def numbers():
        for number in range(100_000):
            taken.append(number)
            yield number

    with context.Pool(2) as pool:
        results = pool.imap(double, numbers())
        assert [next(results) for _ in range(3)] == [0, 2, 4]
        assert len(taken) < 1000
        assert sum(1 for _ in results) == 99_997


def test_pool_imap_not_iterated_runs_all_the_same_after_close(context):
    counter = context.Value("i", 0)
    pool = context.Pool(2)
    results = pool.imap(add_one, [counter] * 500)
    pool.close()
    pool.join()
    assert counter.value == 500
    assert len(list(results)) == 500


def add_one(counter):
    with counter.get_lock():
        counter.value += 1


def test_pool_long_task_what_waits_behind_it_goes_to_the_other_worker(context):
    event = context.Event()
    with context.Pool(2) as pool:
        held = pool.apply_async(wait_for, (event,))
        assert [pool.apply_async(double, (x,)).get(60) for x in range(50)] == [double(x) for x in range(50)]
        event.set()
        assert held.get() == "set"


def test_pool_idle_worker_killed_another_takes_its_place(pool):
    pids = {process.pid for process in pool._pool}
    os.kill(min(pids), signal.SIGKILL)
    assert pool.map(double, range(100)) == [double(x) for x in range(100)]


def test_pool_of_parent_used_in_forked_child_raises(context):
    with context.Pool(1) as pool, holdfast.get_context("fork").Pool(1) as other:
        keep["pool"] = pool
        with holdfast.get_context("fork").Pool(1) as child, pytest.raises(RuntimeError, match="belongs to process"):
            child.apply(use_kept)
        assert other.apply(double, (1,)) == 2
    keep.clear()


keep = {}


def use_kept():
    return keep["pool"].apply(double, (1,))


def test_pool_with_a_limit_of_tasks_arguments_that_cannot_be_pickled_leave_it_working(context):
    with context.Pool(1, maxtasksperchild=1) as pool:
        with pytest.raises(TypeError):
            pool.apply(double, (threading.Lock(),))
        assert [pool.apply(double, (x,)) for x in range(3)] == [0, 2, 4]


def test_pool_dropped_while_running_ends(context):
    pools = [context.Pool(1)]
    reference = weakref.ref(pools[0])
    with pytest.warns(ResourceWarning):
        pools.clear()
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("most", [1, 2, 3])
def test_executor_recycling_all_of_many_tasks_are_done(most):
    with ProcessExecutor(2, holdfast.get_context("fork"), max_tasks_per_child=most) as executor:
        pids = list(executor.map(pid_of, range(1000)))
    assert len(pids) == 1000
    assert len(set(pids)) >= 1000 / most * 0.9


def test_executor_task_timeout_stops_it_and_frees_its_place(context):
    queue = context.SimpleQueue()
    with ProcessExecutor(1, context, timeout=1.0) as executor:
        late = executor.submit(tell_and_wait, queue)
        other = executor.submit(double, 4)
        assert isinstance(late.exception(60), TaskTimeout)
        assert other.result(60) == 8
        pid = queue.get()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_executor_cancel_of_a_running_task_stops_it(context):
    queue = context.SimpleQueue()
    with ProcessExecutor(1, context) as executor:
        future = executor.submit(tell_and_wait, queue)
        pid = queue.get()
        behind = [executor.submit(double, x) for x in range(10)]
        assert future.cancel()
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result()
        assert [each.result(60) for each in behind] == [double(x) for x in range(10)]
        assert executor.submit(pid_of, 0).result() != pid
        assert not behind[0].cancel()


def test_executor_retries_run_a_failed_task_again(tmp_path):
    with ProcessExecutor(1, retries=2) as executor:
        assert executor.submit(fail_until, str(tmp_path / "a"), 3).result() == 3
        with pytest.raises(ValueError, match="4"):
            executor.submit(fail_until, str(tmp_path / "b"), 4).result()


def test_executor_worker_dies_others_finish_and_error_is_a_broken_pool(context):
    from concurrent.futures.process import BrokenProcessPool

    with ProcessExecutor(2, context) as executor:
        futures = {executor.submit(die, x): x for x in range(20)}
        failed = [future for future in as_completed(futures) if future.exception() is not None]
        assert [futures[future] for future in failed] == [5]
        assert isinstance(failed[0].exception(), BrokenProcessPool)
        assert isinstance(failed[0].exception(), WorkerDied)


def test_executor_initializer_that_raises_breaks_it_with_the_reason(context):
    with (
        ProcessExecutor(2, context, initializer=fail, initargs=(1,)) as executor,
        pytest.raises(InitializerFailed) as caught,
    ):
        executor.submit(double, 1).result()
    assert "Fragile" in str(caught.value)


def test_executor_in_an_event_loop_gives_results(context):
    async def main():
        loop = asyncio.get_running_loop()
        with ProcessExecutor(2, context) as executor:
            return await asyncio.gather(*(loop.run_in_executor(executor, double, x) for x in range(10)))

    assert asyncio.run(main()) == [double(x) for x in range(10)]


def test_executor_lambdas_and_closures_are_called(context):
    pytest.importorskip("cloudpickle")
    seven = 7
    with ProcessExecutor(1, context) as executor:
        assert executor.submit(lambda x: x + seven, 1).result() == 8


def test_executor_left_finishes_what_was_accepted(context):
    with ProcessExecutor(2, context) as executor:
        futures = [executor.submit(double, x) for x in range(50)]
    assert [future.result(0) for future in futures] == [double(x) for x in range(50)]
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(double, 1)


def test_executor_map_with_buffersize_takes_only_so_many_arguments():
    taken = []

    def numbers():
        for number in range(100):
            taken.append(number)
            yield number

    with ProcessExecutor(2) as executor:
        results = executor.map(double, numbers(), buffersize=4)
        assert len(taken) == 4
        assert next(results) == 0
        assert len(taken) == 5
        assert list(results) == [double(x) for x in range(1, 100)]


@pytest.mark.parametrize("count", range(5))
def test_executor_map_with_buffersize_ends_however_few_arguments_there_are(count):
    with ProcessExecutor(2) as executor:
        results = executor.map(double, iter(range(count)), buffersize=3, timeout=30)
        assert list(results) == [double(x) for x in range(count)]


def test_executor_and_pool_used_by_many_threads_give_each_its_results(context):
    failures = []

    def use(number):
        found = [executor.submit(double, number * 1000 + x) for x in range(100)]
        if [each.result() for each in found] != [2 * (number * 1000 + x) for x in range(100)]:
            failures.append(number)

    with ProcessExecutor(2, context) as executor:
        executor.submit(double, 1).result()
        threads = [threading.Thread(target=use, args=(number,)) for number in range(5)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert failures == []


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    pass


def fail_frozen(_):
    raise Frozen


def test_exception_of_a_frozen_class_arrives_with_its_cause(context):
    with context.Pool(1) as pool, ProcessExecutor(1, context) as executor:
        for error in (executor.submit(fail_frozen, 5).exception(60), caught(pool.apply_async(fail_frozen, (5,)).get)):
            assert type(error) is Frozen
            assert "in fail_frozen" in str(error.__cause__)
            assert "fail_frozen(5)" in error.__notes__[0]
        process = context.Process(target=fail_frozen, args=(5,))
        process.start()
        assert type(caught(process.result)) is Frozen


def caught(get):
    with pytest.raises(Exception) as info:  # noqa: PT011 - the test looks at it
        get(60)
    return info.value


def keep_an_executor(results):
    KEPT.append(ProcessExecutor(2))
    results.put(KEPT[0].submit(double, 21).result())


KEPT = []


def test_executor_kept_by_a_child_process_ends_with_it(context):
    results = context.SimpleQueue()
    process = context.Process(target=keep_an_executor, args=(results,))
    process.start()
    assert results.get(timeout=60) == 42
    process.join(60)
    assert process.exitcode == 0


def test_pool_closed_after_others_were_forked_leaves_no_shared_memory():
    kept = holdfast.Lock()  # the program's shared memory outlives the pools
    before = shared_files()
    context = holdfast.get_context("fork")
    first = context.Pool(1)
    first.map(double, [1])
    second = context.Pool(1)
    second.map(double, [1])
    for pool in (first, second):
        pool.close()
        pool.join()
    del first, second, pool
    gc.collect()
    context.Pool(1).terminate()
    assert len(shared_files() - before) <= 1  # the last one's may be on its way
    del kept


def shared_files():
    return set(Path(os.environ.get("HOLDFAST_DIR", f"/dev/shm/holdfast-{os.getuid()}")).glob("b-*-0"))
