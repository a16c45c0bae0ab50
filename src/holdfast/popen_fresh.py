"""The parent's side of a start by a fresh interpreter or by the forkserver; the rest is in `popen`."""

from __future__ import annotations

import sys
from multiprocessing import forkserver, popen_forkserver, popen_spawn_posix
from typing import TYPE_CHECKING, Any

from holdfast.boarding import Passenger, find_package
from holdfast.popen import Reporting

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

__all__ = ["ForkServerPopen", "SpawnPopen"]

# What children are likely to need if the key is loaded here when the server starts.
_USEFUL = {
    "holdfast._core": ("holdfast._core",),
    "holdfast.crew.worker": ("holdfast.crew.worker", "holdfast._pickling"),
}


def _installed() -> bool:
    module = sys.modules.get("holdfast.install")
    return module is not None and module.is_installed()


class SpawnPopen(Reporting, popen_spawn_posix.Popen):
    """Start by a fresh interpreter."""

    def _launch(self, process_obj: BaseProcess) -> None:
        super()._launch(Passenger(process_obj, installed=_installed()))  # type: ignore[misc]


class _Preload(list[str]):
    """The forkserver's list of modules; its ``repr`` is put into the server's command line and evaluated there."""

    def __repr__(self) -> str:
        prologue = find_package() + "\nfrom holdfast.boarding import defer_interrupts; defer_interrupts()"
        if _installed():
            prologue += "\nfrom holdfast.install import install; install()"
        return f"(exec({prologue!r}), {super().__repr__()})[1]"


class ForkServerPopen(Reporting, popen_forkserver.Popen):
    """Start by a server that forks; holdfast is loaded there already, so that children need not do it."""

    def _launch(self, process_obj: BaseProcess) -> None:
        server: Any = forkserver._forkserver  # noqa: SLF001 - the list has no public reader
        modules = server._preload_modules  # noqa: SLF001
        if not isinstance(modules, _Preload):
            useful = [name for key, names in _USEFUL.items() if key in sys.modules for name in names]
            server._preload_modules = _Preload([*modules, "holdfast.context", *useful])  # noqa: SLF001
        super()._launch(Passenger(process_obj, installed=_installed()))  # type: ignore[misc]
