"""The pickler that queues write with: multiprocessing's, so that reducers registered there count."""

from multiprocessing.reduction import ForkingPickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["pickler"]

PROTOCOL = 5  # the first with buffers out of band


def pickler(sink: "Any") -> "Any":  # noqa: ANN401 - a native object, and a pickler
    """A pickler that writes to a sink of the core, which also takes big buffers.

    Args:
        sink: has ``write(bytes)`` and, called with a ``PickleBuffer``, answers whether to pickle it with the rest.
    """
    return ForkingPickler(sink, PROTOCOL, True, sink)
