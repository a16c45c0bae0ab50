"""Log records on their way from one process to another, and their delivery at the end of it.

A record travels as a tuple of plain values. Arguments of plain types travel as they are and are put into the text
where handlers want it; with any other argument the text is made first, so that nothing has to be pickled but texts.
An exception travels as its traceback's text; attributes of the user's (``extra=``) as they are if they can be pickled.
"""

from __future__ import annotations

import logging
import pickle
import sys
import time
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["SecondClock", "deliver", "pack", "stderr_handler", "take_clocks_back", "unpack"]

_KEYS = (
    "name",
    "levelno",
    "levelname",
    "pathname",
    "filename",
    "module",
    "stack_info",
    "lineno",
    "funcName",
    "created",
    "msecs",
    "relativeCreated",
    "thread",
    "threadName",
    "processName",
    "process",
    *(("taskName",) if sys.version_info >= (3, 12) else ()),
)
_get = itemgetter(*_KEYS)
_MADE_HERE = frozenset({*_KEYS, "msg", "args", "exc_info", "exc_text", "message", "asctime"})
_USUAL = len(_KEYS) + 4  # msg, args, exc_info, exc_text
_PLAIN = frozenset({str, int, float, bool, type(None)})
_formatter = logging.Formatter()


def pack(record: logging.LogRecord) -> tuple[Any, ...]:
    """What travels of a record: text, arguments, exception, the user's attributes, the others.

    Raises:
        Exception: what making the text of the record raises.
    """
    fields = record.__dict__
    message, args = record.msg, record.args
    if args:
        if type(message) is not str or type(args) is not tuple:
            message, args = record.getMessage(), ()
        else:
            for each in args:
                if type(each) not in _PLAIN:
                    message, args = record.getMessage(), ()
                    break
    elif type(message) is not str:
        message = str(message)
    error = record.exc_text
    if record.exc_info and not error:
        error = _formatter.formatException(record.exc_info)
    extra = None
    if len(fields) != _USUAL:
        extra = {key: value for key, value in fields.items() if key not in _MADE_HERE} or None
    try:
        others = _get(fields)
    except KeyError:  # made by a factory of the user's
        others = tuple(map(fields.get, _KEYS))
    return message, args, error, extra, others


def only_texts(item: tuple[Any, ...]) -> tuple[Any, ...]:
    """A packed record whose attributes cannot be pickled, with their texts in their place."""
    message, args, error, extra, others = item
    kept = {}
    for key, value in (extra or {}).items():
        try:
            pickle.dumps(value)
            kept[key] = value
        except Exception:  # noqa: BLE001 - pickling runs anybody's code
            kept[key] = repr(value)
    others = tuple(each if type(each) in _PLAIN else str(each) for each in others)
    return str(message), args, error, kept or None, others


def unpack(item: tuple[Any, ...]) -> logging.LogRecord:
    """The record that was packed."""
    message, args, error, extra, others = item
    record = logging.LogRecord.__new__(logging.LogRecord)
    fields = record.__dict__
    fields.update(zip(_KEYS, others))  # noqa: B905 - as many as there are; to check that takes as long as the rest
    fields["msg"], fields["args"], fields["exc_info"], fields["exc_text"] = message, args, None, error
    if extra is not None:
        fields.update(extra)
    return record


class SecondClock:
    """``formatTime`` of a plain formatter, with the text of a second, most of its work, made once a second.

    Args:
        layout: the formatter; what it has at the time of a record counts.
    """

    def __init__(self, layout: logging.Formatter) -> None:
        self.layout = layout
        self._known: tuple[Any, str] = ((), "")  # what the text depends on, and the text

    def __call__(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        layout = self.layout
        key = int(record.created), datefmt or layout.default_time_format, layout.converter
        known = self._known
        if known[0] != key:
            known = self._known = key, time.strftime(key[1], layout.converter(record.created))
        if datefmt or not layout.default_msec_format:
            return known[1]
        return layout.default_msec_format % (known[1], record.msecs)


_lent: list[logging.Formatter] = []


def lend_clock(handler: logging.Handler) -> None:
    """Let a handler's formatter, if it is a plain one, use a `SecondClock` until `take_clocks_back`."""
    layout = getattr(handler, "formatter", None)
    if type(layout) is logging.Formatter and "formatTime" not in layout.__dict__:
        layout.formatTime = SecondClock(layout)  # type: ignore[method-assign]
        _lent.append(layout)


def take_clocks_back() -> None:
    """Leave formatters as they were."""
    while _lent:
        _lent.pop().__dict__.pop("formatTime", None)


def deliver(record: logging.LogRecord) -> None:
    """Give a record to the handlers of this process, as if it had been made here.

    Filters of loggers belong to where a record is made and are not asked again. A handler that raises keeps no other
    from the record.
    """
    logger: Any = logging.root.manager.loggerDict.get(record.name)
    if not isinstance(logger, logging.Logger):
        logger = logging.root if record.name == "root" else logging.getLogger(record.name)
    if logger.disabled:
        return
    found = False
    while logger is not None:
        for handler in logger.handlers:
            found = True
            if record.levelno >= handler.level:
                _handle(handler, record)
        if not logger.propagate:
            break
        logger = logger.parent
    if not found and logging.lastResort is not None and record.levelno >= logging.lastResort.level:
        _handle(logging.lastResort, record)


def _handle(handler: logging.Handler, record: logging.LogRecord) -> None:
    try:
        lend_clock(handler)
        handler.handle(record)
    except Exception:  # noqa: BLE001 - handlers are anybody's code
        with suppress(Exception):
            handler.handleError(record)  # prints the traceback, unless logging.raiseExceptions is off


LINE = "%(asctime)s %(levelname)s %(processName)s[%(process)d] %(name)s: %(message)s"


def stderr_handler() -> logging.Handler:
    """The handler of a program that has set up none."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(LINE))
    return handler
