"""Queues between real processes on bad days: signals, stopped readers, forks with views, strangers, no memory left."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from asleep import Caller, sleeps, until_asleep
from support import METHODS, eventually, run_code, run_script, running
from test_bad_days import can_mount, mounted

import holdfast

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Return the environment of an arena of the test's own."""
    (tmp_path / "arenas").mkdir(mode=0o700)
    return {"HOLDFAST_DIR": str(tmp_path / "arenas")}


INTERRUPTED = """
import sys, holdfast
box = holdfast.JoinableQueue(1)
if sys.argv[1] in ("put", "put_many", "join"):
    box.put(0)
calls = {
    "get": lambda: box.get(),
    "get timeout": lambda: box.get(timeout=1000),
    "get_many": lambda: box.get_many(5),
    "put": lambda: box.put(1),
    "put_many": lambda: box.put_many([1, 2]),
    "join": lambda: box.join(),
    "iteration": lambda: list(box),
}
print("ready", flush=True)
try:
    calls[sys.argv[1]]()
except KeyboardInterrupt:
    print("interrupted", box.qsize(), flush=True)
    if not box.empty():
        box.get()
    box.put("works")
    print(box.get(), flush=True)
"""


@pytest.mark.parametrize("call", ["get", "get timeout", "get_many", "put", "put_many", "join", "iteration"])
def test_queue_ctrl_c_in_a_waiting_call_raises_keyboard_interrupt(call: str, home: dict[str, str]) -> None:
    """The call ends, and the queue still works."""
    with running([sys.executable, "-c", INTERRUPTED, call], home) as program:
        assert program.line() == "ready"
        until_asleep(program.process.pid)
        program.process.send_signal(signal.SIGINT)
        assert program.line() == f"interrupted {int(call in {'put', 'put_many', 'join'})}"
        out, err = program.finish()
        assert (out, err) == ("works", "")


def test_queue_signal_handler_that_puts_wakes_its_own_get(home: dict[str, str]) -> None:
    """The same process and thread waits and puts."""
    code = """
import signal, holdfast
box = holdfast.Queue()
signal.signal(signal.SIGUSR1, lambda *_: box.put("by the handler"))
print("ready", flush=True)
print(box.get(), flush=True)
"""
    with running([sys.executable, "-c", code], home) as program:
        assert program.line() == "ready"
        until_asleep(program.process.pid)
        program.process.send_signal(signal.SIGUSR1)
        assert program.finish()[0] == "by the handler"


def take_one(box: Any, conn: Any) -> None:
    """A reader that tells what it got."""
    conn.send("ready")
    conn.send(box.get())


def put_one(box: Any, conn: Any) -> None:
    """A writer that tells when its item is in."""
    conn.send("ready")
    box.put("of the other process")
    conn.send("put")


def start(context: Any, target: Any, box: Any) -> tuple[Any, Any]:
    """Start a reader or writer and wait until it sleeps in its call."""
    here, there = context.Pipe()
    process = context.Process(target=target, args=(box, there))
    process.start()
    there.close()
    assert here.recv() == "ready"
    until_asleep(process.pid)
    return process, here


def stopped(pid: int) -> bool:
    """Return whether a process is stopped by a signal."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  (as elsewhere: no path objects in a loop)
        return file.read().rpartition(")")[2].split()[0] == "T"


def finish(process: Any, conn: Any) -> Any:
    """Return what a process tells at its end."""
    told = conn.recv()
    conn.close()
    process.join()
    process.close()
    return told


def test_queue_stopped_reader_in_get_does_not_block_others(context: Any) -> None:
    """Items go to those that run; the stopped one gets the next when it goes on."""
    box = context.Queue()
    reader, conn = start(context, take_one, box)
    os.kill(reader.pid, signal.SIGSTOP)
    assert eventually(lambda: stopped(reader.pid), watchdog=60)
    for number in range(50):
        box.put(number)
        assert box.get(timeout=60) == number
    os.kill(reader.pid, signal.SIGCONT)
    box.put("last")
    assert finish(reader, conn) == "last"
    assert box.empty()


def test_queue_stopped_writer_in_put_does_not_block_others(context: Any) -> None:
    """The room it waits for can be used by others."""
    box = context.Queue(1)
    box.put("first")
    writer, conn = start(context, put_one, box)
    os.kill(writer.pid, signal.SIGSTOP)
    assert eventually(lambda: stopped(writer.pid), watchdog=60)
    for number in range(50):
        box.get(timeout=60)
        box.put(number, timeout=60)
    os.kill(writer.pid, signal.SIGCONT)
    assert box.get() == 49
    assert finish(writer, conn) == "put"
    assert box.get() == "of the other process"


def look_at(view: Any, conn: Any) -> None:
    """The forked child: its copy of the view is right, and stays so while the parent drops its own."""
    conn.send(bool((view == 7).all()))
    conn.recv()
    conn.send(bool((view == 7).all()))


def test_queue_view_of_a_forked_child_stays_whole_when_the_parent_drops_its_own() -> None:
    """The child inherits the view, not only the mapping."""
    context = holdfast.get_context("fork")
    box = context.Queue()
    box.put(np.full(MIB, 7))
    view = box.get(copy=False)
    here, there = context.Pipe()
    child = context.Process(target=look_at, args=(view, there))
    child.start()
    assert here.recv() is True
    child._args = ()  # or the Process object holds the view
    del view
    for number in range(8):
        box.put(np.full(MIB, number))
        box.get()
    here.send("dropped")
    assert here.recv() is True
    child.join()
    assert child.exitcode == 0
    child.close()
    here.close()
    there.close()


def test_queue_view_of_a_forked_child_killed_gives_its_block_back(home: dict[str, str]) -> None:
    """Many times over, memory is flat."""
    code = """
