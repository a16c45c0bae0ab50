"""Errors and warnings: codes, bases, pickles, and the line a warning points to."""

import concurrent.futures
import copy
import errno
import multiprocessing
import pickle
import queue
import re
import subprocess
import sys
import threading
import warnings

import pytest

from holdfast import errors

BASES = {
    "OwnerDied": ("HF101", RuntimeError),
    "OwnerDiedWarning": ("HF101", RuntimeWarning),
    "ForeignRelease": ("HF102", RuntimeError),
    "ForeignReleaseWarning": ("HF102", RuntimeWarning),
    "NotHeld": ("HF103", ValueError),
    "HandleGone": ("HF104", RuntimeError),
    "ClosedError": ("HF105", ValueError),
    "BadTimeout": ("HF106", ValueError),
    "NotOwner": ("HF107", AssertionError),
    "ForkedReleaseWarning": ("HF108", RuntimeWarning),
    "BarrierBroken": ("HF109", threading.BrokenBarrierError),
    "LostUpdate": ("HF110", RuntimeError),
    "NameClash": ("HF111", ValueError),
    "BadArgument": ("HF112", ValueError),
    "ShutDown": ("HF201", getattr(queue, "ShutDown", Exception)),
    "QueueClosed": ("HF202", ValueError),
    "ItemsBroken": ("HF203", RuntimeError),
    "TasksLost": ("HF204", RuntimeError),
    "WorkerDied": ("HF301", concurrent.futures.BrokenExecutor),
    "ResultTimeout": ("HF302", multiprocessing.TimeoutError),
    "ResultLost": ("HF303", RuntimeError),
    "TasksDropped": ("HF304", RuntimeError),
    "TasksDroppedWarning": ("HF304", RuntimeWarning),
    "TaskTimeout": ("HF305", TimeoutError),
    "RemoteError": ("HF306", RuntimeError),
    "InitializerFailed": ("HF307", concurrent.futures.BrokenExecutor),
    "UnknownArena": ("HF401", RuntimeError),
    "ArenaFull": ("HF501", OSError),
    "ArenaDirectory": ("HF502", PermissionError),
    "LayoutMismatch": ("HF503", RuntimeError),
    "ArenaCorrupt": ("HF504", RuntimeError),
    "TooManyProcesses": ("HF505", OSError),
    "ForkWithThreadsWarning": ("HF506", RuntimeWarning),
    "UnsupportedPlatform": ("HF507", ImportError),
    "BadCommand": ("HF508", ValueError),
    "MainGuardMissing": ("HF509", RuntimeError),
    "LinesLostWarning": ("HF801", RuntimeWarning),
    "RotationFailedWarning": ("HF802", RuntimeWarning),
    "LogHomeGoneWarning": ("HF803", RuntimeWarning),
    "RecordsDroppedWarning": ("HF804", RuntimeWarning),
    "ManagerGone": ("HF805", EOFError),
    "KeyRefused": ("HF806", multiprocessing.AuthenticationError),
}


@pytest.fixture(params=BASES, ids=str)
def cls(request):
    return getattr(errors, request.param)


def test_classes_each_code_and_standard_base(cls):
    code, base = BASES[cls.__name__]
    assert cls.code == code
    assert issubclass(cls, base)
    assert issubclass(cls, errors.HoldfastWarning if issubclass(cls, Warning) else errors.HoldfastError)
    assert (cls.__module__, cls.__qualname__) == ("holdfast.errors", cls.__name__)


def test_classes_all_in_this_table_and_public():
    kinds = (errors.HoldfastError, errors.HoldfastWarning)
    found = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)} - {k.__name__ for k in kinds}
    assert found == set(BASES)
    assert set(errors.__all__) <= set(dir(errors))


def test_message_any_class_begins_with_code_once(cls):
    error = cls("it happened")
    assert str(error) == f"[{cls.code}] it happened"
    assert str(cls(str(error))) == str(error)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_any_class_and_protocol_keeps_all(cls, protocol):
    error = cls("it happened", pid=7, where="a.py:3")
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is cls
    assert (str(again), again.args) == (str(error), error.args)
    assert (again.pid, again.where) == (7, "a.py:3")
    assert str(copy.copy(error)) == str(error)


