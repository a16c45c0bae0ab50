"""Logs of many processes: rows of PAINS.md, death of the home, programs of one name, other libraries, storms."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from support import METHODS, MODES, command, eventually, run_code, run_script, running, text_of

CI = Path(__file__).resolve().parents[2] / "ci"

across = pytest.mark.parametrize("method", METHODS)
both_modes = pytest.mark.parametrize("mode", MODES)


def run(name: str, mode: str, workplace: Path, *arguments: str) -> None:
    """Run a program to its end and insist on OK."""
    with running([*command(name, mode, workplace), *arguments]) as program:
        out, err = program.finish()
        assert out == "OK", f"{out}\n{err}"
        assert program.process.returncode == 0, err
        assert "Traceback" not in err, err


@across
@both_modes
@pytest.mark.parametrize("kind", ["setup", "file"])
def test_log_of_four_processes_rotating_every_line_is_whole_and_there(
    kind: str, mode: str, method: str, tmp_path: Path
) -> None:
    """Row 16."""
    run("log_rotating.py", mode, tmp_path, method, kind)


@across
@both_modes
def test_log_set_up_in_the_parent_only_lines_of_children_are_there(mode: str, method: str, tmp_path: Path) -> None:
    """Row 32, the half about logging."""
    run("log_parent_only.py", mode, tmp_path, method)


@across
def test_log_home_killed_survivors_say_so_and_print_what_is_left(method: str, tmp_path: Path) -> None:
    """What the home had not taken (256 at a time) is printed by the survivors, and so is all that they log later."""
    with running([*command("log_home_killed.py", "run", tmp_path), method]) as program:
        before = sorted(program.line() for _ in range(3))
        assert before == ["first before", "ready", "second before"], program.finish()
        assert program.line() == "logged"
        os.kill(program.process.pid, signal.SIGKILL)
        assert eventually(lambda: not program.members(), watchdog=60)
        err = text_of(program.err)
        assert err.count(f"process {program.process.pid}, the home of the log, has died") == 2, err
        after = [line.partition(": ")[2] for line in err.splitlines() if " after " in line]
        assert len(set(after)) == len(after) >= 2 * 400 - 256 - 1
        for name in ("first", "second"):
            assert err.count(f"{name} at last") == 1, err


GUEST = """
import logging, sys
import holdfast.logs
logging.root.addHandler(logging.StreamHandler(sys.stdout))
log = holdfast.logs.setup(sys.argv[1], level="INFO")
print(log.is_home, flush=True)
for line in sys.stdin:
    logging.info("%s", line.strip())
    log.flush(30)
"""


def test_log_programs_of_one_name_share_the_first_ones_handlers(tmp_path: Path) -> None:
    """The first is the home; when it has ended, the other goes back to its own handlers."""
    environment = {"HOLDFAST_DIR": str(tmp_path / "arenas")}
    (tmp_path / "arenas").mkdir(mode=0o700)
    argv = [sys.executable, "-c", GUEST, "shared"]
    with running(argv, environment) as home:
        assert home.line() == "True"
        with running(argv, environment) as guest:
            assert guest.line() == "False"
            guest.say("from the guest")
            assert home.line() == "from the guest"
            home.say("own")
            assert home.line() == "own"
            assert home.process.stdin is not None
            home.process.stdin.close()
            assert home.process.wait(60) == 0
            guest.say("alone")
            assert guest.line() == "alone"
            assert "[HF803] the home of the log has ended" in text_of(guest.err)


RUN_LOG = """
import logging, sys, multiprocessing as mp
def work(): logging.getLogger("work").info("child")
if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="own %(message)s")
    logging.info("parent")
    process = mp.get_context(sys.argv[1]).Process(target=work)
    process.start()
    process.join()
"""


@across
def test_run_with_log_records_all_processes_of_an_unmodified_program(method: str, tmp_path: Path) -> None:
    """And what the program itself prints does not change."""
    script, log = tmp_path / "script.py", tmp_path / "app.log"
    script.write_text(RUN_LOG)
    argv = [sys.executable, "-m", "holdfast", "run", "--log", str(log), str(script), method]
    code, _out, err = run_script(argv)
    assert code == 0, err
    assert err.splitlines() == (["own parent", "own child"] if method == "fork" else ["own parent"])
    lines = log.read_text().splitlines()
    assert [line.partition("]")[2] for line in lines] == [" root: parent", " work: child"]
    assert f"INFO {method.title().replace('server', 'Server')}Process-1[" in lines[1]


@pytest.mark.parametrize("words", [["--log"], ["--log", "/nowhere/at/all", __file__], ["--log", "x"]])
def test_run_with_a_bad_log_is_misuse(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run."""
    monkeypatch.chdir(tmp_path)
    code, _out, err = run_script([sys.executable, "-m", "holdfast", "run", *words])
    assert code == 2
    assert "[HF508]" in err


