"""A worker's ledger: what it has begun and finished, in shared memory, for the parent to read if the worker dies.

Results of small tasks travel many in one message. So that none is lost with its worker, each is noted here before the
next task begins; a note is a store or two. A parent that finds a message late reads the notes of a running worker, too.
Words (64 bit) and what follows them::

    BATCH   the batch that was begun last         BASE    how many results of it have been sent
    STATE   new, idle, running or sending         BEGAN   when it, or its task, began, in ns of the monotonic clock
    LAST    how many of it had finished when sending began        USED    how many of the bytes are in use
    CLAIM   which of its tasks the worker has claimed             SLOWEST which task took longest of those to be sent
    8 to 15 where the time went: see `timesheet`
    NUMBERS one word a note: a number, or where its bytes lie     KINDS one byte a note, stored last     BYTES

A kind other than nothing means that the note is whole. Stores are not reordered as far as the parent can see: it reads
after the kernel has told it that the worker has ended, or finds the same words before and after it has read.
"""

from __future__ import annotations

import marshal

from holdfast import _core
from holdfast._block import Block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "BASE",
    "BATCH",
    "BEGAN",
    "FALSE",
    "FLOAT",
    "IDLE",
    "INT",
    "LAST",
    "MARSHALLED",
    "NEW",
    "NONE",
    "NOTES",
    "PICKLED",
    "RUNNING",
    "SENDING",
    "SLOWEST",
    "STATE",
    "TRUE",
    "Ledger",
    "claimed",
]

BATCH, STATE, BASE, BEGAN, LAST, _USED, _CLAIM, SLOWEST = range(8)
NEW, RUNNING, SENDING, IDLE = range(4)
NOTES = 4096
_BYTES = 128 << 10
_WORDS = 16
_PLACE = 24  # bits of a task's position in the word of the slowest one
_NOTHING, INT, FLOAT, NONE, TRUE, FALSE, MARSHALLED, PICKLED, _FAILED, TEXT, RAW = range(11)
_CLEAN = bytes(NOTES)


def claimed(words: Any) -> int:  # noqa: ANN401 - a ledger's words
    """How many tasks of its batch a worker has claimed."""
    word = words[_CLAIM]
    if word >> 2 * _PLACE != words[BATCH] & 0x7FFF:
        return 0
    count: int = (word >> _PLACE) & ((1 << _PLACE) - 1)
    return count


class Ledger:
    """One worker's ledger; pickles as a reference to the same shared memory.

    Raises:
        ArenaFull: no space for shared memory.
    """

    def __init__(self) -> None:
        self._open(Block._new(8 * (_WORDS + NOTES) + NOTES + _BYTES, None))  # noqa: SLF001 - of this package

    def _open(self, block: Any) -> None:  # noqa: ANN401 - a Block: its buffer is unknown to types before Python 3.12
        self._block = block
        whole = self.whole = memoryview(block).cast("B")
        self.words = whole[: _WORDS * 8].cast("q")
        numbers = whole[_WORDS * 8 : (_WORDS + NOTES) * 8]
        self.ints, self.floats = numbers.cast("q"), numbers.cast("d")
        rest = whole[(_WORDS + NOTES) * 8 :]
        self.kinds, self._bytes = rest[:NOTES], rest[NOTES:]

    def __getstate__(self) -> Any:  # noqa: ANN401 - as above
        return self._block

    def __setstate__(self, block: Block) -> None:
        self._open(block)

    # the worker's side

    def begin(self, batch: int, count: int) -> None:
        """Open a batch of `count` tasks."""
        _core._begin(self.whole, NOTES, batch, count)  # noqa: SLF001 - the core's half of this

    def claim(self) -> int:
        """The position of the next task to begin; -1 if none is left, or the parent has taken the rest back."""
        return _core._claim(self.whole, NOTES)  # noqa: SLF001 - as above

    def slowest(self) -> tuple[float, int]:
        """Seconds and position of the slowest task since the last call, of those that the core has run."""
        micros, place = divmod(self.words[SLOWEST], 1 << _PLACE)
        self.words[SLOWEST] = 0
        return micros / 1e6, place

    def clean(self, count: int) -> None:
        """Make the first `count` notes empty."""
        self.kinds[:count] = _CLEAN[:count]
        self.words[_USED] = 0

    def note_bytes(self, index: int, kind: int, body: bytes) -> bool:
        """Note a result as bytes; False if there is no room left for them."""
        start = self.words[_USED]
        end = start + len(body)
        if end > _BYTES:
            return False
        self._bytes[start:end] = body
        self.ints[index] = start << 32 | len(body)
        self.words[_USED] = end
        self.kinds[index] = kind
        return True

    # the parent's side

    def revoke(self, batch: int) -> tuple[int, int] | None:
        """Take back what the worker has not claimed of a batch: positions from and to; None if there is nothing."""
        return _core._revoke(self.whole, NOTES, batch)  # noqa: SLF001 - as above

    def notes(self, skip: int = 0) -> tuple[bytes, list[Any]]:
        """What is noted, in order.

        Args:
            skip: how many at the beginning are known.

        Returns:
            Marks and values, as in a message of results.
        """
        kinds = bytes(self.kinds).partition(b"\0")[0][skip:]
        values = [self._value(index, kind) for index, kind in enumerate(kinds, skip)]
        return bytes(1 if kind == PICKLED else 0 for kind in kinds), values

    def running(self, batch: int) -> int | None:
        """The position of the task of a batch that runs; None if none of it does, or its result is being sent."""
        words = self.words
        if words[STATE] != RUNNING or words[BATCH] != batch:
            return None
        position: int = words[BASE] + len(bytes(self.kinds).partition(b"\0")[0])
        return position if position < claimed(words) else None

    def peek(self, batch: int, known: int) -> tuple[int, bytes, list[Any]] | None:
        """What a running worker has noted of a batch.

        Args:
            batch: its number.
            known: how many of its results have arrived.

        Returns:
            The position of the first new one, marks and values; None if there are none, or it is sending just now.
        """
        words = self.words
        before = words[STATE], words[BATCH], words[BASE]
        if before[:2] != (RUNNING, batch) or known < before[2] or not self.kinds[min(known - before[2], NOTES - 1)]:
            return None
        try:
            marks, values = self.notes(known - before[2])
        except (ValueError, EOFError, TypeError, UnicodeDecodeError):  # torn by what the worker writes meanwhile
            return None
        after = words[STATE], words[BATCH], words[BASE]
        return (known, marks, values) if values and after == before else None

    def _value(self, index: int, kind: int) -> Any:  # noqa: ANN401 - a result
        if kind == INT:
            return self.ints[index]
        if kind == FLOAT:
            return self.floats[index]
        if kind in (MARSHALLED, PICKLED, TEXT, RAW):
            start, length = divmod(self.ints[index], 1 << 32)
            body = bytes(self._bytes[start : start + length])
            if kind == TEXT:
                return body.decode()
            return marshal.loads(body) if kind == MARSHALLED else body  # noqa: S302 - our worker wrote it
        return {NONE: None, TRUE: True, FALSE: False}[kind]

    def erase(self) -> None:
        """Make it ready for another worker."""
        self.clean(NOTES)
        for word in range(_WORDS):
            self.words[word] = 0
