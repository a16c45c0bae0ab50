"""What the tests of awaitable methods share: waiting until a task stands in line, or the helper thread is there."""

import threading
import time

from anyio.lowlevel import checkpoint


async def until(condition):
    """Let other tasks go on until a condition is true; the watchdog ends a test in which it never is."""
    while not condition():
        await checkpoint()


async def in_line(shared, count=1):
    """Wait until so many tasks of this process wait for an object."""
    from holdfast._desks import this_loops

    def waiting():
        desk = this_loops()
        lines = [] if desk is None else desk.lines.values()
        return sum(len(line._places) for line in lines if line._object is shared)

    await until(lambda: waiting() >= count)


def until_helper_runs(wanted):
    """Wait, without an event loop, until the helper thread is there, or gone."""
    from holdfast import _core

    while _core.helper_runs() is not wanted:
        time.sleep(0.005)


def in_a_thread(function, *args):
    """What a function returns in another thread."""
    got = []
    thread = threading.Thread(target=lambda: got.append(function(*args)))
    thread.start()
    thread.join()
    return got[0]
