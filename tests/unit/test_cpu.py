"""cpu_count: affinity, control groups of both versions, the override, and what it says when nobody knows."""

import os

import pytest

from holdfast import cpu

CGROUP2 = "30 23 0:26 {root} {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
CGROUP1 = "31 23 0:27 {root} {mount} rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.fixture(autouse=True)
def _no_override(monkeypatch):
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)


def machine(tmp_path, mountinfo, cgroup, files, root="/"):
    """A folder like /proc/self, and a mount of control groups with these files; the folder's path."""
    mount = tmp_path / "cg"
    mount.mkdir()
    for name, text in files.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(text)
    (tmp_path / "mountinfo").write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n" + mountinfo.format(root=root, mount=mount)
    )
    (tmp_path / "cgroup").write_text(cgroup)
    return str(tmp_path)


def test_limit_of_version_2_is_rounded_up(tmp_path):
    proc = machine(tmp_path, CGROUP2, "0::/app\n", {"app/cpu.max": "150000 100000\n"})
    assert cpu.cgroup_limit(proc) == 2


def test_limit_of_version_2_is_the_least_on_the_way_up(tmp_path):
    files = {"a/b/c/cpu.max": "800000 100000\n", "a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}
    assert cpu.cgroup_limit(machine(tmp_path, CGROUP2, "0::/a/b/c\n", files)) == 3


def test_limit_below_one_cpu_is_one(tmp_path):
    proc = machine(tmp_path, CGROUP2, "0::/app\n", {"app/cpu.max": "5000 100000\n"})
    assert cpu.cgroup_limit(proc) == 1


def test_limit_of_version_1_counts(tmp_path):
    files = {"docker/ab/cpu.cfs_quota_us": "250000\n", "docker/ab/cpu.cfs_period_us": "100000\n"}
    proc = machine(tmp_path, CGROUP1, "5:memory:/x\n4:cpu,cpuacct:/docker/ab\n", files)
    assert cpu.cgroup_limit(proc) == 3


def test_no_limit_of_version_1_is_none(tmp_path):
    files = {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}
    assert cpu.cgroup_limit(machine(tmp_path, CGROUP1, "4:cpu,cpuacct:/\n", files)) is None


def test_limit_inside_a_container_that_sees_only_its_own_group(tmp_path):
    proc = machine(tmp_path, CGROUP2, "0::/docker/ab\n", {"cpu.max": "200000 100000\n"}, root="/docker/ab")
    assert cpu.cgroup_limit(proc) == 2


def test_limit_of_a_group_outside_the_mount_is_that_of_the_mount(tmp_path):
    proc = machine(tmp_path, CGROUP2, "0::/../other\n", {"cpu.max": "400000 100000\n"})
    assert cpu.cgroup_limit(proc) == 4


def test_no_proc_no_limit(tmp_path):
    assert cpu.cgroup_limit(str(tmp_path / "missing")) is None


def test_count_honours_affinity(monkeypatch):
    monkeypatch.setattr(cpu, "cgroup_limit", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 5, 9})
    assert cpu.cpu_count() == 3


def test_count_honours_the_quota(monkeypatch):
    monkeypatch.setattr(cpu, "cgroup_limit", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    assert cpu.cpu_count() == 2


def test_count_is_overruled_by_the_environment(monkeypatch):
    monkeypatch.setenv("PYTHON_CPU_COUNT", "7")
    assert cpu.cpu_count() == 7
    monkeypatch.setenv("PYTHON_CPU_COUNT", "default")
    assert cpu.cpu_count() >= 1


def test_count_unknown_is_not_implemented(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    with pytest.raises(NotImplementedError, match="cannot determine number of cpus"):
        cpu.cpu_count()


def test_count_leaves_the_standard_library_alone():
    before = os.cpu_count()
    cpu.cpu_count()
    assert os.cpu_count() == before
