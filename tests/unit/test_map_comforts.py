"""`holdfast.map`: progress, event loops, warm workers, choosing a backend, options."""

import asyncio
import functools
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
from map_tasks import double, fail_at_five, is_gone, pid_of, sleep_if, tell_and_sleep, wait_if

import holdfast
from holdfast.errors import TaskTimeout, WorkerDied
from holdfast.parallel.auto import Sample, decide

BACKENDS = ["processes", "threads"] + (["interpreters"] if sys.version_info >= (3, 12) else [])

FACTOR = 2
SETTINGS = {"factor": 2}


@pytest.fixture(autouse=True)
def _no_warm_pools():
    yield
    holdfast.close_warm_pools()


@pytest.fixture(params=BACKENDS)
def on(request):
    return request.param


def times_factor(x):
    return x * FACTOR


def times_factor_inside(x):
    return scaled(x)


def scaled(x):
    return x * FACTOR


def times_setting(x):
    return x * SETTINGS["factor"]


class Scale:
    by = 2

    def apply(self, x):
        return x * self.by


def apply_scale(x):
    return Scale().apply(x)


def environment(_):
    return os.environ.get("HOLDFAST_TEST_WORD")


def remember(value):
    os.environ["HOLDFAST_TEST_REMEMBERED"] = str(value)


def remembered(_):
    return os.environ["HOLDFAST_TEST_REMEMBERED"]


def refuse():
    raise PermissionError


# progress


def test_progress_callback_counts_finished_tasks_to_the_end(on):
    seen = []
    found = list(holdfast.map(fail_at_five, range(20), on=on, workers=2, on_error="collect", progress=seen.append))
    assert len(found) == 20
    assert seen[-1][:3] == (20, 1, 20)
    assert [each.done for each in seen] == sorted(each.done for each in seen)


def test_progress_counts_tasks_whose_results_nobody_has_used():
    done = threading.Event()

    def see(progress):
        if progress.done >= 6:
            done.set()

    with holdfast.map(double, range(6), workers=2, progress=see) as results:
        done.wait()
        assert results.stats().used == 0


def test_progress_total_of_sized_iterable_known_of_generator_not():
    seen = []
    results = holdfast.map(double, dict.fromkeys(range(5)), progress=seen.append)
    assert list(results) == [0, 2, 4, 6, 8]
    assert seen[-1].total == 5


def test_progress_callback_raises_results_all_there_and_error_shown_once(capsys):
    def bad(progress):
        raise ValueError(progress.done)

    assert list(holdfast.map(double, range(100), progress=bad)) == list(range(0, 200, 2))
    assert capsys.readouterr().err.count("Traceback") == 1


def test_progress_bar_without_terminal_one_line(capsys):
    assert sum(holdfast.map(double, range(100), progress=True)) == 9900
    error = capsys.readouterr().err
    assert error.startswith("double: 100 of 100 in ")
    assert error.count("\n") == 1


def test_progress_plain_bar_on_terminal_drawn_in_place():
    from holdfast.parallel.progress import Progress, _Plain

    written = []
    bar = _Plain("work")
    stderr, sys.stderr = sys.stderr, type("Terminal", (), {"write": written.append, "flush": lambda: None})
    try:
        bar(Progress(5, 1, 10, 2.0, 2.5, 2.5), False)
        bar(Progress(10, 1, 10, 2.0, 0.0, 5.0), True)
    finally:
        sys.stderr = stderr
    assert written[0] == "\rwork: [###############...............] 5 of 10, 1 failed (2/s, 2.5 s left)"
    assert written[1].startswith("\rwork: [##############################] 10 of 10, 1 failed in 5.0 s (2/s)")
    assert written[1].endswith("\n")


