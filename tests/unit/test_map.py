"""`holdfast.map` and `holdfast.starmap`: order, laziness, failures, stopping."""

import functools
import itertools
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from map_tasks import (
    count_and_fail,
    die_at_five,
    double,
    fail_at_five,
    fail_until_third,
    is_gone,
    nested,
    sleep_if,
    tell_and_sleep,
    wait_if,
)

import holdfast
from holdfast.errors import TaskTimeout, WorkerDied

ROOT = Path(__file__).parents[2]
BACKENDS = ["processes", "threads"] + (["interpreters"] if sys.version_info >= (3, 12) else [])


@pytest.fixture(autouse=True)
def _no_warm_pools():
    yield
    holdfast.close_warm_pools()


@pytest.fixture(params=BACKENDS)
def on(request):
    return request.param


# results


def test_map_every_start_method_results_in_order(context):
    assert list(holdfast.map(double, range(2000), context=context)) == list(range(0, 4000, 2))


@pytest.mark.parametrize("items", [[], (), range(0), iter(())], ids=["list", "tuple", "range", "iterator"])
def test_map_no_items_no_results(items, on):
    assert list(holdfast.map(double, items, on=on, workers=2)) == []


@pytest.mark.parametrize("make", [list, tuple, iter, set, dict.fromkeys], ids=lambda f: f.__qualname__)
def test_map_any_iterable_all_results(make, on):
    assert list(holdfast.map(double, make(range(300)), on=on, workers=2)) == list(range(0, 600, 2))


def test_map_text_one_task_a_character(on):
    assert list(holdfast.map(ord, "abc", on=on, workers=2)) == [97, 98, 99]


def test_starmap_tuples_lists_and_generator_several_arguments(on):
    wanted = [32, 9]
    assert list(holdfast.starmap(pow, [(2, 5), [3, 2]], on=on, workers=2)) == wanted
    assert list(holdfast.starmap(pow, (pair for pair in [(2, 5), [3, 2]]), on=on, workers=2)) == wanted


def test_starmap_item_is_no_sequence_type_error_at_the_call_or_its_place():
    with pytest.raises(TypeError):
        holdfast.starmap(pow, [(2, 5), 3])
    results = holdfast.starmap(pow, iter([(2, 5), 3]))
    assert next(results) == 32
    with pytest.raises(TypeError):
        next(results)


@pytest.mark.parametrize("chunk", ["auto", 1, 7, 1000])
def test_map_chunk_sizes_same_results(chunk):
    assert list(holdfast.map(double, range(500), chunk=chunk)) == list(range(0, 1000, 2))
    assert sum(holdfast.map(double, iter(range(500)), chunk=chunk, ordered=False)) == 249500


def test_map_lambda_and_closure_work():
    base = 10
    assert list(holdfast.map(lambda x: x + base, range(3))) == [10, 11, 12]


def test_map_inside_a_task_works():
    assert list(holdfast.map(nested, [3, 4])) == [6, 12]


def test_map_in_forked_child_has_workers_of_its_own():
    assert list(holdfast.map(double, range(3))) == [0, 2, 4]
    process = holdfast.get_context("fork").Process(target=nested, args=(5,))
    process.start()
    assert process.result(60) == 20


def test_map_unordered_first_task_waits_others_come():
    event = holdfast.Event()
    results = holdfast.map(functools.partial(wait_if, event, 0), range(6), workers=2, ordered=False, chunk=1)
    assert sorted(itertools.islice(results, 5)) == [1, 2, 3, 4, 5]
    event.set()
    assert list(results) == [0]


def test_map_two_at_once_both_complete():
    pairs = zip(holdfast.map(double, range(50)), holdfast.map(double, range(50, 100)), strict=True)
    assert list(pairs) == [(2 * i, 2 * (50 + i)) for i in range(50)]


def test_map_of_map_pipeline_completes():
    assert list(holdfast.map(double, holdfast.map(double, iter(range(100))))) == list(range(0, 400, 4))


# laziness


class Source:
    """An endless iterator's items, and how it ended."""

    def __init__(self):
        self.taken = 0
        self.ended = threading.Event()

    def __iter__(self):
        try:
            for number in itertools.count():
                self.taken = number + 1
                yield number
        finally:
            self.ended.set()


@pytest.mark.parametrize("look_ahead", [1, 2, 10])
def test_map_endless_generator_reads_no_further_than_allowed(look_ahead, on):
    source = Source()
    with holdfast.map(double, source, on=on, workers=2, look_ahead=look_ahead) as results:
        for used in range(1, 40):
            assert next(results) == 2 * (used - 1)
            assert source.taken <= used + look_ahead
    source.ended.wait()


def test_map_default_look_ahead_bounded_before_anything_is_used():
    started = holdfast.Value("i", 0)
    event = holdfast.Event()
    with holdfast.map(functools.partial(count_then_wait, started, event), range(100_000), workers=2) as results:
        assert next(results) == 0
        assert results.stats().look_ahead >= 8
        assert started.value <= 16
        event.set()


