"""setup: records of all processes at the handlers of one."""

import concurrent.futures
import logging
import os
import signal
import sys
import threading

import pytest

import holdfast
import holdfast.logs
from holdfast import _logends, errors

WATCHDOG = 30.0


class Collector(logging.Handler):
    """Keeps what it gets."""

    def __init__(self):
        super().__init__()
        self.records, self.lines = [], ""

    def emit(self, record):
        self.lines += self.format(record) + "\n"
        self.records.append(record)

    def texts(self):
        return [record.getMessage() for record in self.records]


@pytest.fixture
def logged():
    """A collector at the root logger, in an otherwise untouched logging."""
    root = logging.root
    before, level = root.handlers[:], root.level
    collector = Collector()
    root.handlers[:] = [collector]
    root.setLevel(logging.INFO)
    yield collector
    log = holdfast.logs._state.log
    if log is not None:
        log.close()
    root.handlers[:], root.level = before, level
    root.manager._clear_cache()


def run(context, target, *args):
    """Run a function in a process; return its pid."""
    process = context.Process(target=target, args=args)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.pid


def say_all():
    logger = logging.getLogger("holdfast-test.child")
    logger.debug("not of the parent's level")
    logger.info("%s and %d", "text", 7, extra={"colour": "green", "odd": threading.Lock()})
    logger.warning("%s", {"lock": threading.Lock()})
    logger.warning("%(name)s", {"name": "mapped"})
    logger.warning(ValueError("an object"))
    try:
        {}["lost"]
    except KeyError:
        logger.exception("it failed", stack_info=True)


def test_setup_records_of_a_child_arrive_whole(context, logged):
    log = holdfast.logs.setup()
    pid = run(context, say_all)
    assert log.flush(WATCHDOG)
    assert logged.texts()[0] == "text and 7"
    assert "lock" in logged.texts()[1]
    assert logged.texts()[2:] == ["mapped", "an object", "it failed"]
    first, last = logged.records[0], logged.records[-1]
    assert (first.name, first.levelname, first.process) == ("holdfast-test.child", "INFO", pid)
    assert first.processName.startswith(type(context.Process()).__name__.removesuffix("Process"))
    assert first.colour == "green"
    assert "lock" in first.odd
    assert first.filename == "test_logs_setup.py"
    assert "KeyError: 'lost'" in last.exc_text
    assert "say_all" in last.stack_info


def count_to(number):
    for each in range(number):
        logging.info("%d", each)