import gc, os, signal, holdfast
box = holdfast.Queue()
def used():
    return sum(entry.stat().st_blocks for entry in os.scandir(os.environ["HOLDFAST_DIR"])) * 512
def once():
    box.put(bytes(4 << 20))
    view = box.get(copy=False)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1), os.close(read), os.close(write)
    os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0)
for _ in range(5):
    once()
before = used()
for _ in range(40):
    once()
gc.collect()
print(used() - before)
"""
    exit_code, out, err = run_code(code, environment=home)
    assert exit_code == 0, err
    assert int(out) <= 16 * MIB


STRANGER = """
import sys, holdfast
box = holdfast.Queue(5, name="test-strangers")
print("ready", flush=True)
for line in sys.stdin:
    if line == "put\\n":
        box.put_many(["small", b"x" * 3_000_000])
        print("put", flush=True)
    else:
        print(box.get(timeout=60), len(box.get(timeout=60)), flush=True)
"""


def test_queue_of_a_name_two_unrelated_programs_share_it(home: dict[str, str]) -> None:
    """Neither started the other."""
    argv = [sys.executable, "-c", STRANGER]
    with running(argv, home) as first, running(argv, home) as second:
        assert first.line() == second.line() == "ready"
        first.say("put")
        assert first.line() == "put"
        second.say("get")
        assert second.line() == "small 3000000", second.finish()


def test_queue_of_a_name_its_items_outlive_the_killed_writer(home: dict[str, str]) -> None:
    """As long as somebody has the queue."""
    argv = [sys.executable, "-c", STRANGER]
    with running(argv, home) as first, running(argv, home) as second:
        assert first.line() == second.line() == "ready"
        first.say("put")
        assert first.line() == "put"
        first.end()
        second.say("get")
        assert second.line() == "small 3000000", second.finish()


FILLS = """
import sys, holdfast
from holdfast import errors
size = int(sys.argv[1])
try:
    box = holdfast.Queue()
except errors.HoldfastError as problem:
    print("none", problem.code)
    sys.exit()
