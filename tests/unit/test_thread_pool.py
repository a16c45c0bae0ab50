"""ThreadPool: the parts of its contract that the standard library's tests do not have."""

import gc
import multiprocessing.pool
import subprocess
import sys
import threading
import warnings
import weakref

import pytest

import holdfast
from holdfast.errors import TasksDropped, TasksDroppedWarning
from holdfast.pool import ThreadPool

DROP_IN = """
import sys
from multiprocessing.dummy import Pool
from multiprocessing.pool import ThreadPool

class Own(ThreadPool):
    pass

for kind in (ThreadPool, Pool):
    with kind(2) as pool:
        try:
            pool.apply(sys.exit, (3,))
        except SystemExit as error:
            print(type(pool).__module__, isinstance(pool, ThreadPool), error.code, pool.map(abs, [-1, -2]))
with Own(1) as pool:
    print(type(pool).__name__, pool.map(abs, [-1]))
"""


@pytest.fixture
def pool():
    with ThreadPool(2) as made:
        yield made
        made.close()
        made.join()


def fail_at(bad):
    def task(x):
        if x in bad:
            raise bad[x]
        return x

    return task


def outcome(call, *args):
    """What a call returned or raised."""
    try:
        return call(*args)
    except BaseException as error:
        return error


def test_thread_pool_every_call_brings_the_results(pool):
    assert pool.apply(divmod, (7, 2)) == (3, 1)
    assert pool.apply_async(int, ("ff",), {"base": 16}).get() == 255
    assert pool.map(str, range(1000)) == [str(x) for x in range(1000)]
    assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
    assert pool.starmap_async(pow, iter([(2, 3)] * 9), 4).get() == [8] * 9
    assert list(pool.imap(str, iter(range(1000)), 7)) == [str(x) for x in range(1000)]
    assert sorted(pool.imap_unordered(abs, range(-500, 0))) == list(range(1, 501))
    assert pool.map(abs, []) == []


def test_thread_pool_is_an_instance_of_the_standard_class(pool):
    assert isinstance(pool, multiprocessing.pool.ThreadPool)
    assert isinstance(pool, multiprocessing.pool.Pool)


def test_thread_pool_arguments_and_results_are_the_objects_themselves(pool):
    thing = threading.Lock()
    assert pool.apply(lambda x: x, (thing,)) is thing
    assert pool.map(lambda x: x, [thing]) == [thing]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), GeneratorExit(), ValueError(1)])
def test_thread_pool_task_raises_anything_only_that_task_fails(pool, error):
    task = fail_at({5: error})
    assert outcome(pool.apply, task, (5,)) is error
    assert type(outcome(pool.map, task, range(20), 10)) is type(error)
    found = pool.imap(task, range(8))
    assert [outcome(found.next) for _ in range(8)] == [0, 1, 2, 3, 4, error, 6, 7]
    with pytest.raises(StopIteration):
        next(found)
    assert sorted(pool.map(task, range(5))) == [0, 1, 2, 3, 4]
    assert pool.stats()[:6] == (2, 0, 0, 7 + 5 + 19, 3, 0)


def test_thread_pool_map_with_failures_runs_every_task(pool):
    seen = []

    def task(x):
        seen.append(x)
        if x % 3 == 0:
            raise ValueError(x)

    with pytest.raises(ValueError, match="0"):
        pool.map(task, range(10), 10)
    assert seen == list(range(10))


def test_thread_pool_traceback_of_a_task_begins_with_its_own_frame(pool):
    with pytest.raises(ValueError, match="seven") as caught:
        pool.apply(fail_at({7: ValueError("seven")}), (7,))
    names = [entry.frame.code.name for entry in caught.traceback]
    assert names[-1] == "task"
    assert "_run_one" not in names


def test_thread_pool_initializer_raises_every_call_raises_it():
    def refuse(text):
        raise LookupError(text)

    with ThreadPool(2, refuse, ("no",)) as pool:
        for call in (pool.map, pool.starmap):
            with pytest.raises(LookupError, match="no"):
                call(abs, [(1,)])
        with pytest.raises(LookupError, match="no"):
            pool.apply(abs, (1,))
        with pytest.raises(LookupError, match="no"):
            next(pool.imap(abs, iter([1])))


def test_thread_pool_initializer_runs_in_each_thread():
    seen = []
    with ThreadPool(3, lambda text: seen.append((text, threading.get_ident())), ("here",)) as pool:
        barrier = threading.Barrier(3)
        idents = pool.map(lambda _: barrier.wait() * 0 + threading.get_ident(), range(3), 1)
    assert sorted(seen) == sorted(("here", ident) for ident in idents)


