"""SharedMemory: who owns a block, and what becomes of it when the owner ends, in each way of ending."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from multiprocessing import shared_memory as std
from pathlib import Path

import pytest

import holdfast
from holdfast.managers import SharedMemoryManager
from holdfast.shared_memory import ShareableList, SharedMemory

KILLED = 2.0  # seconds in which the blocks of a killed owner must be gone: the promise


def exists(name):
    return Path("/dev/shm", name).exists()


def gone_in_time(name):
    deadline = time.monotonic() + KILLED
    while exists(name) and time.monotonic() < deadline:
        time.sleep(0.005)
    return not exists(name)


def program(text, **options):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], text=True, **options)


def make(connection, *, then_wait=False):
    block = SharedMemory(create=True, size=100)
    block.buf[0] = 42
    block.close()
    connection.send(block.name)
    if then_wait:
        signal.pause()


def make_and_wait(connection):
    make(connection, then_wait=True)


def name_of_new_block(_):
    block = SharedMemory(create=True, size=10)
    block.close()
    return block.name


@pytest.fixture
def block():
    block = SharedMemory(create=True, size=100)
    yield block
    block.close()
    if exists(block.name):
        block.unlink()


def child_with_block(context, target):
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(sender,))
    process.start()
    sender.close()
    name = receiver.recv()
    receiver.close()
    return process, name


def test_block_attached_by_an_unrelated_program_survives_its_end(block):
    attacher = f"from holdfast.shared_memory import SharedMemory; b = SharedMemory({block.name!r}); b.buf[1] = 7"
    assert program(attacher).wait() == 0
    assert exists(block.name)
    assert block.buf[1] == 7


def test_block_of_a_killed_child_is_gone_while_its_parent_lives(context):
    process, name = child_with_block(context, make_and_wait)
    os.kill(process.pid, signal.SIGKILL)
    assert gone_in_time(name)
    process.join(30)


def test_block_of_a_child_that_ended_belongs_to_the_parent(context):
    process, name = child_with_block(context, make)
    process.join(30)
    time.sleep(0.1)  # the wrong outcome would take a moment; the right one is that nothing ever happens
    attached = SharedMemory(name)
    assert attached.buf[0] == 42
    attached.close()
    attached.unlink()


def test_block_of_a_child_that_its_parent_terminated_belongs_to_the_parent(context):
    process, name = child_with_block(context, make_and_wait)
    process.terminate()
    process.join(30)
    time.sleep(0.1)  # as above
    attached = SharedMemory(name)
    attached.close()
    attached.unlink()


def test_blocks_of_pool_workers_can_be_attached_after_the_pool(context):
    with context.Pool(2) as pool:
        names = pool.map(name_of_new_block, range(4))
    for name in names:
        attached = SharedMemory(name)
        attached.close()
        attached.unlink()


def test_blocks_of_a_killed_program_are_gone_and_named():
    text = """
        import signal
        from holdfast.shared_memory import SharedMemory
        blocks = [SharedMemory(create=True, size=10) for _ in range(2)]
        print(*(block.name for block in blocks), flush=True)
        signal.pause()
    """
    with program(text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as owner:
        names = owner.stdout.readline().split()
        os.killpg(owner.pid, signal.SIGKILL)
        said = owner.stderr.read()
    assert all(map(gone_in_time, names))
    assert "resource_tracker: There appear to be 2 leaked shared_memory objects to clean up at shutdown" in said
    assert said.count("\n") == 1
    assert all(name in said for name in names)


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "1 / 0"])
def test_blocks_of_a_program_that_ends_are_removed_quietly(ending):
    text = f"""
        from holdfast.shared_memory import SharedMemory
        block = SharedMemory(create=True, size=10)
        print(block.name, flush=True)
        {ending}
    """
    with program(text, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as owner:
        name = owner.stdout.readline().strip()
        said = owner.stderr.read()
    assert not exists(name)
    assert "leaked" not in said


def test_block_of_a_killed_owner_whose_name_was_given_away_is_left_alone():
    text = """
        import os, signal
        from holdfast.shared_memory import SharedMemory
        block = SharedMemory("holdfast_test_reused", create=True, size=10)
        os.unlink("/dev/shm/holdfast_test_reused")
        print(flush=True)
        signal.pause()
    """
    with program(text, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as owner:
        owner.stdout.readline()
        mine = std.SharedMemory("holdfast_test_reused", create=True, size=10)
        owner.kill()
        owner.stderr.read()  # to its end: then the reaper is done
    assert exists("holdfast_test_reused")
    mine.close()
    mine.unlink()


def test_block_made_while_the_reaper_was_killed_is_still_cleaned_up():
    text = """
        import os, signal
        from pathlib import Path
        from holdfast.shared_memory import SharedMemory
        blocks = [SharedMemory(create=True, size=10)]
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                reaper = (entry / "comm").read_text() == "holdfast-reaper\\n"
                mine = reaper and b"HOLDFAST_TEST_MARK=reaper" in (entry / "environ").read_bytes()
            except OSError:
                continue
            if mine:
                os.kill(int(entry.name), signal.SIGKILL)
                while entry.exists():  # what is said to a dying one is lost
                    pass
        blocks.append(SharedMemory(create=True, size=10))
        print(*(block.name for block in blocks), flush=True)
        signal.pause()
    """
    marked = {**os.environ, "HOLDFAST_TEST_MARK": "reaper"}
    with program(text, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=marked) as owner:
        names = owner.stdout.readline().split()
        assert len(names) == 2
        owner.kill()
    assert all(map(gone_in_time, names))


def test_block_without_tracking_outlives_its_program():
    text = """
        from holdfast.shared_memory import SharedMemory
        print(SharedMemory(create=True, size=10, track=False).name)
    """
    with program(text, stdout=subprocess.PIPE) as owner:
        name = owner.stdout.read().strip()
    attached = SharedMemory(name)
    attached.close()
    attached.unlink()


def test_block_keeps_the_standard_contract(block):
    assert isinstance(block, std.SharedMemory)
    assert (block.size, len(block.buf), block.name[:4]) == (100, 100, "psm_")
    other = std.SharedMemory(block.name)
    other.buf[3] = 9
    assert block.buf[3] == 9
    other.close()
    std.resource_tracker.unregister(f"/{block.name}", "shared_memory")
    with pytest.raises(FileExistsError):
        SharedMemory(block.name, create=True, size=10)
    assert exists(block.name)
    with pytest.raises(FileNotFoundError):
        SharedMemory("holdfast_test_missing")
    for options in ({"create": True, "size": -1}, {"create": True}, {}):
        with pytest.raises(ValueError, match=r"'size'|'name'"):
            SharedMemory(**options)
    with pytest.raises(OSError, match=r"."):
        SharedMemory("with/slash", create=True, size=10)


def test_block_unlinked_twice_is_an_error():
    block = SharedMemory(create=True, size=10)
    block.close()
    block.unlink()
    with pytest.raises(FileNotFoundError):
        block.unlink()


def test_list_is_ours_and_shared():
    items = ShareableList([1, "two", None, 4.5])
    assert isinstance(items.shm, SharedMemory)
    again = ShareableList(name=items.shm.name)
    again[0] = 10
    assert list(items) == [10, "two", None, 4.5]
    again.shm.close()
    items.shm.close()
    items.shm.unlink()


def test_manager_destroys_its_blocks_at_its_end(context):
    with SharedMemoryManager(ctx=context) as manager:
        names = [manager.SharedMemory(50).name, manager.ShareableList([1, 2]).shm.name]
        assert all(map(exists, names))
    assert not any(map(exists, names))


def test_installed_behind_the_standard_library(start_method):
    text = f"""
        import holdfast; holdfast.install()
        from multiprocessing import get_context
        from multiprocessing.shared_memory import SharedMemory, ShareableList
        def use(block, items):
            block.buf[0] = 5
            items[0] = type(block).__module__
        if __name__ == "__main__":
            block, items = SharedMemory(create=True, size=10), ShareableList(["x" * 30])
            process = get_context({start_method!r}).Process(target=print)
            process.start(); process.join()
            assert type(block).__module__ == type(items.shm).__module__ == "holdfast.shared_memory"
    """
    with program(text, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as owner:
        said = owner.stderr.read()
    assert (owner.returncode, said) == (0, "")


def test_child_of_holdfast_finds_the_programs_reaper(context):
    before = len(reapers())
    first = SharedMemory(create=True, size=10)
    process, name = child_with_block(context, make)
    process.join(30)
    assert len(reapers()) <= before + 1
    for each in (first, SharedMemory(name)):
        each.close()
        each.unlink()


def reapers():
    return [p for p in Path("/proc").iterdir() if p.name.isdigit() and is_reaper(p)]


def is_reaper(entry):
    try:
        return (entry / "comm").read_text() == "holdfast-reaper\n"
    except OSError:
        return False


assert holdfast.shared_memory.SharedMemory is SharedMemory
