"""Numbers travel packed, and ranges as ranges: nobody can tell."""

import os
import signal

import pytest

import holdfast
from holdfast import _core
from holdfast.errors import WorkerDied
from holdfast.pool import ThreadPool

HUGE = 1 << 80


class Whole(int):
    """Not exactly an int."""


def same(value):
    return value


def kind_of(value):
    return type(value).__name__, value


def half(value):
    return value / 2


def die_at_77(value):
    if value == 77:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@pytest.fixture(autouse=True)
def no_pools_left():
    yield
    holdfast.close_warm_pools()


@pytest.fixture(params=["pool", "map", "thread pool", "threads"])
def run(request):
    """A map of any kind, with its results as a list."""
    if request.param in ("map", "threads"):
        on = "processes" if request.param == "map" else "threads"
        yield lambda function, values: list(holdfast.map(function, values, on=on, workers=2))
        return
    with holdfast.Pool(2) if request.param == "pool" else ThreadPool(2) as pool:
        yield pool.map


@pytest.mark.parametrize(
    "values",
    [
        range(5000),
        range(5000, 0, -3),
        range(1),
        range(0),
        range(HUGE, HUGE + 500),
        range(True, 300),
        list(range(-2500, 2500)),
        [*range(300), HUGE, *range(300)],
        [0] * 1000,
        [-(1 << 63), (1 << 63) - 1] * 100,
    ],
    ids=lambda values: repr(values)[:24],
)
def test_whole_numbers_arrive_and_return_as_they_are(run, values):
    assert run(same, values) == list(values)


@pytest.mark.parametrize("odd", [True, 1.0, None, "1", Whole(1)], ids=repr)
@pytest.mark.parametrize("place", [0, 70, 199])
def test_numbers_with_something_else_among_them_keep_their_types(run, odd, place):
    values = list(range(200))
    values[place] = odd
    assert run(kind_of, values) == [(type(value).__name__, value) for value in values]


def test_results_of_other_types_than_the_arguments_arrive(run):
    assert run(half, range(1000)) == [number / 2 for number in range(1000)]


def test_results_that_are_true_or_false_are_not_numbers(run):
    found = run(bool, range(200))
    assert found == [False] + [True] * 199
    assert {type(value) for value in found} == {bool}


@pytest.mark.parametrize("values", [range(200), list(range(200))], ids=["range", "list"])
def test_worker_dies_on_the_way_through_numbers_only_that_one_is_lost(values):
    found = list(holdfast.map(die_at_77, values, workers=2, on_error="collect"))
    assert found[:77] == list(range(77))
    assert found[78:] == list(range(78, 200))
    assert isinstance(found[77], WorkerDied)
    assert "die_at_77(77)" in str(found[77])


def test_retry_of_a_number_out_of_a_range_is_given_that_number():
    found = list(holdfast.map(die_at_77, range(70, 90), workers=2, on_error="collect", retries=1))
    assert isinstance(found.pop(7), WorkerDied)
    assert found == [*range(70, 77), *range(78, 90)]


def test_pack_takes_exact_ints_of_64_bits_and_nothing_else():
    numbers = [0, -1, (1 << 63) - 1, -(1 << 63)]
    assert memoryview(_core._pack(numbers)).cast("q").tolist() == numbers
    for odd in (1 << 63, -(1 << 63) - 1, True, 1.0, None, Whole(3)):
        assert _core._pack([1, odd]) is None
        assert _core._pack([odd, 1]) is None
    assert _core._pack([]) is None
    with pytest.raises(SystemError):
        _core._pack((1, 2))
