"""How a worker's end is told: the evidence for want of memory, the words, the stacks."""

import os
from pathlib import Path

import pytest

from holdfast.crew import deaths
from holdfast.crew.deaths import Death

MOUNTS = {
    1: "31 23 0:27 {root} {mount} rw shared:5 - cgroup cgroup rw,memory\n",
    2: "30 23 0:26 {root} {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
}
FILES = {
    1: ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"),
    2: ("memory.events", "low 0\nhigh 0\nmax 7\noom 5\noom_kill {}\noom_group_kill 0\n"),
}


def machine(tmp_path, version, folder, kills, root="/", cgroup="0::/a\n5:memory,hugetlb:/a\n"):
    """A folder like /proc/self with a group that counts so many kills; both folders."""
    name, text = FILES[version]
    group = tmp_path / "cg" / folder
    group.mkdir(parents=True)
    (group / name).write_text(text.format(kills))
    (tmp_path / "mountinfo").write_text(MOUNTS[version].format(root=root, mount=tmp_path / "cg"))
    (tmp_path / "cgroup").write_text(cgroup)
    return str(tmp_path), str(group)


@pytest.mark.parametrize("version", [1, 2])
def test_memory_kills_are_counted_in_the_own_group(tmp_path, version):
    proc, group = machine(tmp_path, version, "a", 3)
    assert deaths.oom_kills(proc) == (group, 3)


@pytest.mark.parametrize("version", [1, 2])
def test_memory_kills_in_a_container_that_sees_only_its_own_group_are_counted(tmp_path, version):
    cgroup = "0::/docker/ab\n5:memory:/docker/ab\n"
    proc, group = machine(tmp_path, version, ".", 2, "/docker/ab", cgroup)
    assert deaths.oom_kills(proc) == (os.path.normpath(group), 2)


def test_memory_kills_without_groups_or_with_files_of_a_future_format_are_unknown(tmp_path):
    assert deaths.oom_kills(str(tmp_path / "none")) is None
    proc, _group = machine(tmp_path, 2, "a", "many")
    assert deaths.oom_kills(proc) is None


def test_death_by_memory_limit_is_called_that_only_for_sigkill():
    assert "memory limit of control group /x" in Death(5, -9, memory="/x").how()
    assert Death(5, -11, memory="/x").how() == "was killed by SIGSEGV"
    assert Death(5, -9).how() == "was killed by SIGKILL"
    assert Death(5, 3).how() == "ended with exit code 3"
    assert Death(5, -40).how() == "was killed by signal 40"


def test_death_error_names_process_task_and_arguments_and_shows_the_stacks():
    error = Death(77, -11, "Fatal Python error: Segmentation fault\n  File x").error("f", 4, "(1, b=2)", sending=True)
    assert (error.pid, error.exitcode, error.signal, error.task, error.arguments) == (77, -11, "SIGSEGV", 4, "(1, b=2)")
    for part in ("[HF301]", "pid 77", "SIGSEGV", "sent the result of task 4: f(1, b=2)", "Segmentation fault"):
        assert part in str(error)


def test_stacks_without_the_frames_below_the_users_are_read_and_the_file_emptied(tmp_path):
    worker = Path(deaths.__file__).with_name("worker.py")
    path = tmp_path / "stacks"
    path.write_text(f'Fatal\n\nThread 1:\n  File "user.py", line 1 in f\n  File "{worker}", line 5\n  File "run.py"\n')
    fd = os.open(path, os.O_RDWR)
    try:
        assert deaths.read_stacks(fd) == 'Fatal\nThread 1:\n  File "user.py", line 1 in f'
        assert deaths.read_stacks(fd) == ""
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    "value", [b"a" * 10**6, bytearray(10**6), "é" * 10**6, list(range(10**6)), {"a": [b"x" * 10**6]}]
)
def test_arguments_of_any_size_are_shown_in_a_line(value):
    text = deaths.shortened(value)
    assert len(text) <= 200
    assert text[:4] == repr(value)[:4]


def test_small_arguments_are_shown_whole_and_those_that_cannot_be_are_named():
    class Bad:
        def __repr__(self):
            raise ValueError

    for value in (1, -1.5, "a", b"a", None, [1, (2, {"b": 1})], {1, 2}, 2**100):
        assert deaths.shortened(value) == repr(value)
    assert deaths.shortened(Bad()) == "<Bad that cannot be shown>"