def count_then_wait(counter, event, x):
    counter.add(1)
    if x:
        event.wait()
    return x


def test_map_generator_that_waits_for_the_first_result_gets_it(on):
    seen = threading.Event()

    def items():
        yield 1
        yield 2
        seen.wait()
        yield 3

    results = holdfast.map(double, items(), on=on, workers=2)
    assert [next(results), next(results)] == [2, 4]
    seen.set()
    assert list(results) == [6]


def test_map_generator_raises_error_after_earlier_results(on):
    def items():
        yield 1
        yield 2
        raise LookupError

    for on_error in ("raise", "collect"):
        results = holdfast.map(double, items(), on=on, workers=2, on_error=on_error)
        assert [next(results), next(results)] == [2, 4]
        with pytest.raises(LookupError):
            next(results)
        assert list(results) == []


def test_map_long_generator_memory_flat():
    command = [sys.executable, str(ROOT / "ci" / "map_memory.py"), "--items", "300000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# failures


def test_map_failure_raised_at_its_place_with_the_task_named(on):
    results = holdfast.map(fail_at_five, range(8), on=on, workers=2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError) as caught:
        next(results)
    assert "task 5, fail_at_five(5)" in caught.value.__notes__[0]
    assert list(results) == []


def test_map_collect_exceptions_among_the_results(on):
    found = list(holdfast.map(fail_at_five, range(8), on=on, workers=2, on_error="collect"))
    assert [repr(each) for each in found] == ["0", "1", "2", "3", "4", "KeyError(5)", "6", "7"]


def test_map_first_failure_gives_up_what_has_not_begun():
    counter = holdfast.Value("i", 0)
    results = holdfast.map(functools.partial(count_and_fail, counter), range(10_000), look_ahead=8, chunk=1)
    with pytest.raises(LookupError):
        next(results)
    assert counter.value <= 8


def test_map_worker_killed_only_that_item_fails(context):
    found = list(holdfast.map(die_at_five, range(12), context=context, on_error="collect"))
    assert [each for each in found if not isinstance(each, WorkerDied)] == [x for x in range(12) if x != 5]
    assert found[5].signal == "SIGKILL"
    assert found[5].task == 5


def test_map_item_cannot_be_pickled_fails_alone():
    found = list(holdfast.map(type, [1, threading.Lock(), 2], on_error="collect"))
    assert [found[0], found[2]] == [int, int]
    assert isinstance(found[1], TypeError)


@pytest.mark.parametrize("on", ["processes", "threads"])
def test_map_retries_failing_task_runs_again(on):
    counter = holdfast.Value("i", 0)
    with pytest.raises(LookupError):
        list(holdfast.map(functools.partial(fail_until_third, counter), ["a"], on=on, retries=1))
    assert counter.value == 2
    counter.value = 0
    assert list(holdfast.map(functools.partial(fail_until_third, counter), ["a"], on=on, retries=2)) == ["a"]


def test_map_timeout_process_only_slow_task_is_stopped():
    found = list(holdfast.map(functools.partial(sleep_if, 1), range(4), timeout=0.2, on_error="collect"))
    assert [found[0], *found[2:]] == [0, 2, 3]
    assert isinstance(found[1], TaskTimeout)


def test_map_timeout_thread_only_slow_task_fails_and_others_go_on():
    event = threading.Event()
    work = functools.partial(wait_if, event, 1)
    found = list(holdfast.map(work, range(4), on="threads", workers=1, timeout=0.2, on_error="collect"))
    event.set()
    assert [found[0], *found[2:]] == [0, 2, 3]
    assert isinstance(found[1], TaskTimeout)


# stopping


@pytest.mark.parametrize("how", ["drop", "close", "leave", "break"])
def test_map_abandoned_running_tasks_are_stopped(how, context):
    queue = holdfast.Queue()
    work = functools.partial(tell_and_sleep, queue)
    results = holdfast.map(work, range(100), workers=2, context=context)
    pids = [queue.get(timeout=60), queue.get(timeout=60)]
    if how == "drop":
        del results
    elif how == "close":
        results.close()
        assert list(results) == []
    elif how == "leave":
        with results:
            pass
    else:
        iterator = iter(results)
        del results
        del iterator
    while not all(map(is_gone, pids)):
        time.sleep(0.01)


def test_map_interrupted_ends_at_once_and_leaves_nothing():
    program = """
import holdfast, time
def work(x):
    if x == 0:
        return x
    time.sleep(600)
if __name__ == "__main__":
    for result in holdfast.map(work, range(10), workers=2, chunk=1):
        print("first", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1


def test_map_program_ends_with_open_results_quietly(on):
    program = f"""
import holdfast, itertools
if __name__ == "__main__":
    results = holdfast.map(abs, itertools.count(), on={on!r}, workers=2)
    print(next(results))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
