"""Nothing waits in vain: not for a sleeping parent, a slow start, a long task, or for what another thread has begun."""

import importlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import unittest.mock
from pathlib import Path

import pytest

import holdfast
from holdfast.crew.staff import Staff
from holdfast.errors import TasksDropped, TaskTimeout
from holdfast.futures import ProcessExecutor

SOON = 2.0  # seconds; what is tested for took more than four, or for ever


@pytest.fixture(autouse=True)
def no_pools_left():
    yield
    holdfast.close_warm_pools()


def nap(seconds):
    time.sleep(seconds)
    return seconds


def rest_of_the_first(seat):
    if holdfast.current_worker().id == seat:
        time.sleep(4 * SOON)


def leave_a_child(path):
    child = holdfast.Process(target=time.sleep, args=(60,))
    child.start()
    Path(path).write_text(str(child.pid))
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)


def wait_or_set(event, number):
    if number == 20_000:
        event.wait()
    if number == 20_001:
        event.set()
    return number


def import_it():
    return importlib.import_module("takes_long").x


def taken(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_timeout_of_a_call_to_an_idle_warm_pool_is_kept():
    assert list(holdfast.map(nap, [0], workers=2)) == [0]
    time.sleep(0.3)  # the parent goes to sleep

    def call():
        with pytest.raises(TaskTimeout):
            list(holdfast.map(nap, [60], workers=2, timeout=0.3))

    assert taken(call) < SOON


def test_result_behind_a_long_task_comes_from_a_pool_that_was_idle():
    with holdfast.Pool(1) as pool:
        pool.apply(nap, (0,))
        time.sleep(0.3)
        results = pool.imap(nap, [0, 60], chunksize=2)
        assert taken(lambda: results.next(60)) < SOON


def test_worker_that_starts_slowly_leaves_its_work_to_others(context):
    with context.Pool(2, rest_of_the_first, (0,)) as pool:
        assert taken(lambda: [pool.apply(nap, (0,)) for _ in range(4)]) < 3 * SOON
        assert taken(lambda: pool.map(nap, [0] * 100)) < SOON


def test_task_behind_a_long_one_runs_while_all_others_are_busy_for_ever():
    event = holdfast.Event()
    numbers = ((event, number) for number in itertools.count())
    with holdfast.Pool(2) as pool:
        results = pool.imap_unordered(_wait_or_set, numbers, chunksize=64)
        until = time.monotonic() + 30
        while not event.is_set():
            next(results)
            assert time.monotonic() < until
    time.sleep(0.5)  # whoever reads is done
    read = next(numbers)[1]
    time.sleep(0.5)
    assert next(numbers)[1] == read + 1  # nobody reads on


def _wait_or_set(pair):
    return wait_or_set(*pair)


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_map_of_a_pool_that_ends_while_arguments_are_read_has_an_error(end):
    pool = holdfast.Pool(2)

    def values():
        yield 0
        thread = threading.Thread(target=lambda: (getattr(pool, end)(), pool.join()))
        thread.start()
        thread.join()
        yield 0

    with pytest.raises(TasksDropped):
        pool.map_async(nap, values()).get(30)
    pool.terminate()


def test_pool_without_memory_for_a_batch_fails_that_call_and_no_other(monkeypatch):
    with holdfast.Pool(2) as pool:
        pool.map(nap, [0] * 4)

        def fail(_):
            monkeypatch.undo()
            raise MemoryError

        monkeypatch.setattr("holdfast.crew.cargo.packed", fail)
        with pytest.raises(MemoryError):
            pool.map(nap, [0] * 4)
        assert pool.map(nap, [0] * 4) == [0] * 4
        pool.close()
        pool.join()


@pytest.mark.parametrize("thread", ["pump", "watch"])
@pytest.mark.parametrize("front", ["pool", "executor"])
def test_no_thread_can_be_started_there_is_an_error_and_no_process_is_left(monkeypatch, thread, front):
    start = threading.Thread.start

    def refuse(self):
        if self.name == f"holdfast-pool-{thread}":
            message = "can't start new thread"
            raise RuntimeError(message)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    def work():
        if front == "pool":
            with holdfast.Pool(2) as pool:
                pool.apply(nap, (0,))
        else:
            with ProcessExecutor(2) as executor:
                executor.submit(nap, 0).result(30)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        work()
    monkeypatch.undo()
    assert not holdfast.active_children()


class Imagined:
    """A process that a program's context may have in place of ours; the fourth one cannot be started."""

    exitcode = None

    def __init__(self, made, **_):
        self.name, self.alive = "Process-1", False
        self.fails = len(made) == 3
        made.append(self)

    def start(self):
        if self.fails:
            message = "no more of these"
            raise OSError(message)
        self.alive = True

    def terminate(self):
        pass

    def join(self):
        self.alive = False


def test_pool_of_imagined_processes_joins_them_when_one_does_not_start():
    made = []
    context = unittest.mock.MagicMock(Process=lambda **options: Imagined(made, **options))
    with pytest.raises(OSError, match="no more of these"):
        holdfast.pool.Pool(5, context=context)
    assert [process.alive for process in made] == [False] * 4
    assert [process.fails for process in made] == [False, False, False, True]


def test_worker_dies_and_a_child_of_it_lives_on_the_pool_goes_on(tmp_path):
    path = tmp_path / "pid"
    with holdfast.Pool(2) as pool:
        with pytest.raises(holdfast.WorkerDied):
            pool.apply(leave_a_child, (str(path),))
        try:
            assert taken(lambda: pool.map(nap, [0] * 10)) < SOON
        finally:
            os.kill(int(path.read_text()), signal.SIGKILL)


def test_join_of_a_process_whose_child_lives_on_returns_when_it_has_ended(tmp_path):
    path = tmp_path / "pid"
    process = holdfast.Process(target=leave_a_child, args=(str(path),))
    process.start()
    try:
        assert taken(lambda: process.join(30)) < SOON
        assert process.exitcode == -signal.SIGKILL
    finally:
        os.kill(int(path.read_text()), signal.SIGKILL)


def test_fork_while_another_thread_imports_the_child_does_not_wait_for_ever(tmp_path, monkeypatch):
    (tmp_path / "takes_long.py").write_text("import time\nx = 5\ntime.sleep(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    thread = threading.Thread(target=import_it)
    thread.start()
    time.sleep(0.2)
    process = holdfast.get_context("fork").Process(target=import_it)
    process.start()
    assert process.result(timeout=10 * SOON) == 5
    thread.join()
    sys.modules.pop("takes_long")


def test_numbers_that_are_none_are_refused_and_the_pool_goes_on():
    with holdfast.Pool(1) as pool:
        for chunk in (1.5, "2", float("nan")):
            for call in (pool.map, pool.imap, pool.imap_unordered, pool.map_async):
                with pytest.raises(TypeError, match="chunksize must be a whole number"):
                    call(nap, [0], chunksize=chunk)
        assert pool.map(nap, [0]) == [0]
    with ProcessExecutor(1) as executor, pytest.raises(TypeError, match="chunksize must be a whole number"):
        executor.map(nap, [0], chunksize=1.5)
    for wrong in ({"timeout": "3"}, {"retries": 1.5}, {"max_workers": 1.5}):
        with pytest.raises(TypeError, match=r"must be a (whole )?number"):
            ProcessExecutor(**wrong)
    for wrong in ({"timeout": 0}, {"timeout": float("nan")}, {"retries": -1}):
        with pytest.raises(ValueError, match="must be"):
            ProcessExecutor(**wrong)


def test_range_without_a_length_is_mapped():
    assert list(itertools.islice(holdfast.map(abs, range(10**30)), 3)) == [0, 1, 2]


def test_closed_results_give_nothing_more():
    results = holdfast.map(abs, range(1000))
    assert next(results) == 0
    results.close()
    assert list(results) == []


def test_end_of_idle_workers_waits_for_what_they_do_at_their_end(tmp_path):
    list(holdfast.map(_write_at_exit, [str(tmp_path / "done")], workers=1))
    holdfast.close_warm_pools()
    assert (tmp_path / "done").exists()


def _write_at_exit(path):
    holdfast.current_worker().at_exit(lambda: (time.sleep(1.5), Path(path).touch()))


INTERRUPTED = """
import os, random, signal, threading, time
import holdfast

def add(x):
    return x + 1

def strike():
    while True:
        armed.wait()
        time.sleep(random.random() * 0.004)
        armed.clear()
        os.kill(os.getpid(), signal.SIGINT)

armed = threading.Event()
if __name__ == "__main__":
    with holdfast.Pool(2) as pool:
        pool.map(add, range(8))
        threading.Thread(target=strike, daemon=True).start()
        struck = 0
        until = time.monotonic() + 8
        while time.monotonic() < until:
            try:
                armed.set()
                while True:
                    pool.map_async(add, range(64), chunksize=1)
            except KeyboardInterrupt:
                struck += 1
            found = pool.map_async(add, range(64)).get(20)
            assert found == list(range(1, 65)), found
    print("interrupted" if struck > 20 else struck)
"""


def test_interrupt_within_a_call_leaves_a_pool_that_works(tmp_path):
    program = tmp_path / "interrupted.py"
    program.write_text(INTERRUPTED)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "interrupted\n", done.stderr


def test_watch_sees_those_that_ended_before_it_was_started(context):
    staff = Staff(context, 1, "Worker", None, (), holdfast.crew.seat.Outfit(), lambda *_: None)
    number = staff.next_number()
    staff.start(number)
    staff.signal(number, signal.SIGKILL)
    staff.end_all(5.0)
    staff.watch()
    deadline = time.monotonic() + 10
    while not staff.has_gone():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert staff.gone() == [number]
    staff.bury(number, ready=False)
    staff.close()
