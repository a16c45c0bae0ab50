"""The pickler that queues write with: multiprocessing's, so that reducers registered there count."""

import copyreg
from multiprocessing.reduction import ForkingPickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["pickler"]

PROTOCOL = 5  # the first with buffers out of band


class _Reducers(dict):  # type: ignore[type-arg]  # always empty: every look-up is of this moment
    """The reducers that are registered now, with multiprocessing or for all pickles; a pickler is used for long."""

    def __missing__(self, kind: type) -> "Any":  # noqa: ANN401 - a function, of whatever kind
        found = ForkingPickler._extra_reducers.get(kind)  # type: ignore[attr-defined]  # noqa: SLF001 - they stand there
        return copyreg.dispatch_table[kind] if found is None else found


def pickler(sink: "Any") -> "Any":  # noqa: ANN401 - a native object, and a pickler
    """A pickler that writes to a sink of the core, which also takes big buffers.

    Args:
        sink: has ``write(bytes)`` and, called with a ``PickleBuffer``, answers whether to pickle it with the rest.
    """
    made = ForkingPickler(sink, PROTOCOL, True, sink)
    made.dispatch_table = _Reducers()
    return made