def test_thread_pool_callbacks_are_called_one_at_a_time():
    inside = []
    results = []

    def callback(value):
        inside.append(1)
        assert len(inside) == 1
        results.append(value)
        inside.pop()

    with ThreadPool(4) as pool:
        for number in range(500):
            pool.apply_async(abs, (-number,), callback=callback)
        pool.apply_async(int, ("x",), error_callback=callback)
        pool.map_async(abs, range(3), callback=callback)
        pool.close()
        pool.join()
    assert results.count([0, 1, 2]) == 1
    assert sum(isinstance(each, ValueError) for each in results) == 1
    assert len(results) == 502


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_pool_callback_raises_the_pool_goes_on(pool):
    result = pool.apply_async(abs, (-1,), callback=fail_at({1: ValueError("callback")}))
    assert result.get() == 1
    assert pool.map(abs, range(3)) == [0, 1, 2]


def test_thread_pool_left_with_tasks_waiting_warns_with_their_number():
    event, begun = threading.Event(), threading.Semaphore(0)

    def task(x):
        begun.release()
        event.wait()
        return x

    pool = ThreadPool(2)
    results = [pool.apply_async(task, (x,)) for x in range(2)]
    for _ in results:
        begun.acquire()
    late = [pool.apply_async(task, (x,)) for x in range(6)]
    many = pool.map_async(task, range(10), 5)
    assert pool.stats() == (2, 16, 2, 0, 0, 0, 0)
    with pytest.warns(TasksDroppedWarning) as caught:
        pool.__exit__(None, None, None)
    assert caught[0].message.tasks == 16
    for result in (*late, many):
        with pytest.raises(TasksDropped):
            result.get()
    event.set()
    assert [result.get() for result in results] == [0, 1]  # what ran is brought to its end
    pool.join()
    assert pool.stats() == (0, 0, 0, 2, 0, 0, 0)


def test_thread_pool_terminated_within_a_chunk_does_not_begin_the_rest():
    event, begun = threading.Event(), threading.Event()
    seen = []

    def task(x):
        seen.append(x)
        begun.set()
        event.wait()

    pool = ThreadPool(1)
    result = pool.map_async(task, range(10), 10)
    begun.wait()
    pool.terminate()
    event.set()
    pool.join()
    assert seen == [0]
    with pytest.raises(TasksDropped):
        result.get()


def test_thread_pool_left_without_tasks_under_way_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPool(2) as pool:
            assert pool.map(abs, range(10)) == list(range(10))


def test_thread_pool_closed_finishes_what_was_accepted():
    event = threading.Event()
    pool = ThreadPool(1)
    results = [pool.apply_async(event.wait) for _ in range(5)]
    stream = pool.imap(abs, (x for x in range(1000)))
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.apply(abs, (1,))
    event.set()
    assert [result.get() for result in results] == [True] * 5
    assert list(stream) == list(range(1000))
    pool.join()


def test_thread_pool_imap_takes_arguments_only_as_far_as_results_are_used(pool):
    taken = []

    def numbers():
        for number in range(20_000):
            taken.append(number)
            yield number

    results = pool.imap(abs, numbers())
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) < 1000
    assert sum(1 for _ in results) == 19_997


def test_thread_pool_imap_of_arguments_that_raise_gives_the_results_before(pool):
    def numbers():
        yield 1
        yield 2
        raise LookupError

    found = pool.imap(abs, numbers())
    assert [outcome(found.next), outcome(found.next)] == [1, 2]
    with pytest.raises(LookupError):
        next(found)


def test_thread_pool_insights_count_the_tasks_of_each_thread(pool):
    pool.apply(abs, (-5,))
    assert [each[1:] for each in pool.insights().slowest] == [("abs", 0, "(-5)")]
    pool.map(abs, range(100))
    insights = pool.insights()
    assert [seat.seat for seat in insights.seats] == [0, 1]
    assert insights.total.tasks == 101


def test_thread_pool_task_done_nothing_keeps_its_arguments(pool):
    class Thing:
        pass

    thing = Thing()
    seen = weakref.ref(thing)
    pool.apply(id, (thing,))
    pool.map(id, [thing] * 3, 3)
    del thing
    pool.map(abs, range(100), 1)
    gc.collect()
    assert seen() is None


def test_thread_pool_of_parent_used_in_forked_child_raises(pool):
    def use():
        return outcome(pool.map, abs, [1])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it forks beside threads
        process = holdfast.get_context("fork").Process(target=use)
        process.start()
    assert "make one in this process" in str(process.result(timeout=60))


def test_thread_pool_of_no_threads_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        ThreadPool(0)


def test_thread_pool_by_default_has_a_thread_a_cpu(monkeypatch):
    monkeypatch.setenv("PYTHON_CPU_COUNT", "3")
    with ThreadPool() as pool:
        assert pool.stats().workers == 3


def test_thread_pool_of_an_unmodified_program_behaves_so_too(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(DROP_IN)
    command = [sys.executable, "-m", "holdfast", "run", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["holdfast.pool True 3 [1, 2]"] * 2 + ["Own [1]"]
