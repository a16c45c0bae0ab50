"""No Ctrl-C is lost, whatever it hits: a finalizer, an exit function, a pool that is just about to end its workers."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from holdfast.crew.interrupts import HeldBack, rescue

WATCHDOG = 30.0


class Interrupted:
    """Its finalizer is hit by a Ctrl-C."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass


class Plain:
    pass


class Raising:
    def __init__(self, error):
        self.error = error

    def __del__(self):
        raise self.error


@pytest.fixture
def told(monkeypatch):
    """What the hook that was there before is told."""
    found = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: found.append(args.exc_type))
    monkeypatch.setattr("holdfast.crew.interrupts._hook", None)
    rescue()
    return found


def drop(made):
    """Drop the only reference to an object."""
    del made
    for _ in range(1000):
        pass


def test_interrupt_within_a_finalizer_is_raised_in_what_runs_below_it(told):
    with pytest.raises(KeyboardInterrupt):
        drop(Interrupted())
    assert told == []


def test_interrupt_within_the_callback_of_a_weak_reference_is_raised_below(told):
    def callback(_):
        drop(Interrupted())

    made = [Plain()]
    reference = weakref.ref(made[0], callback)
    with pytest.raises(KeyboardInterrupt):
        drop(made.pop())
    assert reference() is None
    assert told == []


def test_finalizer_within_a_finalizer_does_not_keep_an_interrupt(told):
    class Outer:
        def __init__(self):
            self.inner = Interrupted()

        def __del__(self):
            self.inner = None
            for _ in range(1000):
                pass

    with pytest.raises(KeyboardInterrupt):
        drop(Outer())
    assert told == []


def test_everything_else_goes_to_the_hook_before(told):
    drop(Raising(ValueError()))
    drop(Raising(SystemExit()))
    assert told == [ValueError, SystemExit]


def test_interrupt_raised_in_another_thread_does_not_reach_the_main_thread(told):
    thread = threading.Thread(target=lambda: drop(Raising(KeyboardInterrupt())))
    thread.start()
    thread.join()
    assert told == [KeyboardInterrupt]


def test_interrupt_within_a_finalizer_waits_for_the_end_of_a_block_that_holds_it_back(told):
    passed = []

    def hold_back():
        with HeldBack():
            drop(Interrupted())
            passed.append(1)

    with pytest.raises(KeyboardInterrupt):
        hold_back()
    assert passed == [1]
    assert told == []


def test_hook_is_put_in_place_again_where_somebody_has_set_another(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", print)
    rescue()
    ours = sys.unraisablehook
    rescue()
    assert sys.unraisablehook is ours
    monkeypatch.setattr(sys, "unraisablehook", print)
    rescue()
    assert sys.unraisablehook is not ours
    assert sys.unraisablehook is not print


def test_exit_function_that_is_interrupted_keeps_no_other_from_running(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import atexit, os\n"
        "from holdfast.crew.interrupts import rescue\n"
        "rescue()\n"
        "atexit.register(print, 'the other')\n"
        "atexit.register(lambda: os.kill(os.getpid(), 2) or [0 for _ in range(1000)])\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, timeout=WATCHDOG)
    assert done.stdout == "the other\n"
    assert "KeyboardInterrupt" in done.stderr


ENDINGS = """
import multiprocessing, sys, time
import holdfast
from holdfast.crew.crew import Crew

def interrupted(*args):
    Crew.terminate = terminate
    raise KeyboardInterrupt

if __name__ == "__main__":
    pool = holdfast.get_context(sys.argv[1]).Pool(2)
    pool.map(abs, range(3))
    print([process.pid for process in multiprocessing.active_children()], flush=True)
    terminate, Crew.terminate = Crew.terminate, interrupted
    {end}
"""


@pytest.mark.parametrize("end", ["pool.terminate()", "with pool: pass", "del pool; time.sleep(9)"])
def test_pool_whose_end_is_interrupted_ends_with_the_program(end, start_method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(ENDINGS.format(end=end))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, program, start_method], capture_output=True, text=True, check=False, timeout=WATCHDOG
    )
    assert time.monotonic() - began < WATCHDOG / 2
    assert done.stderr.rstrip().endswith("KeyboardInterrupt"), done.stderr
    for pid in map(int, done.stdout.strip("[]\n").split(",")):
        assert not Path("/proc", str(pid)).exists()