DICT_CONFIG = """
import logging, logging.config, sys
import holdfast, holdfast.logs
def work(): logging.getLogger("app").info("child %d", 1)
if __name__ == "__main__":
    logging.config.dictConfig({
        "version": 1,
        "formatters": {"plain": {"format": "%(levelname)s %(message)s"}},
        "handlers": {"file": {"class": "holdfast.logs.FileHandler", "path": sys.argv[2], "max_bytes": 1000,
                              "backups": 3, "formatter": "plain"}},
        "root": {"level": "INFO", "handlers": ["file"]},
    })
    if sys.argv[3] == "setup":
        holdfast.logs.setup()
    logging.info("parent")
    process = holdfast.get_context(sys.argv[1]).Process(target=work)
    process.start()
    process.join()
"""

STRUCTLOG = """
import logging, sys
import holdfast, holdfast.logs, structlog
structlog.configure(
    processors=[structlog.stdlib.add_log_level, structlog.processors.KeyValueRenderer(sort_keys=True)],
    logger_factory=structlog.stdlib.LoggerFactory(), wrapper_class=structlog.stdlib.BoundLogger)
def work(): structlog.get_logger("app").info("child", number=1)
if __name__ == "__main__":
    holdfast.logs.setup(level="INFO", handlers=[logging.FileHandler(sys.argv[2])])
    structlog.get_logger("app").info("parent", number=0)
    process = holdfast.get_context(sys.argv[1]).Process(target=work)
    process.start()
    process.join()
"""

LOGURU = """
import logging, sys
import holdfast, holdfast.logs
from loguru import logger
class ToLogging(logging.Handler):
    def emit(self, record): logging.getLogger(record.name).handle(record)
logger.remove()
if sys.argv[3] == "file":
    logger.add(holdfast.logs.FileHandler(sys.argv[2]), format="{level} {message}")
else:
    logger.add(ToLogging(), format="{level} {message}")
def work(): logger.info("child {}", 1)
if __name__ == "__main__":
    if sys.argv[3] == "setup":
        holdfast.logs.setup(level="INFO", handlers=[logging.FileHandler(sys.argv[2])])
    logger.info("parent")
    process = holdfast.get_context(sys.argv[1]).Process(target=work)
    process.start()
    process.join()
"""


@across
@pytest.mark.parametrize(
    ("source", "kind", "lines"),
    [
        (DICT_CONFIG, "setup", ["INFO parent", "INFO child 1"]),
        (STRUCTLOG, "setup", ["event='parent' level='info' number=0", "event='child' level='info' number=1"]),
        (LOGURU, "setup", ["INFO parent", "INFO child 1"]),
        (LOGURU, "file", ["INFO parent", "INFO child 1"]),
    ],
    ids=["dictConfig", "structlog", "loguru", "loguru alone"],
)
def test_log_of_other_libraries_lines_of_all_processes_are_there(
    source: str, kind: str, lines: list[str], method: str, tmp_path: Path
) -> None:
    """dictConfig names the handler as any other; structlog and loguru belong to the tests' extra."""
    script, log = tmp_path / "script.py", tmp_path / "app.log"
    script.write_text(source)
    code, out, err = run_script([sys.executable, str(script), method, str(log), kind])
    assert (code, out, err) == (0, "", "")
    assert log.read_text().splitlines() == lines


def storm(*words: str) -> dict[str, object]:
    """Run a short storm; return what it found."""
    code, out, err = run_script([sys.executable, str(CI / "log_storm.py"), "--json", *words])
    assert out, err
    found: dict[str, object] = json.loads(out)
    assert code == 0, found["wrong"]
    return found


@pytest.mark.parametrize("kind", ["setup", "file"])
def test_log_storm_processes_killed_while_they_log_no_line_is_lost(kind: str) -> None:
    """The long one is ``ci/log_storm.py``."""
    found = storm("--kind", kind, "--lines", "3000", "--kills", "20", "--limit", "50000")
    assert found["kills"] == 20


def test_log_storm_programs_that_do_not_know_each_other_no_line_is_lost() -> None:
    """Eight programs on one rotating file."""
    found = storm("--kind", "programs", "--processes", "8", "--lines", "500", "--kills", "8", "--limit", "30000")
    assert found["kills"] == 8


BROKEN = """
import logging, sys
sys.path.insert(0, sys.argv[1])
import log_storm
class Loses(logging.FileHandler):
    def emit(self, record):
        if hash(record.msg) % 50:
            super().emit(record)
log_storm.own_handler = lambda folder, limit: Loses(folder / "storm.log")
sys.exit(log_storm.main(["--kind", "file", "--lines", "500", "--kills", "0", "--limit", "10000000"]))
"""


def test_log_storm_handler_that_loses_lines_is_found_out() -> None:
    """A control: the storm's check can fail."""
    code, out, _err = run_code(BROKEN, str(CI))
    assert code == 1
    assert "comes after" in out
