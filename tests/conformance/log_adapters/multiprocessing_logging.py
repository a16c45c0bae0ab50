"""``multiprocessing_logging`` with ``holdfast.logs`` inside: the names that its tests use."""

from __future__ import annotations

import logging
import os

import holdfast.logs


class MultiProcessingHandler(logging.Handler):
    """Wraps a handler; records of children come by way of the log of holdfast."""

    def __init__(self, name: str, sub_handler: logging.Handler | None = None) -> None:
        super().__init__()
        self.set_name(name)
        self.sub_handler = sub_handler or logging.StreamHandler()
        self._log = holdfast.logs.setup(handlers=[logging.NullHandler()])

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand on without a lock: the thread that brings children's records would wait for it, and be waited for."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to the handler; there, all records are in one queue, here only those of children."""
        if record.process == os.getpid():
            self._log.flush()
        self.sub_handler.handle(record)

    def close(self) -> None:
        """Handle what is under way."""
        self._log.close()
        self.sub_handler.close()
        super().close()


def install_mp_handler(logger: logging.Logger | None = None) -> None:
    """Wrap all handlers of a logger, by default the root's."""
    if logger is None:
        logger = logging.getLogger()
    for number, handler in enumerate(list(logger.handlers)):
        logger.removeHandler(handler)
        logger.addHandler(MultiProcessingHandler(f"mp-handler-{number}", handler))
