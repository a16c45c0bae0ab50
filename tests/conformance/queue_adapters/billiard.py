"""What billiard's queue tests import: holdfast's queues as they are."""

from holdfast import JoinableQueue, Queue

__all__ = ["JoinableQueue", "Queue"]
