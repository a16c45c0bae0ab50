"""A worker's ledger: what it has begun and finished, in shared memory, for the parent to read if the worker dies.

Results of small tasks travel many in one message. So that none is lost with its worker, each is noted here before the
next task begins; a note is a store or two. Words (64 bit) and what follows them::

    BATCH   the batch that was begun last         BASE   how many results of it have been sent
    STATE   running or sending                    BEGAN  when it began, in ns of the system's monotonic clock
    LAST    how many of it had finished when sending began       USED   how many of the bytes are in use
    NUMBERS one word a note: a number, or where its bytes lie     KINDS one byte a note, stored last     BYTES

A kind other than nothing means that the note is whole. Stores are not reordered as far as the parent can see: it reads
after the kernel has told it that the worker has ended.
"""

from __future__ import annotations

import marshal
from typing import Any

from holdfast._block import Block

__all__ = [
    "BASE",
    "BATCH",
    "BEGAN",
    "FAILED",
    "FALSE",
    "FLOAT",
    "IDLE",
    "INT",
    "LAST",
    "MARSHALLED",
    "NONE",
    "NOTES",
    "PICKLED",
    "RUNNING",
    "SENDING",
    "STATE",
    "TRUE",
    "Ledger",
]

BATCH, STATE, BASE, BEGAN, LAST, _USED = range(6)
IDLE, RUNNING, SENDING = range(3)
NOTES = 4096
_BYTES = 128 << 10
_WORDS = 8
_NOTHING, INT, FLOAT, NONE, TRUE, FALSE, MARSHALLED, PICKLED, FAILED, TEXT, RAW = range(11)
_CLEAN = bytes(NOTES)


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

    def notes(self) -> tuple[bytes, list[Any]]:
        """What is noted, in order.

        Returns:
            Marks and values, as in a message of results.
        """
        kinds = bytes(self.kinds).partition(b"\0")[0]
        values = [self._value(index, kind) for index, kind in enumerate(kinds)]
        return bytes({PICKLED: 1, FAILED: 2}.get(kind, 0) for kind in kinds), values

    def _value(self, index: int, kind: int) -> Any:  # noqa: ANN401 - a result
        if kind == INT:
            return self.ints[index]
        if kind == FLOAT:
            return self.floats[index]
        if kind in (MARSHALLED, PICKLED, FAILED, TEXT, RAW):
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
