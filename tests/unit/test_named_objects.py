"""Named objects: one object for every process of a user, whatever its kind."""

import pytest

import holdfast
from holdfast import errors

KINDS = {
    "Lock": holdfast.Lock,
    "RLock": holdfast.RLock,
    "RWLock": holdfast.RWLock,
    "Semaphore": lambda name: holdfast.Semaphore(2, name=name),
    "BoundedSemaphore": lambda name: holdfast.BoundedSemaphore(2, name=name),
    "Event": holdfast.Event,
    "Condition": lambda name: holdfast.Condition(name=name),
    "Barrier": lambda name: holdfast.Barrier(2, name=name),
    "Value": lambda name: holdfast.Value("i", name=name),
}


def names_of(kind, connection):
    connection.send(KINDS[kind](f"test-{kind}").stats().name)
    connection.close()


@pytest.mark.parametrize("kind", KINDS)
def test_named_object_other_process_finds_the_same(kind):
    thing = KINDS[kind](f"test-{kind}")
    reader, writer = holdfast.Pipe(duplex=False)
    process = holdfast.get_context("spawn").Process(target=names_of, args=(kind, writer))
    process.start()
    writer.close()
    assert reader.recv() == thing.name == f"test-{kind}"
    reader.close()
    process.result(60)
    process.close()


def test_named_value_second_maker_keeps_the_number():
    first = holdfast.Value("i", 5, name="test-hits")
    second = holdfast.Value("i", 9, name="test-hits")
    first.add(2)
    assert (second.value, second.get_lock().stats().name) == (7, "test-hits")


@pytest.mark.parametrize("length", [3, 50_000])
def test_named_array_second_maker_sees_the_first_ones_elements(length):
    first = holdfast.Array("d", [1.0] * length, name=f"test-array-{length}")
    second = holdfast.Array("d", [2.0] * length, name=f"test-array-{length}")
    first[length - 1] = 4.0
    assert (second[0], second[length - 1]) == (1.0, 4.0)


@pytest.mark.parametrize(
    "other",
    [
        lambda: holdfast.Lock("test-clash"),
        lambda: holdfast.Value("d", name="test-clash"),
        lambda: holdfast.RawArray("d", 3, name="test-clash"),
    ],
)
def test_named_object_of_another_kind_is_refused(other):
    value = holdfast.Value("i", name="test-clash")
    with pytest.raises(errors.NameClash, match="HF111"):
        other()
    assert value.value == 0


def test_named_bytes_of_another_length_are_refused():
    array = holdfast.RawArray("b", 2000, name="test-length")
    with pytest.raises(errors.NameClash, match="2000 bytes, not to 3000"):
        holdfast.RawArray("b", 3000, name="test-length")
    assert array[0] == 0


def test_named_object_long_names_differ_by_their_ends():
    long = "a" * 100
    first, second = holdfast.Lock(long + "1"), holdfast.Lock(long + "2")
    with first:
        assert second.acquire(False)
        assert not holdfast.Lock(long + "1").acquire(False)
    second.release()
