"""A throw-away virtual environment of any interpreter, in which holdfast can be switched on from outside.

    run.py ──> venv of PYTHON ──> suite_worker.py (one test class)  ──> children started by multiprocessing
                 packages/holdfast             │                          (holdfast must come from their parent)
                 site-packages/                └─> interpreters started by the tests themselves (`python -c ...`)
                   conformance.pth                  (holdfast comes from the hook)
                   conformance_hook.py

CPython's tests start whole interpreters with ``-E`` or ``-I``: environment variables cannot put holdfast in front of
those, a ``.pth`` file can. The hook keeps its hands off the children of multiprocessing, since their getting holdfast
from their parent is part of what is tested.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

SWITCH = "HOLDFAST_CONFORMANCE"

HOOK = f"""\
import os
import sys

_OWN = ("multiprocessing.spawn", "multiprocessing.forkserver", "multiprocessing.resource_tracker")


def _child_of_multiprocessing():
    return any(name in argument for argument in sys.orig_argv[1:] for name in _OWN)


if os.environ.get("{SWITCH}") == "1" and not _child_of_multiprocessing():
    import holdfast

    holdfast.install()
"""

WRAPPER = """\
from test._test_multiprocessing import install_tests_in_module_dict

install_tests_in_module_dict(globals(), "{method}")
"""


@dataclass(frozen=True)
class Environment:
    """Where the interpreter under test lives and what its version is."""

    python: Path
    root: Path
    version: str

    def variables(self, scratch: Path) -> dict[str, str]:
        """Return the environment variables of a worker whose temporary files go to ``scratch``."""
        keep = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HOLDFAST", "VIRTUAL"))
        }
        return keep | {"TMPDIR": str(scratch), "PYTHONPATH": str(self.root / "wrappers")}


def package() -> Path:
    """Return the directory of the ``holdfast`` package (an installed one, or this repository's)."""
    spec = importlib.util.find_spec("holdfast")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent
    return Path(__file__).resolve().parents[2] / "src" / "holdfast"


def build(python: str, root: Path) -> Environment:
    """Make a virtual environment of ``python`` under ``root`` with the hook and the suite's wrapper modules.

    Raises:
        subprocess.CalledProcessError: the interpreter cannot make one.
    """
    venv = root / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", str(venv)], check=True)
    inner = venv / "bin" / "python"
    answer = subprocess.run(
        [
            str(inner),
            "-c",
            "import sys, sysconfig; print(sysconfig.get_path('purelib')); print(sys.version.split()[0])",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    purelib, version = answer.stdout.split()
    Path(purelib, "conformance_hook.py").write_text(HOOK)
    packages = root / "packages"  # holdfast alone: where cloudpickle is, more can be pickled than the suite expects
    packages.mkdir()
    (packages / "holdfast").symlink_to(package())
    Path(purelib, "conformance.pth").write_text(f"{packages}\nimport conformance_hook\n")
    wrappers = root / "wrappers"
    wrappers.mkdir()
    for method in ("fork", "spawn", "forkserver"):
        (wrappers / f"conformance_{method}.py").write_text(WRAPPER.format(method=method))
    return Environment(inner, root, version)


def default_python() -> str:
    """Return the interpreter that runs this program, outside any virtual environment."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    inside = Path(sysconfig.get_config_var("BINDIR") or "", "python3")
    return base if Path(base).exists() else str(inside)
