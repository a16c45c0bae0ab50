"""What culsans's tests import, with holdfast's queue in place."""

from asyncio import QueueEmpty as AsyncQueueEmpty
from asyncio import QueueFull as AsyncQueueFull
from queue import Empty as SyncQueueEmpty
from queue import Full as SyncQueueFull

from two_faced import LifoQueue, PriorityQueue, Queue

from holdfast import ShutDown as AsyncQueueShutDown
from holdfast import ShutDown as SyncQueueShutDown

__all__ = [
    "AsyncQueueEmpty",
    "AsyncQueueFull",
    "AsyncQueueShutDown",
    "LifoQueue",
    "PriorityQueue",
    "Queue",
    "SyncQueueEmpty",
    "SyncQueueFull",
    "SyncQueueShutDown",
]