def test_progress_bar_on_terminal_drawn_by_tqdm_where_installed(monkeypatch):
    bars = []

    class Bar:
        closed = False

        def __init__(self, **options):
            self.options = options
            bars.append(self)

        def set_postfix(self, **words):
            self.words = words

        def refresh(self):
            self.drawn = (self.n, self.total)

        def close(self):
            self.closed = True

    monkeypatch.setattr("holdfast.parallel.progress._is_terminal", lambda: True)
    monkeypatch.setitem(sys.modules, "tqdm", type("tqdm", (), {"tqdm": Bar}))
    assert len(list(holdfast.map(fail_at_five, range(20), on_error="collect", progress=True))) == 20
    (bar,) = bars
    assert (bar.drawn, bar.words["failed"], bar.closed) == ((20, 20), 1, True)


# event loops


def test_async_for_all_results_in_order(run, on):
    async def main():
        return [result async for result in holdfast.map(double, iter(range(300)), on=on, workers=2)]

    assert run(main) == list(range(0, 600, 2))


def test_async_for_waiting_does_not_block_the_loop(run):
    import anyio.lowlevel

    event = holdfast.Event()

    async def main():
        found = []
        async with anyio.create_task_group() as group:
            results = holdfast.map(functools.partial(wait_if, event, 0), range(3), workers=2)

            async def use():
                found.extend([result async for result in results])

            group.start_soon(use)
            await anyio.lowlevel.checkpoint()
            event.set()  # never reached if the other task blocked the loop
        return found

    assert run(main) == [0, 1, 2]


def test_async_for_cancelled_running_tasks_are_stopped(run):
    import anyio.lowlevel

    queue = holdfast.Queue()

    async def main():
        async with anyio.create_task_group() as group:
            results = holdfast.map(functools.partial(tell_and_sleep, queue), range(10), workers=2)

            async def use():
                async for _ in results:
                    raise AssertionError

            group.start_soon(use)
            pids = [await queue.get_async(), await queue.get_async()]
            group.cancel_scope.cancel()
        return pids

    pids = run(main)
    while not all(map(is_gone, pids)):
        time.sleep(0.01)


def test_async_for_broken_off_and_aclosed_ends(run):
    async def main():
        async with holdfast.map(double, itertools.count()) as results:
            async for result in results:
                if result == 100:
                    return result

    assert run(main) == 100


def test_async_for_failure_raised_at_its_place(run):
    async def main():
        found = []
        results = holdfast.map(fail_at_five, range(8))
        with pytest.raises(KeyError):
            found.extend([found.append(result) async for result in results])
        return found

    assert run(main) == [0, 1, 2, 3, 4]


def test_results_for_then_async_for_refused():
    results = holdfast.map(double, range(10))
    assert next(results) == 0

    async def main():
        async for _ in results:
            raise AssertionError

    with pytest.raises(RuntimeError, match="already being iterated"):
        asyncio.run(main())
    results.close()


def test_map_failure_raised_keeps_nothing_alive_but_the_caller():
    class Mark(Exception):
        pass

    def fail(_):
        raise Mark

    def use(on):
        try:
            list(holdfast.map(fail, [1], on=on))
        except Mark as error:
            return weakref.ref(error)

    gc.disable()
    try:
        found = use("threads")
    finally:
        gc.enable()
    deadline = time.monotonic() + 30
    while found() is not None and time.monotonic() < deadline:
        time.sleep(0.01)  # the thread that ran it is about to end
    assert found() is None


def test_star_import_leaves_the_builtin_map_alone():
    names = {}
    exec("from holdfast import *", names)
    assert "map" not in names
    assert "map" in dir(holdfast)
    assert names["starmap"] is holdfast.starmap


# warm workers


def pids():
    return set(holdfast.map(pid_of, range(50), workers=2))


def test_warm_workers_second_call_has_the_same(context):
    first = set(holdfast.map(pid_of, range(50), workers=1, context=context))
    assert set(holdfast.map(pid_of, range(50), workers=1, context=context)) == first
    holdfast.close_warm_pools()
    assert all(map(is_gone, first))
    assert set(holdfast.map(pid_of, range(50), workers=1, context=context)).isdisjoint(first)


def test_warm_workers_stay_after_results_were_abandoned():
    first = set(holdfast.map(pid_of, range(50), workers=1))
    next(holdfast.map(pid_of, itertools.count(), workers=1))
    assert set(holdfast.map(pid_of, range(50), workers=1)) == first


