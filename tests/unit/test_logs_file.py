"""FileHandler: lines, rotation by size and time, other people's rotation, trouble, threads and forks."""

import errno
import logging
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

import holdfast
import holdfast.logs
from holdfast import _logfile, errors

WATCHDOG = 30.0


@pytest.fixture
def path(tmp_path):
    """Return where the log is to be."""
    return tmp_path / "app.log"


@pytest.fixture
def logging_to():
    """Return what makes a logger of a handler; all are closed in the end."""
    handlers = []

    def make(handler):
        logger = logging.Logger(f"test-{len(handlers)}", logging.DEBUG)
        logger.addHandler(handler)
        handlers.append(handler)
        return logger

    yield make
    for handler in handlers:
        handler.close()


def old_files(path):
    """Contents of the old files, the youngest first."""
    found = sorted(path.parent.glob(path.name + ".*"), key=lambda each: each.name)
    return [each.read_text() for each in found]


def test_file_handler_records_are_lines_of_the_file(path, logging_to):
    logger = logging_to(holdfast.logs.FileHandler(path))
    logger.info("one %s", 1)
    logger.info("zwei ü")
    assert path.read_text(encoding="utf-8") == "one 1\nzwei ü\n"


@pytest.mark.parametrize("options", [{}, {"datefmt": "%H:%M"}, {"datefmt": "%H:%M:%S", "style": "{"}])
@pytest.mark.parametrize("converter", [time.localtime, time.gmtime])
@pytest.mark.parametrize("milliseconds", ["%s,%03d", None])
def test_file_handler_format_is_that_of_the_formatter(path, options, converter, milliseconds):
    handler = holdfast.logs.FileHandler(path)
    text = "{asctime} {message}" if options.get("style") else "%(asctime)s %(message)s"
    layout = logging.Formatter(text, **options)
    layout.converter, layout.default_msec_format = converter, milliseconds
    handler.setFormatter(layout)
    for created in (1e9, 1e9 + 0.25, 1e9 + 1.999, 1e9 + 61, 1e9):
        for error in (None, (ValueError, ValueError("bad"), None)):
            record = logging.LogRecord("name", logging.INFO, "path", 1, "text %s", ("argument",), error)
            record.created, record.msecs = created, created % 1 * 1000
            assert handler.format(record) == layout.format(record)
    handler.close()


def test_file_handler_text_that_cannot_be_encoded_is_written_with_backslashes(path, logging_to):
    logger = logging_to(holdfast.logs.FileHandler(path, encoding="ascii"))
    logger.info("ü\ud800")
    assert path.read_text() == "\\xfc\\ud800\n"


def test_file_handler_argument_that_cannot_be_pickled_is_formatted(path, logging_to):
    logger = logging_to(holdfast.logs.FileHandler(path))
    logger.info("%s", {"lock": threading.Lock()})
    assert "unlocked _thread.lock" in path.read_text()


@pytest.mark.parametrize(
    "options", [{"max_bytes": -1}, {"max_bytes": 10, "backups": 0}, {"when": "yearly"}, {"backups": -2}]
)
def test_file_handler_bad_options_are_refused(path, options):
    with pytest.raises(errors.BadArgument):
        holdfast.logs.FileHandler(path, **options)


def test_file_handler_size_limit_files_never_exceed_it_and_nothing_is_lost(path, logging_to):
    logger = logging_to(holdfast.logs.FileHandler(path, max_bytes=100))
    for number in range(100):
        logger.info("line %d", number)
    files = [path, *(path.parent / f"app.log.{n}" for n in range(1, len(list(path.parent.iterdir()))))]
    assert all(each.stat().st_size <= 100 for each in files)
    text = "".join(each.read_text() for each in reversed(files))
    assert text.splitlines() == [f"line {number}" for number in range(100)]


def test_file_handler_line_longer_than_the_limit_gets_a_file_of_its_own(path, logging_to):
    logger = logging_to(holdfast.logs.FileHandler(path, max_bytes=10))
    for text in ("a", "b" * 50, "c"):
        logger.info(text)
    assert [path.read_text(), *old_files(path)] == ["c\n", "b" * 50 + "\n", "a\n"]


def test_file_handler_backups_keeps_that_many_and_drops_the_oldest(path, logging_to):
    logger = logging_to(holdfast.logs.FileHandler(path, max_bytes=4, backups=2))
    for text in ("aaa", "bbb", "ccc", "ddd"):
        logger.info(text)
    assert [path.read_text(), *old_files(path)] == ["ddd\n", "ccc\n", "bbb\n"]


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_file_handler_rotation_cut_off_half_way_loses_no_file(path, logging_to, gap):
    logger = logging_to(holdfast.logs.FileHandler(path, max_bytes=4, backups=4))
    numbers = [number for number in (1, 2, 3, 4) if number != gap]
    for number in numbers:
        Path(f"{path}.{number}").write_text(f"old {number}")
    logger.info("aaa")
    logger.info("bbb")
    assert path.read_text() == "bbb\n"
    assert sorted(old_files(path)) == ["aaa\n", *(f"old {number}" for number in numbers)]


