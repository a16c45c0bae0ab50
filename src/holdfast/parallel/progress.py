"""How far a call of `holdfast.map` has come, for a bar or for whoever wants to be called.

The count is of tasks that have finished, whether or not anybody has used their results. A thread of its own shows it,
so that neither the workers nor the results ever wait for a terminal, or for the user's callback.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress

from holdfast._records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast.parallel.stream import MapJob

__all__ = ["Meter", "Progress"]

_INTERVAL = 0.1  # seconds between two looks, at least
_LINES = 10.0  # seconds between two lines where there is no terminal
_WIDTH = 30  # characters of the plain bar
_LATELY = 5.0  # seconds that count for the rate


class Progress(NamedTuple):
    """How far it is.

    Attributes:
        done: tasks that have finished or failed.
        failed: of those, the ones that failed.
        total: how many there are; None if that is not known yet.
        rate: tasks a second, lately.
        remaining: seconds until all are done, at that rate; None if that cannot be told.
        elapsed: seconds since the call.
    """

    done: int
    failed: int
    total: int | None
    rate: float
    remaining: float | None
    elapsed: float


class Meter:
    """Looks at a job and shows how far it is.

    Args:
        job: the job.
        show: called with a `Progress`, and whether that is the last one.
    """

    def __init__(self, job: MapJob, show: Callable[[Progress, bool], object]) -> None:
        self._job, self._show = job, show
        self._began = time.monotonic()
        self._marks = [(self._began, 0)]  # when so many were done
        self._over = threading.Event()
        self._closing = threading.Lock()
        self._closed = False
        self.ended = False  # the last state was shown
        self._thread = threading.Thread(target=self._watch, name="holdfast-map-progress", daemon=True)
        self._thread.start()

    def close(self, *, wait: bool = True) -> None:
        """Have the last state shown, and wait until it is."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._over.set()
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    def now(self) -> Progress:
        """How far it is."""
        job, now = self._job, time.monotonic()
        with job.condition:
            done, failed, total = job.done, job.failed, job.expected if job.total is None else job.total
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] > _LATELY:  # noqa: PLR2004 - two make a rate
            del self._marks[0]
        then, before = self._marks[0]
        rate = (done - before) / max(now - then, 1e-9)
        remaining = None if total is None or not rate else (total - done) / rate
        return Progress(done, failed, total, rate, remaining, now - self._began)

    def _watch(self) -> None:
        shown = None
        try:
            while not self._over.wait(_INTERVAL):
                progress = self.now()
                if progress[:3] != shown:
                    shown = progress[:3]
                    self._show(progress, False)
            self._show(self.now(), True)
        except BaseException:  # noqa: BLE001 - the user's callback: it is shown once, and not called again
            sys.excepthook(*sys.exc_info())
        finally:
            self.ended = True
            self._job.stir()


def shower(progress: Any, name: str) -> Callable[[Progress, bool], object]:  # noqa: ANN401 - True or what can be called
    """What shows the progress.

    Args:
        progress: True for a bar, or a callback.
        name: of the function.
    """
    if progress is not True:
        return lambda now, last: progress(now)  # noqa: ARG005 - the user's callback sees it from the counts
    return _Bar(name)


class _Bar:
    """A bar on stderr, by whatever is there to draw it; made when it is first shown."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Callable[[Progress, bool], object] | None = None

    def __call__(self, now: Progress, last: bool) -> None:
        if self._bar is None:
            self._bar = _best(self._name)
        self._bar(now, last)


def _best(name: str) -> Callable[[Progress, bool], object]:
    notebook = "ipykernel" in sys.modules
    if notebook or _is_terminal():
        for kind in (_Tqdm, _Rich):
            with suppress(Exception):  # it is not installed, or draws another bar already
                return kind(name)
        if not notebook:
            return _Plain(name)
    return _Lines(name)


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


class _Tqdm:
    def __init__(self, name: str) -> None:
        from importlib import import_module  # noqa: PLC0415 - optional, as what it imports

        kind = import_module("tqdm.auto" if "ipykernel" in sys.modules else "tqdm").tqdm
        self._bar = kind(desc=name, total=None, file=None, dynamic_ncols=True)

    def __call__(self, now: Progress, last: bool) -> None:
        bar = self._bar
        bar.start_t = time.time() - now.elapsed  # not the moment when it was first drawn
        bar.total = now.total
        if now.failed:
            bar.set_postfix(failed=now.failed, refresh=False)
        bar.n = now.done
        bar.refresh()
        if last:
            bar.close()


class _Rich:
    def __init__(self, name: str) -> None:
        from importlib import import_module  # noqa: PLC0415 - optional, as what it imports

        rich: Any = import_module("rich.progress")
        console = import_module("rich.console").Console(stderr=True)
        columns = [
            *rich.Progress.get_default_columns()[:2],
            rich.MofNCompleteColumn(),
            rich.TextColumn("{task.fields[words]}"),
        ]
        self._bar: Any = rich.Progress(*columns, console=console, auto_refresh=False)
        self._bar.start()
        self._task = self._bar.add_task(name, total=None, words="")

    def __call__(self, now: Progress, last: bool) -> None:
        self._bar.update(self._task, completed=now.done, total=now.total, words=f"{_failed(now)}{_words(now, last)}")
        self._bar.refresh()
        if last:
            self._bar.stop()


class _Plain:
    """One line, drawn over and over."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._length = 0

    def __call__(self, now: Progress, last: bool) -> None:
        bar = ""
        if now.total:
            full = _WIDTH * now.done // now.total
            bar = f"[{'#' * full}{'.' * (_WIDTH - full)}] "
        text = f"{self._name}: {bar}{_counts(now)} {_words(now, last)}"
        sys.stderr.write("\r" + text.ljust(self._length) + ("\n" if last else ""))
        sys.stderr.flush()
        self._length = len(text)


class _Lines:
    """A line now and then, for files."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = _LINES

    def __call__(self, now: Progress, last: bool) -> None:
        if (last or now.elapsed >= self._next) and sys.stderr is not None:
            self._next = now.elapsed + _LINES
            sys.stderr.write(f"{self._name}: {_counts(now)} {_words(now, last)}\n")
            sys.stderr.flush()


def _counts(now: Progress) -> str:
    failed = f", {now.failed} failed" if now.failed else ""
    return (f"{now.done}" if now.total is None else f"{now.done} of {now.total}") + failed


def _failed(now: Progress) -> str:
    return f"{now.failed} failed " if now.failed else ""


def _words(now: Progress, last: bool) -> str:
    if last:
        return f"in {_time(now.elapsed)} ({now.done / max(now.elapsed, 1e-9):.3g}/s)"
    left = "" if now.remaining is None else f", {_time(now.remaining)} left"
    return f"({now.rate:.3g}/s{left})"


def _time(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


__all__ += ["shower"]