@pytest.mark.parametrize("function", [times_factor, times_factor_inside])
def test_warm_workers_global_bound_anew_new_value_counts(function, monkeypatch):
    assert list(holdfast.map(function, [1])) == [2]
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3)
    assert list(holdfast.map(function, [1])) == [3]


def test_warm_workers_global_changed_inside_new_value_counts(monkeypatch):
    assert list(holdfast.map(times_setting, [1])) == [2]
    monkeypatch.setitem(SETTINGS, "factor", 3)
    assert list(holdfast.map(times_setting, [1])) == [3]


def test_warm_workers_class_attribute_changed_new_value_counts(monkeypatch):
    assert list(holdfast.map(apply_scale, [1])) == [2]
    monkeypatch.setattr(Scale, "by", 3)
    assert list(holdfast.map(apply_scale, [1])) == [3]


@pytest.mark.parametrize("context", ["fork", "spawn"])  # a fork server keeps the environment of its start
def test_warm_workers_environment_changed_new_value_counts(context, monkeypatch):
    assert list(holdfast.map(environment, [1], context=context)) == [None]
    monkeypatch.setenv("HOLDFAST_TEST_WORD", "new")
    assert list(holdfast.map(environment, [1], context=context)) == ["new"]


def test_warm_workers_idle_for_long_end_by_themselves(monkeypatch):
    monkeypatch.setattr("holdfast.parallel.warm_pools._IDLE", 0.05)
    first = pids()
    while not all(map(is_gone, first)):
        time.sleep(0.01)
    assert pids().isdisjoint(first)


def test_warm_workers_one_killed_next_call_works():
    (pid,) = set(holdfast.map(pid_of, range(5), workers=1))
    os.kill(pid, signal.SIGKILL)
    found = set(holdfast.map(pid_of, range(5), workers=1, on_error="collect"))
    assert all(isinstance(each, (int, WorkerDied)) for each in found)
    assert list(holdfast.map(double, range(3), workers=1)) == [0, 2, 4]


def test_initializer_other_arguments_new_workers(on):
    call = functools.partial(holdfast.map, remembered, range(3), on=on, workers=1, initializer=remember)
    assert list(call(initargs=(1,))) == ["1"] * 3
    assert list(call(initargs=(2,))) == ["2"] * 3


def test_initializer_raises_map_raises_that(on):
    for _ in range(2):
        with pytest.raises(PermissionError):
            list(holdfast.map(double, range(3), on=on, workers=2, initializer=refuse))


CELLS = """
import holdfast
def f(x): return x + 1

list(holdfast.map(f, range(3)))
def f(x): return x + 100

list(holdfast.map(f, range(3)))
class Item:
    def __init__(self, x): self.x = x

def get(item): return item.x

list(holdfast.map(get, [Item(1), Item(2)]))
class Item:
    def __init__(self, x): self.x = 10 * x

list(holdfast.map(get, [Item(1), Item(2)]))
[item.x for item in holdfast.map(Item, [3, 4])]
"""


@pytest.mark.parametrize("first", ["", "import sys; sys.modules['cloudpickle'] = None"], ids=["cloudpickle", "bare"])
def test_interactive_session_names_defined_anew_new_ones_run(first):
    command = [sys.executable, "-i", "-q"]
    done = subprocess.run(command, input=first + CELLS, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n") == ["[1, 2, 3]", "[100, 101, 102]", "[1, 2]", "[10, 20]", "[30, 40]", ""], (
        done.stderr
    )


def test_interactive_session_spawn_without_cloudpickle_says_what_to_do():
    cells = (
        "import sys; sys.modules['cloudpickle'] = None\nimport holdfast\n"
        "def f(x): return x\n\nlist(holdfast.map(f, [1], context='spawn'))\n"
    )
    done = subprocess.run([sys.executable, "-i", "-q"], input=cells, capture_output=True, text=True, check=False)
    assert "install cloudpickle" in done.stderr


# choosing