count, code = 0, None
for count in range(1_000_000):
    try:
        box.put(count.to_bytes(4, "little") * (size // 4) if size else count)
    except OSError as problem:
        code = problem.code, problem.errno
        break
def number_of(item):
    return item if isinstance(item, int) else int.from_bytes(item[:4], "little")
whole = [number_of(box.get(timeout=0)) for _ in range(count)] == list(range(count)) and box.empty()
box.put(b"again" if size else 1)
print(count > 0, whole, code, box.get() == (b"again" if size else 1))
"""


@pytest.mark.parametrize("room", ["2m", "16m"])
@pytest.mark.parametrize("size", [0, 100, 50_000, 300_000, MIB])
def test_queue_shared_memory_full_put_is_arena_full_and_nothing_is_lost(size: int, room: str, tmp_path: Path) -> None:
    """What was accepted can be read, and then there is room again."""
    place = tmp_path / "arenas"
    place.mkdir(mode=0o700)
    if not can_mount(place):
        pytest.skip("no private mounts for this user")
    before = mounted(place, f"size={room},mode=0700")
    code, out, err = run_code(FILLS, str(size), environment={"HOLDFAST_DIR": str(place)}, before=before)
    assert code == 0, (code, err)
    assert out == "True True ('HF501', 28) True" or (out == "none HF501" and room == "2m"), out


@pytest.mark.parametrize("size", [100, 300_000])
def test_queue_shared_memory_full_get_without_copy_works_or_says_so(size: int, tmp_path: Path) -> None:
    """Reading must not need memory that is not there."""
    place = tmp_path / "arenas"
    place.mkdir(mode=0o700)
    if not can_mount(place):
        pytest.skip("no private mounts for this user")
    code = FILLS.replace("timeout=0)", "timeout=0, copy=False)")
    before = mounted(place, "size=16m,mode=0700")
    exit_code, out, err = run_code(code, str(size), environment={"HOLDFAST_DIR": str(place)}, before=before)
    assert exit_code == 0, (exit_code, err)
    assert out == "True True ('HF501', 28) True", out


def test_queue_handle_of_an_ended_program_is_a_clear_error(home: dict[str, str]) -> None:
    """Another program's queue, pickled, after that program is gone."""
    code = "import pickle, holdfast; box = holdfast.Queue(); print(pickle.dumps(box).hex())"
    exit_code, out, err = run_code(code, environment=home)
    assert exit_code == 0, err
    with pytest.raises(holdfast.errors.HoldfastError, match=r"HF(401|104)"):
        pickle.loads(bytes.fromhex(out)).put(1)


CHILD_PUTS = """
import sys, holdfast
def put(box):
    box.put(bytes(1_000_000))
if __name__ == "__main__":
    box = holdfast.Queue()
    child = holdfast.get_context(sys.argv[1]).Process(target=put, args=(box,))
    child.start()
    child.join()
"""


@pytest.mark.parametrize("method", METHODS)
def test_queue_big_item_put_by_a_child_and_never_got_leaves_no_file(
    method: str, home: dict[str, str], tmp_path: Path
) -> None:
    """The program itself has never touched the memory that its child made."""
    (tmp_path / "program.py").write_text(CHILD_PUTS)
    code, out, err = run_script([sys.executable, str(tmp_path / "program.py"), method], home)
    assert (code, out, err) == (0, "", "")
    assert run_code("import holdfast; holdfast.Lock()", environment=home)[0] == 0
    assert list((tmp_path / "arenas").iterdir()) == []


def put_and_end(box: Any, conn: Any) -> None:
    """Put something and end without any clean-up."""
    box.put_many(["small", bytes(MIB)])
    conn.send("put")
    os.kill(os.getpid(), signal.SIGKILL)


def test_queue_items_of_a_writer_killed_right_after_put_arrive(context: Any) -> None:
    """They outlive their producer."""
    box = context.Queue()
    here, there = context.Pipe()
    writer = context.Process(target=put_and_end, args=(box, there))
    writer.start()
    there.close()
    assert here.recv() == "put"
    writer.join()
    assert box.get(timeout=0) == "small"
    assert len(box.get(timeout=0)) == MIB
    here.close()
    writer.close()


def test_queue_waiting_readers_all_wake_when_many_items_come(context: Any) -> None:
    """Four sleep in get(); put_many of four wakes each."""
    box = context.Queue()
    readers = [start(context, take_one, box) for _ in range(4)]
    box.put_many(range(4))
    assert sorted(finish(*reader) for reader in readers) == [0, 1, 2, 3]


def test_queue_waiting_writers_all_wake_when_room_comes(context: Any) -> None:
    """Four sleep in put(); get_many of all makes room for each in turn."""
    box = context.Queue(4)
    box.put_many(range(4))
    writers = [start(context, put_one, box) for _ in range(4)]
    assert box.get_many(4) == [0, 1, 2, 3]
    assert [finish(*writer) for writer in writers] == ["put"] * 4
    assert box.get_many(4) == ["of the other process"] * 4


def test_queue_get_in_a_thread_lets_other_threads_run() -> None:
    """A waiting get() does not hold the GIL."""
    box = holdfast.Queue()
    caller = Caller(box.get).waits()
    assert sleeps(os.getpid(), caller.native_id)
    with pytest.raises(queue.Empty):
        box.get_nowait()
    box.put("x")
    assert caller.outcome() == "x"


def test_queue_made_and_dropped_10000_times_uses_no_more_slots() -> None:
    """Also with items inside, and with handles pickled."""
    from holdfast import _core

    holdfast.Queue().put(1)
    before = _core.arena_stats(None)["slots_used"]
    for number in range(10_000):
        box = holdfast.Queue(number % 3)
        box.put(b"x" * (number % 50))
        if number % 10 == 0:
            pickle.loads(pickle.dumps(box)).get()
    del box
    assert _core.arena_stats(None)["slots_used"] <= before + 1