def test_file_handler_killed_before_the_new_file_is_made_next_line_makes_it(path, logging_to):
    logger = logging_to(holdfast.logs.FileHandler(path, max_bytes=100))
    logger.info("old")
    path.rename(f"{path}.1")
    logger.info("new")
    assert [path.read_text(), *old_files(path)] == ["new\n", "old\n"]


def write_and_die_within(path, intended, written):
    """Leave what a process leaves that is killed within a write: the lock, the intent, a piece of the line."""
    handler = holdfast.logs.FileHandler(path)
    handler._shared.acquire()
    status = path.stat()
    handler._words[:3] = _as_words(status.st_size + 1, len(intended), status.st_ino)
    with path.open("ab") as file:
        file.write(intended[:written])
    os.kill(os.getpid(), signal.SIGKILL)


def _as_words(*numbers):
    return memoryview(b"".join(number.to_bytes(8, "little") for number in numbers)).cast("q")


@pytest.mark.parametrize(
    ("written", "left"), [(0, ""), (3, ""), (11, ""), (12, "two\nof two\n\n")], ids=["nothing", "some", "most", "all"]
)
def test_file_handler_writer_killed_within_a_line_the_piece_is_removed(path, logging_to, written, left):
    logger = logging_to(holdfast.logs.FileHandler(path))
    logger.info("one")
    process = holdfast.get_context("fork").Process(
        target=write_and_die_within, args=(path, b"two\nof two\n\n", written)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    logger.info("three")
    assert path.read_text() == f"one\n{left}three\n"


def test_file_handler_file_that_ends_within_a_line_that_line_is_ended_first(path, logging_to):
    path.write_text("whole\ncut o")
    logger = logging_to(holdfast.logs.FileHandler(path))
    logger.info("new")
    assert path.read_text() == "whole\ncut o\nnew\n"


def test_file_handler_folder_that_is_missing_raises_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        holdfast.logs.FileHandler(tmp_path / "missing" / "app.log")


@pytest.mark.parametrize("how", ["moved", "removed", "replaced", "truncated"])
def test_file_handler_foreign_rotation_is_noticed_at_the_next_line(path, logging_to, how):
    logger = logging_to(holdfast.logs.FileHandler(path))
    logger.info("old")
    if how == "moved":
        path.rename(f"{path}.moved")
    elif how == "removed":
        path.unlink()
    elif how == "replaced":
        Path(f"{path}.new").touch()
        Path(f"{path}.new").replace(path)
    else:
        os.truncate(path, 0)
    logger.info("new")
    assert path.read_text() == "new\n"
    if how == "moved":
        assert Path(f"{path}.moved").read_text() == "old\n"


class Clock:
    """A time module whose time is set by the test."""

    def __init__(self, path):
        self.path, self.now = path, 0.0
        self.gmtime, self.localtime, self.strftime = time.gmtime, time.localtime, time.strftime

    def time(self):
        return self.now

    def set(self, text):
        """Go to a time in UTC; what is in the file was written when the clock was last set."""
        if self.path.exists():
            os.utime(self.path, (self.now, self.now))
        self.now = time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S")) - time.timezone


@pytest.fixture
def clock(monkeypatch, path):
    """Return the clock that FileHandler looks at."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    clock = Clock(path)
    monkeypatch.setattr(_logfile, "time", clock)
    yield clock
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("when", "same", "later", "suffix"),
    [
        ("S", "2026-03-01 10:20:30", "2026-03-01 10:20:31", "2026-03-01_10-20-30"),
        ("M", "2026-03-01 10:20:59", "2026-03-01 10:21:00", "2026-03-01_10-20"),
        ("h", "2026-03-01 10:59:59", "2026-03-01 11:00:00", "2026-03-01_10"),
        ("D", "2026-03-01 23:59:59", "2026-03-02 00:00:00", "2026-03-01"),
        ("midnight", "2026-03-01 23:59:59", "2026-04-02 00:00:00", "2026-03-01"),
        ("W0", "2026-03-01 23:59:59", "2026-03-02 00:00:00", "2026-02-23"),
        ("W6", "2026-03-07 23:59:59", "2026-03-08 00:00:00", "2026-03-01"),
    ],
)
def test_file_handler_period_is_over_old_file_is_named_after_it(path, logging_to, clock, when, same, later, suffix):
    logger = logging_to(holdfast.logs.FileHandler(path, when=when, utc=True))
    for text, moment in (("one", "2026-03-01 10:20:30"), ("two", same), ("three", later)):
        clock.set(moment)
        logger.info(text)
    assert path.read_text() == "three\n"
    assert Path(f"{path}.{suffix}").read_text() == "one\ntwo\n"


def test_file_handler_size_and_period_files_of_one_period_are_numbered_and_the_oldest_go(path, logging_to, clock):
    logger = logging_to(holdfast.logs.FileHandler(path, max_bytes=4, when="D", backups=3))
    for day, text in ((1, "aaa"), (1, "bbb"), (1, "ccc"), (2, "ddd"), (2, "eee")):
        clock.set(f"2026-03-0{day} 12:00:00")
        logger.info(text)
    names = sorted(each.name for each in path.parent.iterdir())
    assert names == ["app.log", "app.log.2026-03-01.1", "app.log.2026-03-01.2", "app.log.2026-03-02"]
    assert [path.read_text(), *old_files(path)] == ["eee\n", "bbb\n", "ccc\n", "ddd\n"]


def test_file_handler_that_cannot_rotate_says_so_once_and_grows_on(path, logging_to, capsys, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "not allowed")

    logger = logging_to(holdfast.logs.FileHandler(path, max_bytes=4))
    monkeypatch.setattr(_logfile.os, "rename", refuse)
    for text in ("aaa", "bbb", "ccc"):
        logger.info(text)
    assert path.read_text() == "aaa\nbbb\nccc\n"
    assert capsys.readouterr().err.count("[HF802]") == 1


def with_file_size_limit(path, report, rotating):
    """Log up to the system's limit of a file's size, beyond it, and again when there is room."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sys.stderr = report.open("w")
    logger = logging.Logger("limited")
    logger.addHandler(holdfast.logs.FileHandler(path, max_bytes=10_000 if rotating else 0))
    _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    logger.info("fits")
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    for _ in range(3):
        logger.info("does not fit")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    logger.info("fits again, as a whole")
    sys.stderr.close()


@pytest.mark.parametrize("rotating", [False, True])
def test_file_handler_full_disk_is_said_once_and_later_lines_arrive(path, tmp_path, rotating):
    report = tmp_path / "stderr"
    process = holdfast.get_context("fork").Process(target=with_file_size_limit, args=(path, report, rotating))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert path.read_text() == "fits\nfits again, as a whole\n"
    said = report.read_text().splitlines()
    assert len(said) == 2
    assert said[0].startswith(f"holdfast: [HF801] {path} cannot be written")
    assert "3 lines" in said[1]


def test_file_handler_device_without_room_says_so_and_raises_nothing(logging_to, capsys):
    logger = logging_to(holdfast.logs.FileHandler("/dev/full"))
    logger.info("one")
    logger.info("two")
    assert capsys.readouterr().err.count("[HF801]") == 1


def test_file_handler_closed_next_line_opens_it_again(path, logging_to):
    handler = holdfast.logs.FileHandler(path)
    logger = logging_to(handler)
    logger.info("one")
    handler.close()
    logger.info("two")
    assert path.read_text() == "one\ntwo\n"


def test_file_handler_signal_handler_logs_within_a_line_both_arrive(path, logging_to, monkeypatch):
    handler = holdfast.logs.FileHandler(path)
    logger = logging_to(handler)
    plain = handler._append_at_once

    def interrupted(data):
        monkeypatch.setattr(handler, "_append_at_once", plain)
        logger.info("from the signal handler")
        return plain(data)

    monkeypatch.setattr(handler, "_append_at_once", interrupted)
    logger.info("interrupted")
    assert path.read_text() == "from the signal handler\ninterrupted\n"


def log_one(logger):
    """Log from a forked child."""
    logger.info("from the child")


@pytest.mark.filterwarnings("ignore::holdfast.errors.ForkWithThreadsWarning")
def test_file_handler_forked_while_a_thread_logs_child_logs_as_well(path, logging_to):
    logger = logging_to(holdfast.logs.FileHandler(path, max_bytes=2_000))
    stop = threading.Event()
    count = 0

    def keep_logging():
        nonlocal count
        while not stop.is_set():
            logger.info("from the thread")
            count += 1

    thread = threading.Thread(target=keep_logging)
    thread.start()
    context = holdfast.get_context("fork")
    for _ in range(20):
        process = context.Process(target=log_one, args=(logger,))
        process.start()
        process.join()
        assert process.exitcode == 0
    stop.set()
    thread.join()
    lines = "".join([path.read_text(), *old_files(path)]).splitlines()
    assert sorted(set(lines)) == ["from the child", "from the thread"]
    assert lines.count("from the child") == 20
    assert lines.count("from the thread") == count


@pytest.mark.parametrize("step", ["open", "fstat", "close"])
def test_file_handler_forked_while_another_thread_opens_the_file_child_logs_as_well(
    path, logging_to, monkeypatch, step
):
    """The moment of the fork is ordered: the thread that opens the file forks in the middle of that."""
    handler = holdfast.logs.FileHandler(path)
    logger = logging_to(handler)
    original = getattr(os, step)
    forked = []

    def fork_first(*arguments):
        done = original(*arguments)
        if not forked:
            forked.append(None)  # the child's own hooks come here, too: they do not fork again
            forked[0] = os.fork()
            if forked == [0]:
                handler._shared = type(handler._shared)()  # the thread that holds the parent's is not in the child
                logger.info("from the child")
                os._exit(0)
        return done

    monkeypatch.setattr(os, step, fork_first)
    path.unlink()
    logger.info("from the parent")
    monkeypatch.undo()
    assert os.waitpid(forked[0], 0)[1] == 0
    assert sorted(path.read_text().splitlines()) == ["from the child", "from the parent"]
