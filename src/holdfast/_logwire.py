"""Log records on their way from one process to another, and their delivery at the end of it.

A record travels as a tuple of plain values. Arguments of plain types travel as they are and are put into the text
where handlers want it; with any other argument the text is made first, so that nothing has to be pickled but texts.
An exception travels as its traceback's text; attributes of the user's (``extra=``) as they are if they can be pickled.
"""

from __future__ import annotations

import logging
import pickle
import sys
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["deliver", "pack", "stderr_handler", "unpack"]

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
