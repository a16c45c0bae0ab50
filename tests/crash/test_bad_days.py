"""Bad input and bad days: a clear error with its code, never a crash of the interpreter, never a hang."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support import run_code, running

import holdfast
from holdfast import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION_OFFSET = 8  # of the u32 layout version in the arena's header

KEEPER = """
import pickle, sys, holdfast
lock = holdfast.Lock()
print(pickle.dumps(lock).hex(), flush=True)
for line in sys.stdin:
    try:
        lock.acquire(timeout=1)
        lock.release()
        holdfast.Lock()
        print("fine", flush=True)
    except holdfast.errors.HoldfastError as problem:
        print(problem.code, flush=True)
"""

LOADER = """
import pickle, sys, holdfast
try:
    lock = pickle.loads(bytes.fromhex(sys.argv[1]))
    lock.acquire(timeout=1)
    print("fine")
except holdfast.errors.HoldfastError as problem:
    print(problem.code, type(problem).__name__)
"""

MAKER = """
import holdfast, sys
keep = []
try:
    for _ in range(int(sys.argv[1])):
        keep.append(holdfast.Lock())
    for lock in keep:
        lock.acquire()
    print("fine")
except holdfast.errors.HoldfastError as problem:
    print(problem.code, problem.errno)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return an arena directory of the test's own."""
    directory = tmp_path / "arenas"
    directory.mkdir(mode=0o700)
    return directory


def arena_files(home: Path) -> list[Path]:
    """Return the segments in an arena directory, biggest first."""
    return sorted((path for path in home.rglob("*") if path.is_file()), key=lambda path: -path.stat().st_size)


def damage_version(path: Path) -> None:
    """Pretend that another layout version wrote the arena."""
    with path.open("r+b") as file:
        file.seek(VERSION_OFFSET)
        old = int.from_bytes(file.read(4), "little")
        file.seek(VERSION_OFFSET)
        file.write((old + 1).to_bytes(4, "little"))


def damage_magic(path: Path) -> None:
    """Overwrite the beginning with something else."""
    with path.open("r+b") as file:
        file.write(b"something else, 32 bytes long...")


def damage_all(path: Path) -> None:
    """Overwrite everything with 0xff."""
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)


