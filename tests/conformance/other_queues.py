"""Queue tests of other projects, run with holdfast's queues in place of theirs: one command, counts, and a verdict.

    python tests/conformance/other_queues.py             all projects
    python tests/conformance/other_queues.py janus       one of them
    python tests/conformance/other_queues.py -v          with the details of what fails

Each project's source distribution is downloaded with pip into a temporary directory and unpacked there; nothing of it
is kept. Its tests import an adapter (``queue_adapters``) under the project's name. What is not run stands in
``other_exceptions.py``, each with a reason.

Exit code: 0 all passed, 1 something failed or hung, 2 a project could not be had.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import other_exceptions

HERE = Path(__file__).resolve().parent
LONGEST = 120  # seconds for the tests of one project


@dataclass(frozen=True)
class Project:
    """A project on the package index, and which files of its source distribution test queues."""

    name: str
    version: str
    files: tuple[str, ...]
    adapters: str = "queue_adapters"  # the folder of what its tests import instead of it
    classes: str = "Test"  # how the names of its test classes begin


PROJECTS = (
    Project("janus", "2.0.0", ("tests/test_sync.py", "tests/test_async.py", "tests/test_mixed.py")),
    Project("culsans", "0.11.0", ("tests/culsans/test_queue.py", "tests/culsans/test_mixed.py")),
    Project("billiard", "4.3.2", ("t/unit/test_queues.py",), classes="test_"),
)


def arguments(projects: tuple[Project, ...]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Run other projects' tests with holdfast in place of them.")
    parser.add_argument("-v", "--verbose", action="store_true", help="print pytest's output")
    parser.add_argument("names", nargs="*", metavar="PROJECT", help=", ".join(each.name for each in projects))
    return parser.parse_args()


def fetch(project: Project, root: Path) -> list[Path]:
    """Download and unpack a source distribution; return copies of its test files.

    Raises:
        RuntimeError: it cannot be had, or holds other files than it did.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(root), f"{project.name}=={project.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(root.glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        message = f"{project.name} {project.version} cannot be downloaded:\n{done.stderr}"
        raise RuntimeError(message)
    with tarfile.open(archives[0]) as archive:
        archive.extractall(root / "unpacked", filter="data")
    (top,) = (root / "unpacked").iterdir()
    tests = root / "tests"
    tests.mkdir()
    try:
        return [Path(shutil.copy(top / name, tests)) for name in project.files]
    except FileNotFoundError as problem:
        message = f"{project.name} {project.version} has no {problem.filename}"
        raise RuntimeError(message) from problem


def run(project: Project, root: Path, *, verbose: bool) -> dict[str, object]:
    """Run the tests of one project and return what the plugin wrote down."""
    files, result = fetch(project, root), root / "result.json"
    paths = [str(HERE / project.adapters), str(HERE)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HOLDFAST_OTHER_PROJECT": project.name.replace("-", "_"),
        "HOLDFAST_OTHER_ADAPTERS": project.adapters,
        "HOLDFAST_OTHER_RESULT": str(result),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "other_plugin", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", str(root), "-o", "faulthandler_timeout=60"]
    command += ["-o", f"python_classes={project.classes}", *map(str, files)]
    output = None if verbose else subprocess.DEVNULL
    try:
        subprocess.run(command, cwd=root, env=environment, stdout=output, check=False, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return {"counts": {"hung": 1}, "bad": [f"no end after {LONGEST} s"], "used": [], "exit": 1}
    if not result.exists():
        return {"counts": {"crashed": 1}, "bad": ["pytest wrote no result"], "used": [], "exit": 1}
    found: dict[str, object] = json.loads(result.read_text())
    return found


def report(project: Project, found: dict[str, object]) -> bool:
    """Print a project's counts; return whether all is well."""
    counts = Counter(found["counts"])  # type: ignore[arg-type,var-annotated]
    told = ", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "skipped", "excepted"))
    print(f"{project.name} {project.version}: {told}", flush=True)
    for test in found["bad"]:  # type: ignore[attr-defined]
        print(f"    failed: {test}")
    for key, why in other_exceptions.EXCEPTIONS.items():
        if key.startswith(project.name.replace("-", "_") + ": "):
            unused = "" if key in found["used"] else " (no such test any more)"  # type: ignore[operator]
            print(f"    excepted: {key.partition(': ')[2]}: {why}{unused}")
    return found["exit"] == 0


def main(projects: tuple[Project, ...] = PROJECTS) -> int:
    """Run the command; return its exit code."""
    options = arguments(projects)
    fine = True
    for project in projects:
        if options.names and project.name not in options.names:
            continue
        root = Path(tempfile.mkdtemp(prefix="hfother-"))
        try:
            fine &= report(project, run(project, root, verbose=options.verbose))
        except RuntimeError as problem:
            print(problem, file=sys.stderr)
            return 2
        finally:
            shutil.rmtree(root, ignore_errors=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