def sample(**changes):
    usual = Sample(tasks=3, wall=0.3, cpu=0.3, moving=1e-6, obstacle="", left=1000, warm=False, gil=True)
    return usual._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({}, "processes"),
        ({"left": None}, "processes"),
        ({"cpu": 0.01}, "threads"),
        ({"obstacle": "TypeError: cannot pickle"}, "threads"),
        ({"gil": False}, "threads"),
        ({"moving": 0.2}, "thread"),
        ({"wall": 3e-5, "cpu": 3e-5}, "thread"),
        ({"wall": 3e-5, "cpu": 3e-5, "warm": True}, "processes"),
        ({"wall": 3e-5, "cpu": 3e-5, "left": None}, "processes"),
    ],
)
def test_decide_each_kind_of_work_right_backend(changes, chosen):
    assert decide(sample(**changes))[0] == chosen


def test_auto_tasks_that_cannot_be_pickled_threads_and_none_runs_twice():
    runs = []
    locks = [threading.Lock() for _ in range(20)]
    results = holdfast.map(lambda lock: (runs.append(1), lock)[1], locks, on="auto")
    assert list(results) == locks
    assert len(runs) == 20
    assert results.stats().on == "threads"


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return os.getpid()


def test_auto_tasks_that_compute_processes_get_the_rest():
    results = holdfast.map(burn, itertools.repeat(0.004, 60), on="auto", workers=2)
    found = list(results)
    assert len(found) == 60
    assert found[0] == os.getpid()
    assert results.stats().on == "processes", results.stats()
    assert os.getpid() not in found[-10:]


def test_auto_with_timeout_processes():
    results = holdfast.map(functools.partial(sleep_if, 1), range(3), on="auto", timeout=0.2, on_error="collect")
    assert [type(each) for each in results] == [int, TaskTimeout, int]
    assert results.stats().on == "processes"


@pytest.mark.parametrize("on_error", ["raise", "collect"])
def test_auto_failures_counted_and_raised(on_error):
    found = holdfast.map(fail_at_five, range(8), on="auto", on_error=on_error)
    if on_error == "raise":
        with pytest.raises(KeyError):
            list(found)
    else:
        assert [repr(each) for each in found][5] == "KeyError(5)"


def test_interpreters_too_old_python_error_names_the_version():
    if sys.version_info >= (3, 12):
        assert list(holdfast.map(double, range(100), on="interpreters", workers=2)) == list(range(0, 200, 2))
        return
    with pytest.raises(RuntimeError, match=r"Python 3\.12"):
        holdfast.map(double, range(3), on="interpreters")


def test_results_repr_and_stats_say_how_far_it_is():
    results = holdfast.map(fail_at_five, range(8), workers=2, on_error="collect")
    assert len(list(results)) == 8
    assert repr(results) == "<holdfast.Results of fail_at_five on 2 processes: 8 of 8 done, 1 failed>"
    stats = results.stats()
    assert (stats.on, stats.workers, stats.done, stats.failed, stats.used, stats.total) == ("processes", 2, 8, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"on": "fibers"}, ValueError, "on must be"),
        ({"workers": 0}, ValueError, "workers"),
        ({"workers": 2.5}, TypeError, "workers"),
        ({"workers": 1 << 20}, ValueError, "workers"),
        ({"chunk": 0}, ValueError, "chunk"),
        ({"chunk": "big"}, TypeError, "chunk"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": "soon"}, TypeError, "timeout"),
        ({"retries": -1}, ValueError, "retries"),
        ({"on_error": "ignore"}, ValueError, "on_error"),
        ({"progress": 3}, TypeError, "progress"),
        ({"initializer": 3}, TypeError, "initializer"),
        ({"initargs": 3}, TypeError, "initargs"),
        ({"look_ahead": 0}, ValueError, "look_ahead"),
        ({"context": 3}, TypeError, "context"),
        ({"context": "teleport"}, ValueError, "teleport"),
    ],
)
def test_map_bad_option_error_names_it(options, kind, named):
    with pytest.raises(kind, match=named):
        holdfast.map(double, range(3), **options)


def test_map_bad_function_or_items_type_error():
    with pytest.raises(TypeError, match="function"):
        holdfast.map(3, range(3))
    with pytest.raises(TypeError, match="iterable"):
        holdfast.map(double, 3)
