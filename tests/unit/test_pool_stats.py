"""What pools and executors tell of their work: exact counts, where the time went, the slowest tasks."""

import os
import signal
import time
import typing
from pathlib import Path

import pytest

import holdfast
from holdfast.crew import timesheet
from holdfast.crew.insight import Insights, SeatTimes, SlowTask
from holdfast.futures import ProcessExecutor


def wait_for(event):
    event.wait()
    return os.getpid()


def odd_ones_fail(x):
    if x % 2:
        raise ValueError(x)
    return x


def fail_once(path):
    if Path(path).exists():
        return "done"
    Path(path).touch()
    raise ValueError(path)


def die(x):
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def sleep_for(seconds):
    time.sleep(seconds)
    return seconds


class Unpicklable:
    text = "never"

    def __reduce__(self):
        raise TypeError(self.text)


def counts(stats):
    return stats._replace(workers=0)


def test_stats_of_a_pool_count_what_is_done_and_what_failed(context):
    with context.Pool(2) as pool:
        assert pool.stats()[1:] == (0, 0, 0, 0, 0, 0)
        assert pool.map(abs, range(100)) == list(range(100))
        assert pool.stats() == (2, 0, 0, 100, 0, 0, 0)
        with pytest.raises(ValueError, match="in worker process"):
            pool.map(odd_ones_fail, range(10), 5)
        with pytest.raises(TypeError, match="never"):
            pool.apply(abs, (Unpicklable(),))
        assert pool.stats() == (2, 0, 0, 105, 6, 0, 0)
        pool.close()
        pool.join()
    assert pool.stats() == (0, 0, 0, 105, 6, 0, 0)


def test_stats_while_tasks_run_count_them_and_those_that_wait(context):
    event = context.Event()
    with ProcessExecutor(2, context) as executor:
        futures = [executor.submit(wait_for, event) for _ in range(7)]
        now = executor.stats()
        assert (now.waiting + now.running, now.done) == (7, 0)
        assert now.running <= now.workers <= 2
        event.set()
        for future in futures:
            future.result()
        assert counts(executor.stats()) == (0, 0, 0, 7, 0, 0, 0)


def test_stats_of_a_task_given_again_count_it_as_retried(context, tmp_path):
    with ProcessExecutor(1, context, retries=1) as executor:
        assert executor.submit(fail_once, str(tmp_path / "file")).result() == "done"
        assert counts(executor.stats()) == (0, 0, 0, 1, 0, 1, 0)
        with pytest.raises(ValueError, match="1"):
            executor.submit(odd_ones_fail, 1).result()
        assert counts(executor.stats()) == (0, 0, 0, 1, 1, 2, 0)


def test_stats_after_a_death_count_it_and_its_task(context):
    with ProcessExecutor(1, context) as executor:
        with pytest.raises(holdfast.WorkerDied):
            executor.submit(die, 1).result()
        assert executor.submit(abs, -1).result() == 1
        assert counts(executor.stats()) == (0, 0, 0, 1, 1, 0, 1)


def test_stats_of_recycled_workers_count_no_deaths(context):
    with ProcessExecutor(1, context, max_tasks_per_child=1) as executor:
        assert list(executor.map(abs, range(4))) == [0, 1, 2, 3]
    assert executor.stats() == (0, 0, 0, 4, 0, 0, 0)


def test_insights_of_workers_replaced_are_added_to_their_seat(context):
    with ProcessExecutor(1, context, max_tasks_per_child=2) as executor:
        pids = list(executor.map(wait_for, [done_event(context)] * 6))
    seat = executor.insights().seats[0]
    assert (seat.seat, seat.pid, seat.workers, seat.tasks) == (0, pids[-1], 3, 6)
    assert min(seat.starting, seat.working, seat.sending) > 0
    assert executor.insights() == executor.insights()  # nothing goes on


def done_event(context):
    event = context.Event()
    event.set()
    return event


def test_insights_of_a_killed_worker_keep_its_time(context):
    with ProcessExecutor(1, context) as executor:
        executor.submit(sleep_for, 0.2).result()
        with pytest.raises(holdfast.WorkerDied):
            executor.submit(die, 1).result()
        executor.submit(abs, 1).result()
        seat = executor.insights().seats[0]
        assert (seat.workers, seat.tasks) == (2, 2)
        assert seat.working >= 0.2


def test_insights_while_a_task_runs_count_its_time_so_far(context):
    with context.Pool(1) as pool:
        result = pool.apply_async(sleep_for, (600,))
        while pool.insights().total.working < 0.05:  # it grows, or the watchdog ends this
            time.sleep(0.01)
        assert not result.ready()
        pool.terminate()
        assert pool.insights().total.working >= 0.05


def test_insights_name_the_slowest_tasks_first(context):
    waits = [0.01, 0.2, 0.03, 0.1, 0.0, 0.05]
    with context.Pool(2) as pool:
        pool.map(sleep_for, waits, 1)
        slowest = pool.insights().slowest
    assert len(slowest) == 5
    assert slowest[0][1:] == ("sleep_for", 1, "(0.2)")
    assert slowest[0].seconds >= 0.2
    assert [each.seconds for each in slowest] == sorted((each.seconds for each in slowest), reverse=True)


def test_insights_before_any_task_have_no_slowest_and_can_be_shown():
    with ProcessExecutor(1) as executor:
        assert str(executor.insights()).splitlines()[0].split()[:3] == ["seat", "pid", "workers"]
        assert executor.insights().total == (None, None, 0, 0, 0, 0, 0, 0)


def test_insights_as_text_are_an_aligned_table():
    seats = (SeatTimes(0, 4711, 1, 12, 0.02, 1.0, 2.5, 0.125), SeatTimes(1, 4712, 3, 7, 0.02, 0.0, 11.25, 0.0))
    slowest = (SlowTask(10.5, "work", 3, "(7)"), SlowTask(0.25, "work", 0, "(1)"))
    assert str(Insights(seats, slowest)).splitlines() == [
        "seat   pid  workers  tasks  starting  waiting   working  sending",
        "   0  4711        1     12   0.020 s  1.000 s   2.500 s  0.125 s",
        "   1  4712        3      7   0.020 s  0.000 s  11.250 s  0.000 s",
        " all              4     19   0.040 s  1.000 s  13.750 s  0.125 s",
        "                                  0%       7%       92%       1%",
        "slowest tasks",
        "10.500 s  task 3: work(7)",
        " 0.250 s  task 0: work(1)",
    ]


def test_timesheet_of_a_worker_that_ended_counts_no_more(monkeypatch):
    words = [0] * timesheet.WORDS
    timesheet.begin(words)
    begun = words[timesheet.NOW] >> 3
    assert timesheet.read(words, begun + 2_000_000_000) == (2.0, 0.0, 0.0, 0.0)
    clock = iter([begun + 10**9, begun + 3 * 10**9, begun + 6 * 10**9])
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(clock))
    enter = timesheet.keep(words)
    assert enter(timesheet.WAITING) == 10**9
    enter(timesheet.WORKING)
    assert timesheet.read(words, begun + 4 * 10**9) == (1.0, 2.0, 1.0, 0.0)
    enter(timesheet.ENDED)
    assert timesheet.read(words, begun + 9 * 10**9) == (1.0, 2.0, 3.0, 0.0)


def test_stats_and_results_can_be_asked_for_their_types():
    stats = holdfast.map(abs, [1], on="threads")
    hints = typing.get_type_hints(type(stats.stats()))
    assert (hints["done"], hints["total"]) == (int, int | None)
    assert typing.get_origin(type(stats)[int]) is type(stats)
    assert list(stats) == [1]
