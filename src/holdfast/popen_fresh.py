"""The parent's side of a start by a fresh interpreter; the rest is in `popen`."""

from __future__ import annotations

import sys
from multiprocessing import popen_spawn_posix

from holdfast.boarding import Passenger
from holdfast.popen import Reporting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

__all__ = ["SpawnPopen", "is_installed"]


def is_installed() -> bool:
    """Whether holdfast stands behind ``multiprocessing`` here."""
    module = sys.modules.get("holdfast.install")
    return module is not None and module.is_installed()


class SpawnPopen(Reporting, popen_spawn_posix.Popen):
    """Start by a fresh interpreter."""

    def _launch(self, process_obj: BaseProcess) -> None:
        super()._launch(Passenger(process_obj, installed=is_installed()))  # type: ignore[misc]
