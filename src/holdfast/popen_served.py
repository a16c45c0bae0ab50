"""The parent's side of a start by the forkserver; the rest is in `popen`."""

from __future__ import annotations

import sys
from multiprocessing import forkserver, popen_forkserver

from holdfast.boarding import Passenger, find_package
from holdfast.popen import Reporting
from holdfast.popen_fresh import is_installed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from typing import Any

__all__ = ["ForkServerPopen", "prepare"]

# What every child loads that begins, the main module in its turn, and what the workers of a pool need beyond that.
_CHILD = ("multiprocessing.popen_forkserver", "holdfast.context", "holdfast.main_module")
_WORKER = ("holdfast.crew.worker", "holdfast._pickling", "holdfast.queues")


class _Preload(list[str]):
    """The forkserver's list of modules; its ``repr`` is put into the server's command line and evaluated there."""

    def __repr__(self) -> str:
        prologue = find_package() + "\nfrom holdfast.boarding import defer_interrupts; defer_interrupts()"
        if is_installed():
            prologue += "\nfrom holdfast.install import install; install()"
        return f"(exec({prologue!r}), {super().__repr__()})[1]"


def prepare() -> None:
    """Start the server, if it does not run, with what the workers of a pool need."""
    _fill(pool=True)
    forkserver.ensure_running()


def _fill(*, pool: bool) -> None:
    """Say what the server is to load as it starts, so that children need not do it."""
    server: Any = forkserver._forkserver  # noqa: SLF001 - the list has no public reader
    modules = server._preload_modules  # noqa: SLF001
    if isinstance(modules, _Preload):
        return
    core = ["holdfast._core"] if "holdfast._core" in sys.modules else []
    server._preload_modules = _Preload([*modules, *_CHILD, *(_WORKER if pool else core)])  # noqa: SLF001


class ForkServerPopen(Reporting, popen_forkserver.Popen):
    """Start by a server that forks; holdfast is loaded there already."""

    def _launch(self, process_obj: BaseProcess) -> None:
        _fill(pool="holdfast.crew.worker" in sys.modules)
        super()._launch(Passenger(process_obj, installed=is_installed()))  # type: ignore[misc]
