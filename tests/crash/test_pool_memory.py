"""A worker killed for want of memory: the error names the control group. Needs leave to make memory groups."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import METHODS, command, eventually, running

from holdfast.cpu import folders

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 256 << 20  # bytes
LIMITS = {  # files of both versions; those of swap are not everywhere
    1: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    2: ("memory.max", "memory.swap.max"),
}


def make_group() -> Path | None:
    """Make a memory group with a limit, below this process's own or as near to it as is allowed; None if it is not."""
    for parent, version in folders("/proc/self", "memory"):
        group = Path(parent, f"holdfast-test-{os.getpid()}")
        limit, swap = LIMITS[version]
        with suppress(OSError):
            group.mkdir()
            try:
                (group / limit).write_text(str(LIMIT))
            except OSError:
                group.rmdir()
                continue
            with suppress(OSError):
                (group / swap).write_text(str(LIMIT if version == 1 else 0))
            return group
    return None


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory group with a limit."""
    made = make_group()
    if made is None:
        pytest.skip("memory groups cannot be made here; what is read from their files is tested in test_deaths")
    yield made

    def empty() -> bool:
        for pid in (made / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        with suppress(OSError):
            made.rmdir()
        return not made.exists()

    assert eventually(empty, watchdog=30)


@pytest.mark.parametrize("method", METHODS)
def test_worker_killed_by_memory_limit_error_names_the_group(method: str, group: Path, tmp_path: Path) -> None:
    with running([*command("pool_memory.py", "run", tmp_path), method, str(group)]) as program:
        assert program.finish()[0] == "OK"