def test_setup_records_of_a_process_arrive_in_order(context, logged):
    log = holdfast.logs.setup()
    processes = [context.Process(target=count_to, args=(500,)) for _ in range(3)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    log.close()
    for each in processes:
        assert [r.getMessage() for r in logged.records if r.process == each.pid] == [str(n) for n in range(500)]


def say_and_die():
    logging.info("last words")
    os.kill(os.getpid(), signal.SIGKILL)


def test_setup_child_killed_when_the_call_has_returned_record_arrives(context, logged):
    log = holdfast.logs.setup()
    for _ in range(5):
        run(context, say_and_die)
    log.close()
    assert logged.texts() == ["last words"] * 5


def test_setup_loggers_of_the_parent_get_what_belongs_to_them(context, logged):
    own, noisy = logging.getLogger("holdfast-test"), logging.getLogger("holdfast-test.child")
    collector = Collector()
    own.addHandler(collector)
    own.propagate = False
    noisy.setLevel(logging.ERROR)
    try:
        log = holdfast.logs.setup()
        run(context, say_all)
        log.close()
    finally:
        own.removeHandler(collector)
        own.propagate = True
        noisy.setLevel(logging.NOTSET)
    assert collector.texts() == ["it failed"]
    assert logged.texts() == []


def start_another(method):
    run(holdfast.get_context(method), logging.info, "from a grandchild")


def test_setup_grandchildren_pools_and_executors_are_in_it(context, start_method, logged):
    log = holdfast.logs.setup()
    run(context, start_another, start_method)
    with context.Pool(1) as pool:
        pool.apply(logging.info, ("from a pool",))
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        executor.submit(logging.info, "from an executor").result()
    log.close()
    assert logged.texts() == ["from a grandchild", "from a pool", "from an executor"]


def test_setup_process_forked_by_hand_is_in_it(logged):
    log = holdfast.logs.setup()
    pid = os.fork()
    if pid == 0:
        logging.info("by hand")
        os._exit(0)
    os.waitpid(pid, 0)
    log.close()
    assert logged.texts() == ["by hand"]


class Broken(logging.Handler):
    """Raises at every record."""

    def emit(self, record):
        raise RuntimeError(record.getMessage())


def test_setup_handler_that_raises_keeps_no_record_from_others(context, logged, capsys):
    logging.root.handlers.insert(0, Broken())
    log = holdfast.logs.setup()
    run(context, count_to, 3)
    log.close()
    assert logged.texts() == ["0", "1", "2"]
    assert capsys.readouterr().err.count("RuntimeError: ") == 3


class Gate(Collector):
    """Handles nothing until it is opened."""

    def __init__(self):
        super().__init__()
        self.reached, self.opened = threading.Event(), threading.Event()

    def emit(self, record):
        self.reached.set()
        assert self.opened.wait(WATCHDOG)
        super().emit(record)


def count_and_tell(number, done):
    count_to(number)
    done.set()


def fill(context, gate, number):
    """Start a child that logs; the first record is being handled, and the queue is filled by the rest."""
    logging.root.handlers[:] = [gate]
    done = context.Event()
    process = context.Process(target=count_and_tell, args=(number, done))
    process.start()
    assert gate.reached.wait(WATCHDOG)
    return process, done


@pytest.mark.usefixtures("logged")
def test_setup_slow_handler_on_full_drop_drops_counts_and_says_so(context):
    gate = Gate()
    log = holdfast.logs.setup(maxsize=10, on_full="drop")
    process, done = fill(context, gate, 600)
    assert done.wait(WATCHDOG)
    gate.opened.set()
    process.join()
    dropped = log.dropped
    log.close()
    assert dropped >= 600 - 10 - 256 - 1
    numbers = [text for text in gate.texts() if text.isdigit()]
    assert len(numbers) == 600 - dropped
    said = [record for record in gate.records if not record.getMessage().isdigit()]
    assert sum(int(record.getMessage().split()[1]) for record in said) == dropped
    assert all(record.name == "holdfast.logs" and "[HF804]" in record.getMessage() for record in said)


@pytest.mark.usefixtures("logged")
def test_setup_slow_handler_on_full_block_slows_and_loses_nothing(context):
    gate = Gate()
    log = holdfast.logs.setup(maxsize=10)
    process, done = fill(context, gate, 600)
    assert not done.is_set()
    gate.opened.set()
    process.join()
    log.close()
    assert gate.texts() == [str(number) for number in range(600)]
    assert log.dropped == 0


def test_setup_in_a_child_joins_and_handlers_set_up_at_import_are_left_out(context, logged):
    log = holdfast.logs.setup()
    run(context, set_up_again)
    log.close()
    assert logged.texts() == ["False 1"]


def set_up_again():
    logging.root.addHandler(logging.NullHandler())
    log = holdfast.logs.setup()
    logging.info("%s %d", log.is_home, len(logging.root.handlers))


def test_setup_formatters_format_as_they_do_and_are_left_as_they_were(logged):
    plain, dated = logging.Formatter("%(asctime)s %(message)s"), logging.Formatter("%(asctime)s", "%H:%M:%S")
    collectors = [Collector(), Collector()]
    for collector, layout in zip(collectors, (plain, dated), strict=True):
        collector.setFormatter(layout)
        logging.root.addHandler(collector)
    log = holdfast.logs.setup()
    run(holdfast.get_context("fork"), count_to, 3)
    log.close()
    for collector, layout in zip(collectors, (plain, dated), strict=True):
        assert "formatTime" not in vars(layout)
        assert len(collector.records) == 3
        for record in collector.records:
            assert layout.formatTime(record, layout.datefmt) in collector.lines
    assert logged.texts() == ["0", "1", "2"]


def test_setup_twice_is_one_log_with_more_handlers(logged):
    more = Collector()
    log = holdfast.logs.setup()
    assert holdfast.logs.setup(handlers=[more]) is log
    logging.info("own record")
    assert logged.texts() == more.texts() == ["own record"]
    assert log.is_home
    assert "at home here" in repr(log)


@pytest.mark.usefixtures("logged")
def test_setup_without_any_handler_prints_with_process_and_pid(capsys):
    logging.root.handlers[:] = []
    holdfast.logs.setup()
    logging.info("hello")
    line = capsys.readouterr().err
    assert f"INFO MainProcess[{os.getpid()}] root: hello" in line


def test_setup_forks_without_a_thread_beside(logged, recwarn):
    log = holdfast.logs.setup()
    run(holdfast.get_context("fork"), logging.info, "quiet")
    log.close()
    assert logged.texts() == ["quiet"]
    assert [str(each.message) for each in recwarn if "fork" in str(each.message)] == []


@pytest.mark.filterwarnings("ignore::holdfast.errors.ForkWithThreadsWarning")
def test_setup_fork_within_a_handler_goes_on(logged):
    class Forks(logging.Handler):
        def emit(self, record):
            if "fork" in record.getMessage():
                run(holdfast.get_context("fork"), logging.info, "from its child")

    logging.root.addHandler(Forks())
    log = holdfast.logs.setup()
    run(holdfast.get_context("fork"), logging.info, "please fork")
    assert log.flush(WATCHDOG)
    log.close()
    assert logged.texts() == ["please fork", "from its child"]


def test_flush_asked_for_by_a_handler_does_not_wait_for_itself(logged):
    class Flushes(logging.Handler):
        def emit(self, record):
            record.flushed = log.flush()

    logging.root.handlers.insert(0, Flushes())
    log = holdfast.logs.setup()
    run(holdfast.get_context("fork"), logging.info, "flush")
    log.close()
    assert [record.flushed for record in logged.records] == [False]


@pytest.mark.usefixtures("logged")
def test_flush_home_gone_returns_false():
    log = holdfast.logs.setup()
    channel = log.end.channel
    log.close()
    assert channel.flush(WATCHDOG) is False


@pytest.mark.parametrize("options", [{"on_full": "explode"}, {"maxsize": 0}])
def test_setup_bad_options_are_refused(options):
    with pytest.raises(errors.BadArgument):
        holdfast.logs.setup(**options)


@pytest.mark.usefixtures("logged")
def test_levels_travel_with_disabled_loggers_and_captured_warnings():
    logger = logging.getLogger("holdfast-test.levels")
    logger.setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    try:
        found = _logends.levels()
    finally:
        logging.captureWarnings(False)
        logger.setLevel(logging.NOTSET)
    _logends.set_levels(found)
    try:
        assert logger.level == logging.CRITICAL
        assert logging._warnings_showwarning is not None
    finally:
        logging.captureWarnings(False)
        logger.setLevel(logging.NOTSET)


def test_import_of_holdfast_does_not_import_logging():
    program = "import sys, holdfast, holdfast.context, holdfast.queues; sys.exit('holdfast.logs' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", program]) == 0
