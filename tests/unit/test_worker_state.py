"""What a worker is and keeps: its seat, its cache, its exit functions, its cores, and its share of the CPUs."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import threadpoolctl

import holdfast
from holdfast.futures import ProcessExecutor

SEEN = os.environ.get("OMP_NUM_THREADS")  # when this module is imported, as by a worker that is not forked

DROP_IN = """
import multiprocessing, os
import concurrent.futures
import holdfast

def bound(_):
    return os.environ.get("OMP_NUM_THREADS"), holdfast.cpu_count(), holdfast.current_worker().id

if __name__ == "__main__":
    holdfast.install()
    with multiprocessing.Pool(1) as pool:
        print(pool.map(bound, [0]))
    with concurrent.futures.ProcessPoolExecutor(1) as executor:
        print(list(executor.map(bound, [0])))
    print(bound.__name__, os.environ.get("OMP_NUM_THREADS"), holdfast.cpu_count())
"""


FAILING = """
import sys
import holdfast

def raise_at_the_end(text):
    raise LookupError(text)

if __name__ == "__main__":
    pool = holdfast.get_context(sys.argv[1]).Pool(2, finalizer=raise_at_the_end, finalargs=("of all things",))
    print(pool.map(abs, [-1]))
    pool.close()
    pool.join()
    print(pool.stats().deaths)
