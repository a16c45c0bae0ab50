"""What the tests ask the kernel about processes and shared memory, read from /proc and /dev/shm."""

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SHM = Path("/dev/shm")
# Names that this project or the standard library gives to files of shared memory.
SHM_PREFIXES = ("holdfast", "psm_", "wnsm_", "sem.")
# Helpers that rightly live as long as the program that started them: named by command line or by process name.
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "holdfast.reaper", "tests/watchdog.py")
HELPER_NAMES = ("holdfast-reaper",)


@dataclass(frozen=True)
class Seen:
    """A process as it was seen: pid and start time together name one process for ever."""

    pid: int
    started: int
    parent: int
    group: int
    state: str

    @property
    def command(self) -> str:
        """Its command line, or its short name in brackets when it has none (a zombie)."""
        try:
            words = (PROC / str(self.pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            words = []
        return b" ".join(words).decode(errors="replace").strip() or f"[{self.name}]"

    @property
    def name(self) -> str:
        """Its short name, as prctl(PR_SET_NAME) sets it."""
        try:
            return (PROC / str(self.pid) / "comm").read_text().strip()
        except OSError:
            return "gone"

    def is_helper(self, root: int) -> bool:
        """Whether it is a helper of the process `root` and rightly outlives a test.

        Only its own children count: what the forkserver forks has the forkserver's command line.
        """
        command = self.command
        named = self.name in HELPER_NAMES or any(helper in command for helper in HELPERS)
        return named and self.parent == root


def processes() -> dict[int, Seen]:
    """Every process that can be seen, by pid."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended between the two calls
            pid = int(entry.name)
            found[pid] = Seen(pid, int(fields[19]), int(fields[1]), int(fields[2]), fields[0])
    return found


def descendants(root: int) -> list[Seen]:
    """All living descendants of a process, nearest first."""
    everybody = processes()
    found: list[Seen] = []
    layer = {root}
    while layer:
        children = [each for each in everybody.values() if each.parent in layer]
        found += children
        layer = {each.pid for each in children}
    return found


def ours() -> set[Seen]:
    """What a test could have left: children of this process, and orphans in its process group."""
    me, group = os.getpid(), os.getpgrp()
    everybody = processes().values()
    children = {each for each in everybody if each.parent == me}
    orphans = {each for each in everybody if each.group == group and each.pid != me and each.state not in "ZX"}
    return children | orphans


def shared_files() -> set[str]:
    """Files below /dev/shm with names of ours or the standard library's, as absolute paths."""
    found = set()
    for entry in os.scandir(SHM):
        if entry.name.startswith(SHM_PREFIXES):
            found.update(_files(entry))
    return found


def _files(entry: os.DirEntry[str]) -> set[str]:
    try:
        if entry.is_dir(follow_symlinks=False):
            return {inner.path for inner in os.scandir(entry.path)}
    except OSError:  # another user's, or gone by now
        return set()
    return {entry.path}


def mapped_by(pid: int | str) -> set[str]:
    """Paths below /dev/shm that a process has mapped or open."""
    paths = set()
    try:
        for line in (PROC / str(pid) / "maps").read_text().splitlines():
            _, slash, path = line.partition(f"{SHM}/")
            if slash:
                paths.add(f"{SHM}/{path.removesuffix(' (deleted)')}")
        for number in (PROC / str(pid) / "fd").iterdir():
            target = str(number.readlink())
            if target.startswith(f"{SHM}/"):
                paths.add(target.removesuffix(" (deleted)"))
    except OSError:  # it ended, or is another user's
        pass
    return paths


def mapped_elsewhere() -> set[str]:
    """Paths below /dev/shm in use by processes that are not of this test run."""
    mine = {os.getpid()} | {each.pid for each in descendants(os.getpid())} | {each.pid for each in ours()}
    return set().union(*(mapped_by(pid) for pid in processes() if pid not in mine))
