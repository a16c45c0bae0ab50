"""Run all tests: those of the Rust core with cargo, then all others with pytest against the installed package.

Arguments are handed to pytest: `.venv/bin/python tests/run_all.py -k lock`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Return the exit code of the first step that fails, else 0."""
    cargo = shutil.which("cargo") or "cargo"
    # As maturin does, so that linking does not look for a shared libpython; and for this interpreter.
    environment = {**os.environ, "PYO3_BUILD_EXTENSION_MODULE": "1", "PYO3_PYTHON": sys.executable}
    steps = [
        [cargo, "test", "--manifest-path", "rust/Cargo.toml", "--workspace"],
        [sys.executable, "-m", "pytest", *(sys.argv[1:] or ["tests"])],
    ]
    for step in steps:
        code = subprocess.run(step, cwd=ROOT, env=environment, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