def damage_half(path: Path) -> None:
    """Cut the file in half."""
    os.truncate(path, path.stat().st_size // 2)


def damage_empty(path: Path) -> None:
    """Cut the file to nothing."""
    os.truncate(path, 0)


DAMAGES = {
    damage_version: {"HF503"},
    damage_magic: {"HF503", "HF504"},
    damage_all: {"HF503", "HF504"},
    damage_half: {"HF504"},
    damage_empty: {"HF504"},
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_arena_attached_by_another_process_is_a_coded_error(damage: object, home: Path) -> None:
    """Another layout version, truncated, overwritten: HF503 or HF504."""
    environment = {"HOLDFAST_DIR": str(home)}
    with running([sys.executable, "-c", KEEPER], environment) as keeper:
        handle = keeper.line()
        for path in arena_files(home)[:1]:
            damage(path)  # type: ignore[operator]
        code, out, err = run_code(LOADER, handle, environment=environment)
        assert code == 0, err
        assert out.split()[0] in DAMAGES[damage]  # type: ignore[index]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_arena_in_use_neither_crashes_nor_hangs(damage: object, home: Path) -> None:
    """A process that uses the arena already goes on or gets a coded error."""
    with running([sys.executable, "-c", KEEPER], {"HOLDFAST_DIR": str(home)}) as keeper:
        keeper.line()
        for path in arena_files(home)[:1]:
            damage(path)  # type: ignore[operator]
        keeper.say("go on")
        answer = keeper.line()
        assert answer == "fine" or answer in {"HF503", "HF504"}, (
            f"{answer!r}, {keeper.process.poll()}, {keeper.finish()[1]}"
        )


def mounted(home: Path, options: str) -> list[str]:
    """Return a command prefix that mounts a tmpfs with options at ``home``, seen by the command alone."""
    script = f'mount -t tmpfs -o {options} none "{home}" && exec "$@"'
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *own, "--mount", "sh", "-c", script, "sh"]


def can_mount(home: Path) -> bool:
    """Return whether this user may make a private mount."""
    try:
        return subprocess.run([*mounted(home, "size=64k"), "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("size", ["4k", "64k", "1m"])
def test_full_shared_memory_is_an_error_or_a_fallback_never_a_crash(size: str, home: Path) -> None:
    """ENOSPC with HF501, or a fallback elsewhere; never SIGBUS."""
    if not can_mount(home):
        pytest.skip("no private mounts for this user")
    code, out, err = run_code(
        MAKER, "50000", environment={"HOLDFAST_DIR": str(home)}, before=mounted(home, f"size={size},mode=0700")
    )
    assert code == 0, (code, err)
    assert out == "fine" or out.split() == ["HF501", "28"]


def test_read_only_arena_directory_is_arena_directory(home: Path) -> None:
    """Root ignores permission bits, but not a read-only mount."""
    if not can_mount(home):
        pytest.skip("no private mounts for this user")
    code, out, err = run_code(MAKER, "1", environment={"HOLDFAST_DIR": str(home)}, before=mounted(home, "ro,mode=0700"))
    assert code == 0, err
    assert out.startswith("HF502")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_arena_directory_is_arena_directory(home: Path) -> None:
    """Permission bits."""
    home.chmod(0o500)
    assert run_code(MAKER, "1", environment={"HOLDFAST_DIR": str(home)})[1].startswith("HF502")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_foreign_arena_directory_is_refused(home: Path) -> None:
    """A directory of somebody else could be a trap."""
    os.chown(home, 65534, 65534)
    code, out, err = run_code(MAKER, "1", environment={"HOLDFAST_DIR": str(home)})
    assert code == 0, err
    assert out.startswith("HF502")


def test_arena_directory_under_a_file_is_refused(tmp_path: Path) -> None:
    """Not even a directory can be there."""
    (tmp_path / "file").write_text("")
    code, out, err = run_code(MAKER, "1", environment={"HOLDFAST_DIR": str(tmp_path / "file" / "below")})
    assert code == 0, err
    assert out.startswith("HF502")


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "ended"])
def test_pickle_of_an_arena_that_is_gone_is_unknown_arena(killed: bool, home: Path) -> None:
    """HF401: its processes ended, or were killed and the next program has swept up."""
    environment = {"HOLDFAST_DIR": str(home)}
    with running([sys.executable, "-c", KEEPER], environment) as keeper:
        handle = keeper.line()
        if not killed:
            keeper.process.stdin.close()  # type: ignore[union-attr]
            assert keeper.finish() == ("", "")
    assert run_code(MAKER, "1", environment=environment)[1] == "fine"
    code, out, err = run_code(LOADER, handle, environment=environment)
    assert code == 0, err
    assert out.startswith("HF401")


def test_pickle_of_an_arena_of_another_directory_is_unknown_arena(home: Path) -> None:
    """HF401: it never was here."""
    with running([sys.executable, "-c", KEEPER]) as keeper:
        code, out, err = run_code(LOADER, keeper.line(), environment={"HOLDFAST_DIR": str(home)})
    assert code == 0, err
    assert out.startswith("HF401")


def test_pickle_of_a_reclaimed_slot_is_handle_gone(home: Path) -> None:
    """HF104: never another lock."""
    code = """
import gc, pickle, holdfast
lock = holdfast.Lock()
data = pickle.dumps(lock)
twin = pickle.loads(data)
del lock, twin
gc.collect()
others = [holdfast.Lock() for _ in range(100)]
try:
    pickle.loads(data)
    print("loaded")
except holdfast.errors.HandleGone as problem:
    print(problem.code)
"""
    assert run_code(code, environment={"HOLDFAST_DIR": str(home)})[:2] == (0, "HF104")


def test_pickle_that_is_garbage_is_a_coded_error() -> None:
    """Arguments out of range do not reach the memory."""
    lock = holdfast.Lock()
    function, (kind, arena, *numbers) = lock.__reduce__()[:2]
    for place, number in enumerate(numbers):
        for wrong in (number + 2**31, number + 2**32, 2**63, 2**64, -1):
            changed = [*numbers[:place], wrong, *numbers[place + 1 :]]
            with pytest.raises((errors.HoldfastError, OverflowError, ValueError)):
                function(kind, arena, *changed)
    for name in ("", "nowhere", "../../etc/passwd", "a\0b", "x" * 300):
        with pytest.raises((errors.HoldfastError, ValueError)):
            function(kind, name, *numbers)


@pytest.mark.parametrize("other", ["RLock", "Semaphore", "Event", "RWLock"])
def test_pickle_of_another_kind_is_a_coded_error(other: str) -> None:
    """A lock's handle does not open an event."""
    lock = holdfast.Lock()
    function, (_kind, arena, slot, generation, _number) = lock.__reduce__()[:2]
    _function, (kind, _arena, _slot, _generation, number) = getattr(holdfast, other)().__reduce__()[:2]
    with pytest.raises(errors.HandleGone):
        function(kind, arena, slot, generation, number)


def test_too_many_processes_is_a_coded_error(home: Path) -> None:
    """One more than the arena has room for: HF505, not a hang and not a crash."""
    code = """
import os, signal, holdfast
lock = holdfast.Lock()
children, (read, write), said = [], os.pipe(), b""
while said != b"HF505" and len(children) < 2100:
    try:
        child = os.fork()
    except holdfast.errors.TooManyProcesses as problem:
        said = problem.code.encode()
        break
    if child == 0:
        try:
            lock.acquire(timeout=60)
            lock.release()
            os.write(write, b"well.")
        except holdfast.errors.HoldfastError as problem:
            os.write(write, problem.code.encode())
        signal.pause()
    children.append(child)
    said = os.read(read, 5)
for child in children:
    os.kill(child, signal.SIGKILL)
for child in children:
    os.waitpid(child, 0)
with lock:
    print(said.decode(), len(children))
child = os.fork()
if child == 0:
    with lock:
        os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7  # there is room again
"""
    status, out, err = run_code(code, environment={"HOLDFAST_DIR": str(home)})
    assert status == 0, err
    assert out.startswith("HF505"), out


USES: dict[str, Callable[[Any], object]] = {
    "Lock": lambda lock: lock.acquire(),
    "RLock": lambda lock: lock.acquire(),
    "Semaphore": lambda semaphore: semaphore.acquire(),
    "BoundedSemaphore": lambda semaphore: semaphore.release(),
    "Event": lambda event: event.is_set(),
    "RWLock": lambda lock: lock.read().acquire(),
}


@pytest.mark.parametrize("kind", USES)
def test_use_after_close_is_closed_error(kind: str) -> None:
    """HF105."""
    thing = getattr(holdfast, kind)()
    thing.close()
    with pytest.raises(errors.ClosedError):
        USES[kind](thing)
    assert "HF105" in repr(thing)


def test_use_after_close_of_composed_objects_is_closed_error() -> None:
    """HF105 for those that are made of several."""
    condition, barrier, value = holdfast.Condition(), holdfast.Barrier(2), holdfast.Value("i", 0)
    for thing in (condition, barrier, value):
        thing.close()
    with condition, pytest.raises(errors.ClosedError):
        condition.notify()
    with pytest.raises(errors.ClosedError):
        barrier.wait(0)
    with pytest.raises(errors.ClosedError):
        value.value  # noqa: B018


@pytest.mark.parametrize("kind", ["Lock", "BoundedSemaphore"])
def test_release_of_an_unheld_lock_is_not_held(kind: str) -> None:
    """HF103, with the standard library's words in it."""
    with pytest.raises(errors.NotHeld, match="released too many times"):
        getattr(holdfast, kind)().release()


def test_release_of_an_unheld_rlock_is_not_owner() -> None:
    """HF107: an AssertionError, as the standard library raises."""
    with pytest.raises(AssertionError):
        holdfast.RLock().release()


@pytest.mark.parametrize("timeout", [-1, -0.001, -math.inf, math.nan])
@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_bad_timeout_of_acquire_is_bad_timeout(kind: str, timeout: float) -> None:
    """HF106."""
    with pytest.raises(errors.BadTimeout):
        getattr(holdfast, kind)().acquire(True, timeout)


@pytest.mark.parametrize("timeout", [-1, math.nan])
def test_bad_timeout_of_wait_is_bad_timeout(timeout: float) -> None:
    """HF106 for everything that waits."""
    condition = holdfast.Condition()
    with condition, pytest.raises(errors.BadTimeout):
        condition.wait(timeout)
    with pytest.raises(errors.BadTimeout):
        holdfast.Event().wait(timeout)
    with pytest.raises(errors.BadTimeout):
        holdfast.Barrier(2).wait(timeout)


@pytest.mark.parametrize("timeout", ["soon", object(), b"1"])
def test_timeout_of_the_wrong_type_is_type_error(timeout: object) -> None:
    """Not a number at all."""
    with pytest.raises(TypeError):
        holdfast.Lock().acquire(True, timeout)


def test_negative_timeout_behind_the_standard_module_means_zero() -> None:
    """``multiprocessing`` documents that a negative timeout is zero."""
    code = """
import holdfast
holdfast.install()
import multiprocessing
lock = multiprocessing.Lock()
lock.acquire()
print(lock.acquire(True, -1))
"""
    assert run_code(code)[:2] == (0, "False")


def test_every_coded_error_pickles_with_its_code() -> None:
    """An error crosses processes whole."""
    for code, kind in errors.CODES.items():
        twin = pickle.loads(pickle.dumps(kind("something")))
        assert type(twin) is kind
        assert twin.code == code
        assert str(twin) == str(kind("something"))