@pytest.mark.parametrize(
    ("name", "number"),
    [("ArenaFull", errno.ENOSPC), ("ArenaDirectory", errno.EACCES), ("TooManyProcesses", errno.EAGAIN)],
)
def test_system_errors_made_or_unpickled_know_errno(name, number):
    error = getattr(errors, name)("no room")
    assert error.errno == pickle.loads(pickle.dumps(error)).errno == number
    assert "no room" in error.strerror


def test_result_timeout_caught_as_either_timeout_error():
    assert issubclass(errors.ResultTimeout, TimeoutError)
    assert issubclass(errors.ResultTimeout, multiprocessing.TimeoutError)


def test_codes_every_code_prefers_the_error():
    assert set(errors.CODES) == {code for code, _ in BASES.values()}
    assert list(errors.CODES) == sorted(errors.CODES)
    assert errors.CODES["HF101"] is errors.OwnerDied
    assert errors.CODES["HF108"] is errors.ForkedReleaseWarning
    assert all(re.fullmatch(r"HF[1-8]\d\d", code) for code in errors.CODES)


def test_make_known_code_builds_with_fields():
    error = errors.make("HF301", "worker 3 was killed", pid=3, exitcode=-9, signal="SIGKILL")
    assert type(error) is errors.WorkerDied
    assert (error.pid, error.exitcode, error.signal) == (3, -9, "SIGKILL")
    assert errors.make("HF301", "no more is known").pid is None


def test_make_unknown_code_key_error():
    with pytest.raises(KeyError):
        errors.make("HF999", "no such thing")


def test_import_errors_alone_loads_nothing_slow():
    program = "import sys, holdfast.errors as e; e.make('HF103', ''); print('concurrent.futures' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_attribute_unknown_name_attribute_error():
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = errors.Nonsense


def as_library(source, **names):
    """Run a function `call` whose frame looks like one of holdfast's own modules."""
    scope = {"__name__": "holdfast.fake", "errors": errors, **names}
    exec(compile(source, "<holdfast/fake.py>", "exec"), scope)
    return scope["call"]


def test_warn_from_inside_library_points_to_user_line():
    call = as_library("def call():\n    inner()\ndef inner():\n    errors.warn('HF101', 'died', pid=5, lock='a')\n")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call()
        line = sys._getframe().f_lineno - 1
    (found,) = told
    assert (found.filename, found.lineno) == (__file__, line)
    assert found.category is errors.OwnerDiedWarning
    assert (found.message.pid, found.message.lock) == (5, "a")


def test_warn_through_standard_library_still_points_to_user_line():
    call = as_library("def call(target):\n    errors.warn('HF506', 'threads')\n")
    between = as_library("def call(inner):\n    inner(None)\n", __name__="multiprocessing.process")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        between(call)
    assert told[0].filename == __file__


def test_warn_without_user_frame_still_told():
    lines = []

    def note(message, *_where):
        lines.append(str(message))

    call = as_library("def call():\n    errors.warn('HF108', 'forked')\n")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert lines == ["[HF108] forked"]


def test_warn_filter_error_raises_warning_itself():
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.HoldfastWarning)
        with pytest.raises(errors.OwnerDiedWarning) as caught:
            errors.warn("HF101", "died", pid=9)
    assert caught.value.pid == 9


def test_warn_code_without_warning_key_error():
    with pytest.raises(KeyError):
        errors.warn("HF103", "is only an error")


@pytest.mark.parametrize("code", list(errors.CODES))
def test_explain_every_code_says_what_to_do(code):
    page = errors.explain(code.lower())
    assert page.startswith(f"# {code}: ")
    assert "**What happened.**" in page
    assert "**What to do.**" in page


def test_explain_unknown_code_names_known_ones():
    with pytest.raises(errors.BadArgument, match=r"HF9.*HF101"):
        errors.explain("HF9")
