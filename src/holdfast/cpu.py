"""How many CPUs this program may use: the least of what the machine has, affinity allows and control groups grant.

A container with a quota of 2 CPUs on a machine with 64 sees 64 in ``os.cpu_count()``; as many workers would share the
time of two. Quotas are read from the files of control groups version 1 and 2, at every level above this process.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (cpu.cfs_quota_us).
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cpu_count", "folders", "set_share", "share"]

_share: int | None = None  # of a pool's worker


def cpu_count() -> int:
    """Count the CPUs that this program may use; in a worker of a pool, its share of them.

    ``PYTHON_CPU_COUNT`` and ``-X cpu_count``, as of Python 3.13, overrule everything, on older versions too.

    Returns:
        A number of CPUs, 1 or more; a quota of 1.5 CPUs counts as 2.

    Raises:
        NotImplementedError: the system does not say how many CPUs there are.

    Example:
        >>> import holdfast
        >>> 1 <= holdfast.cpu_count() <= os.cpu_count()
        True
    """
    wanted = _override()
    if wanted is None:
        wanted = _granted()
    return wanted if _share is None else min(wanted, _share)


def share(workers: int) -> int:
    """The CPUs that each of as many workers counts as its own, 1 or more."""
    wanted = _override()
    if wanted is None:
        machine = os.cpu_count()
        # Control groups, whose files take long to read, can only grant less.
        wanted = 1 if machine is not None and machine // workers <= 1 else cpu_count()
    return max(1, (wanted if _share is None else min(wanted, _share)) // workers)


def set_share(cpus: int) -> None:
    """Say how many CPUs this process counts as its own; its forked children inherit that."""
    global _share  # noqa: PLW0603 - there is one in a process
    _share = cpus


def _granted() -> int:
    total = os.cpu_count()
    if total is None:
        message = "cannot determine number of cpus"
        raise NotImplementedError(message)
    quota = cgroup_limit()
    allowed = min(total, len(os.sched_getaffinity(0)))
    return allowed if quota is None else max(1, min(allowed, quota))


def _override() -> int | None:
    text = sys._xoptions.get("cpu_count")  # noqa: SLF001 - documented
    if text is None and not sys.flags.ignore_environment:
        text = os.environ.get("PYTHON_CPU_COUNT")
    return int(text) if isinstance(text, str) and text.isdecimal() and int(text) > 0 else None


def cgroup_limit(proc: str = "/proc/self") -> int | None:
    """The CPUs that control groups grant, rounded up.

    Args:
        proc: the folder of this process in /proc.

    Returns:
        The least quota on the way from this process's groups to their roots; None without any.
    """
    try:
        limits = [limit for folder, version in folders(proc, "cpu") if (limit := _quota(folder, version)) is not None]
    except (OSError, ValueError):  # no /proc, or a format of the future: no quota is known
        return None
    return min(limits, default=None)


def folders(proc: str, controller: str) -> Iterator[tuple[str, int]]:
    """Every folder of a control group that this process is in, its own first, with the version of its hierarchy.

    Args:
        proc: the folder of this process in /proc.
        controller: what the groups control, ``"cpu"`` or ``"memory"``.
    """
    groups = {}
    for line in _lines(f"{proc}/cgroup"):  # "0::/user.slice" or "4:cpu,cpuacct:/docker/ab"
        number, controllers, path = line.split(":", 2)
        if number == "0":
            groups[2] = path
        elif controller in controllers.split(","):
            groups[1] = path
    for line in _lines(f"{proc}/mountinfo"):  # 30 23 0:26 ROOT MOUNTPOINT OPTIONS ... - TYPE SOURCE SUPEROPTIONS
        before, _, after = line.partition(" - ")
        if not after.startswith("cgroup"):
            continue
        root, mount = (_unescaped(field) for field in before.split()[3:5])
        kind, _, options = after.split(" ", 2)
        version = {"cgroup2": 2, "cgroup": 1}.get(kind)
        if version in groups and (version == 2 or controller in options.strip().split(",")):  # noqa: PLR2004 - as named
            for folder in _upwards(mount, root, groups[version]):
                yield folder, version


def _upwards(mount: str, root: str, path: str) -> Iterator[str]:
    """The folders from a group up to the mount point; `root` is the group that is mounted there."""
    inside = os.path.relpath(path, root)
    if inside.startswith(".."):  # the group lies outside what can be seen from this container
        inside = "."
    while inside not in (".", ""):
        yield f"{mount}/{inside}"
        inside = os.path.dirname(inside)  # noqa: PTH120 - a relative path of a group, not of a file
    yield mount


def _quota(folder: str, version: int) -> int | None:
    """The CPUs granted by the files of one group; None if it grants all, or has no such files."""
    try:
        if version == 1:
            quota, period = (_lines(f"{folder}/cpu.cfs_{name}_us")[0] for name in ("quota", "period"))
        else:
            quota, period = _lines(f"{folder}/cpu.max")[0].split()
    except (OSError, IndexError):
        return None
    if quota in ("max", "-1") or int(period) <= 0:
        return None
    return max(1, -(-int(quota) // int(period)))


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 - pathlib costs 3 ms
        return file.read().splitlines()


def _unescaped(field: str) -> str:
    """A path of mountinfo, in which blanks and the like are written as octal numbers."""
    for code in ("040", "011", "012", "134"):
        field = field.replace(f"\\{code}", chr(int(code, 8)))
    return field
