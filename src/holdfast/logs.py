"""Logging from many processes: one call in the parent, or a file handler that needs no parent.

With :func:`setup`, all records go to the handlers of one process, the log's home::

    child, grandchild, pool worker ...                        home (the process that called `setup` first)
      logger.info(...) ─▶ Sender ─▶ [ queue in shared memory ] ─▶ listener thread ─▶ the handlers of the program
                                                                  its own records ─▶ the same handlers

A record is in the queue when the call that logged it returns: it arrives even if its process is killed right then.
:class:`FileHandler` is for programs that have no parent in common: each writes to the file by itself.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from holdfast import _logends, _logwire, family
from holdfast._logends import Channel, Home, Sender
from holdfast._logfile import FileHandler
from holdfast.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["FileHandler", "Log", "setup"]

FileHandler.__module__ = __name__

_MAXSIZE = 10_000  # records


class Log:
    """The log of this program as one process sees it; made by :func:`setup`."""

    def __init__(self, end: Home | Sender) -> None:
        self.end = end

    def __repr__(self) -> str:
        return f"<holdfast.logs.Log {'at home here' if self.is_home else f'of process {self.end.channel.pid.value}'}>"

    @property
    def is_home(self) -> bool:
        """Whether the handlers of this process get the records."""
        return isinstance(self.end, Home)

    @property
    def dropped(self) -> int:
        """How many records were dropped so far, by all processes, because the queue was full."""
        return int(self.end.channel.dropped.value)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that was logged before this call is handled.

        Args:
            timeout: seconds to wait at most.

        Returns:
            False if the time was over first, or a handler asks, at work for this very log.
        """
        if isinstance(self.end, Home) and self.end.is_at_work_here():
            return False
        return self.end.channel.flush(timeout)

    def close(self) -> None:
        """Handle what is still under way and stop; other processes print what they log from now on themselves.

        In a process that is not the log's home: handle records here again, as before :func:`setup`.
        """
        self.end.close()
        if _state.log is self:
            _state.log = None


class _State:
    """The log of this process, and the file of ``holdfast run --log``."""

    log: Log | None = None
    file: str | None = None
    levels: tuple[Any, ...] | None = None  # of the parent


_state = _State()


def setup(
    name: str | None = None,
    *,
    level: int | str | None = None,
    handlers: Iterable[logging.Handler] | None = None,
    maxsize: int = _MAXSIZE,
    on_full: str = "block",
) -> Log:
    """Bring the records of all processes of this program to the handlers of this one.

    Call it once, when the handlers are set up, and before starting processes. It may stand at the top of a module that
    spawned children import again. Processes started by holdfast's contexts, pools and executors, and all forked ones,
    are in it without further ado; they use no handlers of their own, but what their own functions set up.

    Args:
        name: programs that give the same name have one log: that of the first of them, as long as it runs.
        level: of the root logger.
        handlers: added to the root logger; if there is none at all, records are printed on standard error.
        maxsize: how many records may be under way.
        on_full: what a process does that logs faster than the handlers work: "block", it waits; "drop", the record is
            dropped, and how many were is logged.

    Returns:
        The log. It need not be kept: when the program ends, everything that was logged is handled.

    Raises:
        BadArgument: `on_full` is something else, or `maxsize` not positive.
        ArenaFull: no space for shared memory.

    Example:
        >>> import holdfast, logging
        >>> log = holdfast.logs.setup(level="INFO", handlers=[logging.StreamHandler()])
        >>> holdfast.Process(target=logging.info, args=("from a child",)).start()
        >>> log.close()
    """
    if on_full not in ("block", "drop"):
        message = f'on_full is "block" or "drop", not {on_full!r}'
        raise BadArgument(message)
    if maxsize < 1:
        message = f"maxsize is a positive number of records, not {maxsize}"
        raise BadArgument(message)
    present = _state.log
    if present is not None and isinstance(present.end, Sender):
        present.end.attach()
        return present
    if level is not None:
        logging.root.setLevel(level)
    for handler in handlers or ():
        logging.root.addHandler(handler)
    if present is not None:
        return present
    channel = Channel(name, maxsize, drop=on_full == "drop")
    end: Home | Sender
    if channel.settle():
        if not _has_handlers():
            logging.root.addHandler(_logwire.stderr_handler())
        end = Home(channel)
        end.open()
        family.in_forked_child(_forked)
    else:
        end = Sender(channel, guest=True)
        end.attach()
        end.watch_exit()
    _state.log = Log(end)
    return _state.log


def _has_handlers() -> bool:
    return any(logger.handlers for logger in _logends.loggers())


def _forked() -> None:
    """In every forked child of a home: send what is logged to it."""
    log = _state.log
    if log is not None and isinstance(log.end, Home):
        _become_sender(log.end.channel)


def _become_sender(channel: Channel) -> None:
    sender = Sender(channel, guest=False)
    _state.log = Log(sender)
    sender.attach()


# the way into children that do not share memory (see boarding)


def boarding_pass() -> tuple[Any, ...] | None:
    """What a spawned child takes along, for `board`."""
    log = _state.log
    if log is None and _state.file is None:
        return None
    ticket = log.end.channel.ticket() if log is not None else None
    return ticket, _state.file, _logends.levels()


def board(ticket: tuple[Any, ...]) -> None:
    """Join the log of the program that started this process.

    Args:
        ticket: what `boarding_pass` gave to this child.
    """
    channel, file, _state.levels = ticket
    if channel is not None:
        _become_sender(Channel.from_ticket(channel))
    if file is not None:
        record_all(file)
    _logends.set_levels(_state.levels)


def settle() -> None:
    """Before the user's function runs in a child: what its main module has set up at import is for the parent."""
    levels, _state.levels = _state.levels, None
    if levels is not None:
        _logends.set_levels(levels)
    log = _state.log
    if log is not None and isinstance(log.end, Sender):
        log.end.attach()
        log.end.watch_exit()


def record_all(path: str) -> None:
    """Write every record of this program to a file as well, whatever handlers it sets up: ``holdfast run --log``.

    Args:
        path: of the file.

    Raises:
        OSError: the file cannot be written.
    """
    path = os.path.abspath(path)  # noqa: PTH100 - not resolved
    handler = FileHandler(path)
    handler.setFormatter(logging.Formatter(_logwire.LINE))
    call_handlers = logging.Logger.callHandlers

    def record_and_call(self: logging.Logger, record: logging.LogRecord) -> None:
        handler.handle(record)
        call_handlers(self, record)

    logging.Logger.callHandlers = record_and_call  # type: ignore[method-assign]
    _state.file = path
