"""What the queue storm's workers write down: anonymous shared memory that survives each of them.

    a writer:  one word, DONE << 32 | BEGUN     items whose put() has returned, and items whose put() was begun
    a reader:  one word, KEPT << 16 | ASKED     items written to its log, and how many the get() under way may take
               and its log: the items it was given

Each word has one writer, and is written by one store: a kill leaves the old word or the new one. Items are numbers:
the number of the writer's life << 32 | which of its items it is.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LIVES = 64  # of writers and of readers, in one phase
MOST = 4_000  # items of one writer's life
LOG = 1 << 17  # items that one reader's life can write down
NUMBER = (1 << 32) - 1
IDLE, BUSY, PARKED, BAD = range(4)


class QueueBoard:
    """The notes of one phase."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, (2 + 4 * LIVES + LIVES * LOG) * 8)
        self.words = memoryview(self.memory).cast("q")

    def close(self) -> None:
        """Give the memory back."""
        self.words.release()
        self.memory.close()

    @property
    def stop(self) -> bool:
        """Whether no writer may begin another put."""
        return self.words[0] != 0

    @stop.setter
    def stop(self, value: bool) -> None:
        self.words[0] = int(value)

    def state(self, place: int) -> int:
        """Return what a life is doing; readers' places come after the writers'."""
        return self.words[2 + place]

    def say(self, place: int, state: int) -> None:
        """Set the caller's state."""
        self.words[2 + place] = state

    def begin(self, writer: int, done: int, count: int) -> None:
        """Write down that ``count`` more items are being put."""
        self.words[2 + 2 * LIVES + writer] = done << 32 | (done + count)

    def written(self, writer: int) -> tuple[int, int]:
        """Return how many items of a writer were surely put, and how many perhaps."""
        word = self.words[2 + 2 * LIVES + writer]
        return word >> 32, word & NUMBER

    def ask(self, reader: int, kept: int, count: int) -> None:
        """Write down that a get() for up to ``count`` items begins."""
        self.words[2 + 3 * LIVES + reader] = kept << 16 | count

    def keep(self, reader: int, kept: int, items: list[int]) -> int:
        """Write items into the caller's log; return the new length of it."""
        base = 2 + 4 * LIVES + reader * LOG + kept
        for offset, item in enumerate(items):
            self.words[base + offset] = item
        kept += len(items)
        self.words[2 + 3 * LIVES + reader] = kept << 16
        return kept

    def taken(self, reader: int) -> tuple[list[int], int]:
        """Return a reader's log, and how many items its last, unfinished get() may have taken."""
        word = self.words[2 + 3 * LIVES + reader]
        base = 2 + 4 * LIVES + reader * LOG
        return list(self.words[base : base + (word >> 16)]), word & 0xFFFF


def accounts(board: QueueBoard, writers: int, readers: int, killed: set[int]) -> Iterator[str]:
    """Yield what is wrong once everybody is done: items lost, doubled, invented or out of order.

    Args:
        board: the notes.
        writers: lives of writers in this phase.
        readers: lives of readers.
        killed: the readers among them that were killed.
    """
    found: set[int] = set()
    excused = 0
    for reader in range(readers):
        log, asked = board.taken(reader)
        excused += asked if reader in killed else 0
        if len(found.union(log)) != len(found) + len(log):
            yield f"reader {reader}: items twice: {sorted(found.intersection(log))[:5] or 'within its own log'}"
        found.update(log)
        for writer in range(writers):
            mine = [item & NUMBER for item in log if item >> 32 == writer]
            if mine != sorted(mine):
                yield f"reader {reader}: items of writer {writer} out of order"
    lost = 0
    for writer in range(writers):
        done, begun = board.written(writer)
        mine = {item & NUMBER for item in found if item >> 32 == writer}
        lost += len(set(range(done)) - mine)
        if invented := sorted(mine - set(range(begun))):
            yield f"items {invented[:5]} of writer {writer} arrived, but it had only begun {begun}"
    if lost > excused:
        yield f"{lost} items are lost; killed readers can have had at most {excused}"
