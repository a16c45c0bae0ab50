"""What janus's tests import, with holdfast's queue in place."""

from two_faced import LifoQueue, PriorityQueue, Queue

from holdfast import ShutDown as AsyncQueueShutDown
from holdfast import ShutDown as SyncQueueShutDown

__all__ = ["AsyncQueueShutDown", "LifoQueue", "PriorityQueue", "Queue", "SyncQueueShutDown"]