"""


@contextmanager
def closing(pool):
    """The pool, whose workers end in order."""
    yield pool
    pool.close()
    pool.join()


def who(barrier):
    """One such task for each worker, since each waits for all."""
    barrier.wait()
    return holdfast.current_worker().id, os.getpid(), os.sched_getaffinity(0)


def all_of(pool, barrier, workers):
    return sorted(pool.map(who, [barrier] * workers, 1))


def count_up(name):
    cache = holdfast.current_worker().cache
    cache[name] = cache.get(name, 0) + 1
    return cache[name]


def is_worker():
    return holdfast.current_worker() is not None


def child_of_worker(method):
    process = holdfast.get_context(method).Process(target=is_worker)
    process.start()
    return is_worker(), process.result(timeout=60)


def tell(queue, text):
    queue.put((text, holdfast.current_worker().id))


def leave_word(queue):
    worker = holdfast.current_worker()
    worker.at_exit(tell, queue, "first")
    worker.at_exit(tell, queue=queue, text="second")


def exit_now(queue):
    leave_word(queue)
    sys.exit(3)


def share(_):
    return os.environ.get("OMP_NUM_THREADS"), holdfast.cpu_count(), SEEN


def nested(_):
    with closing(holdfast.Pool()) as pool:
        return holdfast.cpu_count(), pool._processes, pool.map(share, [0])[0][:2]


def loaded_threads(_):
    np.ones((2, 2)) @ np.ones((2, 2))
    return [each["num_threads"] for each in threadpoolctl.threadpool_info()]


def all_there_is(queue):
    found = []
    while not queue.empty():
        found.append(queue.get())
    return found


@pytest.fixture
def _no_variables(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "PYTHON_CPU_COUNT"):
        monkeypatch.delenv(name, raising=False)


def test_seats_of_a_pool_are_numbered_from_zero(context):
    with closing(context.Pool(3)) as pool:
        assert [seat for seat, *_ in all_of(pool, context.Barrier(3), 3)] == [0, 1, 2]


def test_seat_of_a_killed_worker_goes_to_the_one_that_takes_its_place(context):
    barrier = context.Barrier(2)
    with closing(context.Pool(2)) as pool:
        before = all_of(pool, barrier, 2)
        os.kill(before[0][1], signal.SIGKILL)
        after = all_of(pool, barrier, 2)
    assert [seat for seat, *_ in after] == [0, 1]
    assert after[0][1] != before[0][1]
    assert after[1][1] == before[1][1]


def test_cache_of_a_worker_is_there_in_the_next_task(context):
    with ProcessExecutor(1, context) as executor:
        assert [executor.submit(count_up, name).result() for name in "aab"] == [1, 2, 1]
    with ProcessExecutor(1, context) as executor:
        assert executor.submit(count_up, "a").result() == 1


def test_current_worker_in_parent_and_in_child_of_a_worker_is_none(context, start_method):
    assert holdfast.current_worker() is None
    with ProcessExecutor(1, context) as executor:
        assert executor.submit(child_of_worker, start_method).result() == (True, False)


def test_exit_functions_after_close_run_last_one_first_then_the_finalizer(context):
    queue = context.Queue()
    pool = context.Pool(1, finalizer=tell, finalargs=(queue, "finalizer"))
    pool.apply(leave_word, (queue,))
    assert queue.empty()
    pool.close()
    pool.join()
    assert all_there_is(queue) == [("second", 0), ("first", 0), ("finalizer", 0)]


def test_finalizer_of_recycled_workers_runs_for_each(context):
    queue = context.Queue()
    with ProcessExecutor(1, context, max_tasks_per_child=1, finalizer=tell, finalargs=(queue, "end")) as executor:
        assert list(executor.map(abs, range(3))) == [0, 1, 2]
    assert all_there_is(queue) == [("end", 0)] * 3


def test_finalizer_of_terminated_workers_does_not_run(context):
    queue = context.Queue()
    with context.Pool(2, finalizer=tell, finalargs=(queue, "end")) as pool:
        all_of(pool, context.Barrier(2), 2)
    assert all_there_is(queue) == []


def test_exit_functions_of_a_worker_left_by_sys_exit_run(context):
    queue = context.Queue()
    with closing(context.Pool(1, finalizer=tell, finalargs=(queue, "end"))) as pool:
        with pytest.raises(holdfast.WorkerDied, match="exit code 3"):
            pool.apply(exit_now, (queue,))
        assert all_there_is(queue) == [("second", 0), ("first", 0), ("end", 0)]
        assert pool.apply(abs, (-1,)) == 1


def test_finalizer_that_raises_is_shown_and_the_pool_ends(tmp_path, start_method):
    script = tmp_path / "program.py"
    script.write_text(FAILING)
    done = subprocess.run([sys.executable, str(script), start_method], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[1]", "0"]
    assert done.stderr.count("LookupError: of all things") == 2
    assert "raise_at_the_end, called at the end of worker 1" in done.stderr


def test_finalizer_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="finalizer"):
        holdfast.Pool(1, finalizer=3)


def test_pinned_workers_stay_on_one_core_each_also_after_replacement(context):
    cores = sorted(os.sched_getaffinity(0))
    barrier = context.Barrier(2)
    with closing(context.Pool(2, pin=True)) as pool:
        before = all_of(pool, barrier, 2)
        os.kill(before[1][1], signal.SIGKILL)
        after = all_of(pool, barrier, 2)
    wanted = [{cores[0]}, {cores[1 % len(cores)]}]
    assert [each[2] for each in before] == [each[2] for each in after] == wanted
    assert os.sched_getaffinity(0) == set(cores)


def test_pinned_to_a_list_of_cores_workers_take_them_in_turn(context):
    core = max(os.sched_getaffinity(0))
    with closing(context.Pool(2, pin=[core])) as pool:
        assert [each[2] for each in all_of(pool, context.Barrier(2), 2)] == [{core}, {core}]


@pytest.mark.parametrize("pin", [[], [100_000]], ids=["none", "foreign"])
def test_pinned_to_cores_that_are_not_there_is_refused(pin):
    with pytest.raises(ValueError, match="pin must be True or some of the cores"):
        ProcessExecutor(1, pin=pin)


@pytest.mark.usefixtures("_no_variables")
def test_share_of_the_cpus_is_what_a_worker_counts_and_libraries_are_told(monkeypatch, context, start_method):
    before = dict(os.environ)
    with monkeypatch.context() as patched:
        patched.setattr("holdfast.cpu._override", lambda: 8)
        with closing(context.Pool(2)) as pool:
            variable, cpus, seen = pool.map(share, [0])[0]
    assert variable == "4"
    assert cpus == (4 if start_method == "fork" else min(4, holdfast.cpu_count()))
    assert seen == (None if start_method == "fork" else "4")  # before the module was imported
    assert dict(os.environ) == before


@pytest.mark.usefixtures("_no_variables")
def test_nested_pool_takes_its_workers_share_and_divides_it(monkeypatch):
    monkeypatch.setenv("PYTHON_CPU_COUNT", "4")
    with closing(holdfast.Pool(2)) as pool:
        assert pool.map(nested, [0]) == [(2, 2, ("1", 1))]


@pytest.mark.usefixtures("_no_variables")
def test_threads_set_by_the_user_are_left_alone(monkeypatch, context):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with closing(context.Pool(2)) as pool:
        assert pool.map(share, [0])[0][0] == ("7" if context.get_start_method() != "forkserver" else None)


@pytest.mark.usefixtures("_no_variables")
def test_threads_per_worker_says_how_many_or_none(context):
    with closing(context.Pool(2, threads_per_worker=3)) as pool:
        assert pool.map(share, [0])[0][0] == "3"
    with ProcessExecutor(2, context, threads_per_worker=None) as executor:
        assert executor.submit(share, 0).result()[:2] == (None, holdfast.cpu_count())


@pytest.mark.parametrize("number", [0, -1, "all"])
def test_threads_per_worker_of_no_meaning_is_refused(number):
    with pytest.raises(ValueError, match="threads_per_worker"):
        holdfast.Pool(1, threads_per_worker=number)


@pytest.mark.usefixtures("_no_variables")
def test_libraries_of_a_worker_use_no_more_threads_than_they_may(context):
    before = loaded_threads(0)
    with closing(context.Pool(2, threads_per_worker=1)) as pool:
        found = pool.map(loaded_threads, [0])[0]
    assert found
    assert set(found) == {1}
    assert loaded_threads(0) == before


def test_unmodified_program_keeps_its_threads_and_cpus(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(DROP_IN)
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment["PYTHON_CPU_COUNT"] = "6"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == ["[(None, 6, 0)]", "[(None, 6, 0)]", "bound None 6"]
