"""What the readers and writers of the queue storm do: random puts and gets, each noted before and after.

A message is an item's number alone, or with a load that can be worked out from the number: half a message, or one mixed
with another, does not pass. Big loads travel out of band, and are looked at again while they are held as views.
"""

from __future__ import annotations

import pickle
import queue
import time
from typing import TYPE_CHECKING, Any

import queue_board as qb

if TYPE_CHECKING:
    import random

    from queue_storm import Phase

CROWD = 150  # items beyond which writers of an unbounded queue make a pause
STOP = -1  # an item that sends a reader home
HELD = 4  # views that a reader keeps at a time
SIZES = {"small": (0, 0, 200), "big": (200_000, 1_000_000), "mixed": (0, 30, 5_000, 70_000, 600_000)}


def load(item: int, size: int) -> bytes:
    """Return the load of an item: its number over and over."""
    return item.to_bytes(8, "little") * (size // 8)


def message(item: int, size: int, dice: random.Random) -> Any:
    """Return one of the forms in which an item travels."""
    if size == 0:
        return item
    data = load(item, size)
    form = dice.randrange(4)
    if form == 0:
        return (item, data)
    if form == 1:
        return (item, pickle.PickleBuffer(data))
    return (item, bytearray(data)) if form == 2 else data


def item_of(got: Any) -> int:
    """Return the number of the item that arrived.

    Raises:
        AssertionError: it did not arrive whole.
    """
    if isinstance(got, int):
        return got
    item, data = got if isinstance(got, tuple) else (int.from_bytes(got[:8], "little"), got)
    if bytes(data) != load(item, len(data)):
        msg = f"item {item >> 32}:{item & qb.NUMBER} is not whole: {type(data)}, {len(data)} bytes"
        raise AssertionError(msg)
    return item


def write(phase: Phase, life: int, dice: random.Random) -> None:
    """A writer's life."""
    board, box = phase.board, phase.queue
    done = 0
    while not board.stop and done < qb.MOST:
        if box.qsize() > CROWD:
            time.sleep(0.0005)
            continue
        count = dice.choice((1, 1, 1, 2, 7))
        items = [
            message(life << 32 | number, dice.choice(SIZES[phase.messages]), dice)
            for number in range(done, done + count)
        ]
        board.begin(life, done, count)
        done += put(box, items, dice)
        board.begin(life, done, 0)
    board.say(life, qb.PARKED)


def put(box: Any, items: list[Any], dice: random.Random) -> int:
    """Put items one of several ways; return how many are in."""
    options: dict[str, Any] = dice.choice(({}, {"timeout": dice.random() * 0.003}, {"block": False}))
    try:
        if len(items) > 1:
            box.put_many(items, **options)
        else:
            box.put(items[0], **options)
    except queue.Full as full:
        return int(full.accepted) if len(items) > 1 else 0  # type: ignore[attr-defined]
    return len(items)


def read(phase: Phase, life: int, dice: random.Random) -> None:
    """A reader's life: until it is sent home, or the queue is shut down."""
    import holdfast

    board, box = phase.board, phase.queue
    kept, stopped, held = 0, False, []
    while not stopped:
        many = dice.choice((0, 0, 0, 2, 30))
        options: dict[str, Any] = dice.choice(({}, {"timeout": dice.random() * 0.003}, {"block": False}))
        options["copy"] = dice.random() < 0.5
        board.ask(life, kept, max(many, 1))
        try:
            got = box.get_many(many, **options) if many else [box.get(**options)]
        except queue.Empty:
            got = []
        except holdfast.ShutDown:
            break
        items = [item_of(each) for each in got]
        stopped = STOP in items
        kept = board.keep(life, kept, [item for item in items if item != STOP])
        box.put_many([STOP] * (items.count(STOP) - 1))  # the others' signs
        held = [*held, *got][-HELD:]
        for view in held:
            item_of(view)
    board.ask(life, kept, 0)
    board.say(qb.LIVES + life, qb.PARKED)
