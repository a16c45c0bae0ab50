"""The main module in a child that does not share memory: imported as the standard library does, in less time.

``multiprocessing.spawn`` runs the main program's file by ``runpy.run_path``, which asks ``pkgutil`` whether the path
is a directory or an archive; and loading that, for it loads ``typing``, takes a tenth of a small child's start. A
plain file of source text needs nothing of it.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from io import open_code
from multiprocessing import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Runner", "prepare"]


class Runner:
    """Stands in for ``runpy`` where ``multiprocessing.spawn`` uses it."""

    run_module = staticmethod(runpy.run_module)

    @staticmethod
    def run_path(path_name: str, init_globals: dict[str, Any] | None = None, run_name: str | None = None) -> Any:  # noqa: ANN401 - the module's names
        """As ``runpy.run_path``."""
        run = getattr(runpy, "_run_module_code", None)  # private: elsewhere it may not be there
        if run is None or run_name is None or _is_imported_from(path_name):
            return runpy.run_path(path_name, init_globals, run_name)
        with open_code(os.path.abspath(path_name)) as file:  # noqa: PTH100 - pathlib costs 3 ms
            text = file.read()
        if text.startswith(importlib.util.MAGIC_NUMBER):
            return runpy.run_path(path_name, init_globals, run_name)
        code = compile(text, path_name, "exec", dont_inherit=True)
        return run(code, init_globals, run_name, pkg_name=run_name.rpartition(".")[0], script_name=path_name)


def _is_imported_from(path: str) -> bool:
    """Whether some importer takes the path for a place of modules, as it does with a directory or an archive."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def prepare() -> None:
    """Have this process, which is about to import its main module, do it in this way."""
    spawn.runpy = Runner  # type: ignore[attr-defined]
