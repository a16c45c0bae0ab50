"""Short variants of ``ci/queue_storm.py`` and ``ci/queue_memory.py``, and controls: their checks can fail."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import run_code, run_script

if TYPE_CHECKING:
    from collections.abc import Iterator

CI = Path(__file__).resolve().parents[2] / "ci"

BROKEN = """
import sys
sys.path.insert(0, sys.argv[1])
import holdfast, queue_storm
from holdfast.queues import Queue

queue_storm.PATIENCE = 2.0


class Loses(Queue):
    def put(self, obj, block=True, timeout=None):
        number = obj if isinstance(obj, int) else 1
        if number % 2:
            super().put(obj, block, timeout)


class Doubles(Queue):
    def put(self, obj, block=True, timeout=None):
        super().put(obj, block, timeout)
        super().put(obj)


class Strands(Queue):
    def get(self, block=True, timeout=None, *, copy=True):
        super().get()
        holdfast.Event().wait()


holdfast.Queue = {"loses": Loses, "doubles": Doubles, "strands": Strands}[sys.argv[2]]
sys.exit(queue_storm.main(["--kills", "20", "--json", "--maxsize", "0", "--messages", "small"]))
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Return the environment of an arena of the test's own."""
    (tmp_path / "arenas").mkdir(mode=0o700)
    return {"HOLDFAST_DIR": str(tmp_path / "arenas")}


@pytest.mark.watchdog(240)
@pytest.mark.parametrize("waitv", [True, False], ids=["waitv", "no-waitv"])
@pytest.mark.parametrize(("messages", "maxsize"), [("small", "0"), ("mixed", "1"), ("big", "0"), ("big", "3")])
def test_queue_storm_short_loses_nothing_and_strands_nobody(
    messages: str, maxsize: str, waitv: bool, home: dict[str, str]
) -> None:
    """A few dozen kills of readers and writers, with and without futex_waitv."""
    argv = [sys.executable, str(CI / "queue_storm.py"), "--json", "--kills", "60"]
    more = ["--messages", messages, "--maxsize", maxsize, *([] if waitv else ["--no-waitv"])]
    code, out, err = run_script([*argv, *more], home)
    assert code == 0, f"{out}\n{err}"
    told = json.loads(out)
    assert told["kills"] >= 60
    assert told["items"] > 0


@pytest.mark.leaves_nothing_unchecked
@pytest.mark.parametrize(
    ("fault", "word"), [("loses", "items are lost"), ("doubles", "items twice"), ("strands", "is stuck")]
)
def test_queue_storm_of_a_broken_queue_is_noticed(fault: str, word: str, home: dict[str, str]) -> None:
    """A control: a queue that loses, doubles or strands does not pass."""
    code, out, err = run_code(BROKEN, str(CI), fault, environment=home)
    assert code == 1, f"{out}\n{err}"
    assert any(word in line for line in json.loads(out)["wrong"]), out


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """Return the board's module and a board on which writer 0 has put three items and begun a fourth."""
    monkeypatch.syspath_prepend(str(CI))
    module = importlib.import_module("queue_board")
    board = module.QueueBoard()
    board.begin(0, 3, 1)
    yield module, board
    board.close()


@pytest.mark.parametrize(
    ("logs", "asked", "complaints"),
    [
        ([[0, 1, 2]], 0, []),
        ([[0, 2], [1]], 0, []),
        ([[0, 1, 2, 3]], 0, []),
        ([[0, 2]], 0, ["lost"]),
        ([[0, 2]], 1, []),
        ([[2]], 1, ["2 items are lost"]),
        ([[0, 1, 2], [1]], 0, ["twice"]),
        ([[0, 1, 1, 2]], 0, ["twice"]),
        ([[1, 0, 2]], 0, ["out of order"]),
        ([[0, 1, 2, 4]], 0, ["only begun 4"]),
    ],
)
def test_queue_accounts_of_each_fault_complain(
    notes: tuple[Any, Any], logs: list[list[int]], asked: int, complaints: list[str]
) -> None:
    """The last reader was killed in a get() for so many items."""
    module, board = notes
    for reader, log in enumerate(logs):
        kept = board.keep(reader, 0, log)
    if asked:
        board.ask(len(logs) - 1, kept, asked)
    found = list(module.accounts(board, 1, len(logs), {len(logs) - 1}))
    assert len(found) == len(complaints), found
    assert all(word in line for word, line in zip(complaints, found, strict=True))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_memory_of_queues_short_run_is_flat(method: str, home: dict[str, str]) -> None:
    """All the queues, a hundredth of the messages."""
    code, out, err = run_script([sys.executable, str(CI / "queue_memory.py"), "--short", "--method", method], home)
    assert code == 0, f"{out}\n{err}"
