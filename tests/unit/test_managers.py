"""Managers: what they hand out, proxies as ever, the standard library on the other side, dead servers, refused keys."""

import os
import queue
import signal
import subprocess
import sys
import threading

import pytest

import holdfast
from holdfast import errors
from holdfast.managers import BaseManager, SyncManager

KINDS = ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier", "Queue", "JoinableQueue"]


@pytest.fixture
def manager(context):
    """A started manager of each start method."""
    with context.Manager() as manager:
        yield manager


class Counter:
    """A class of a user's, kept in a server."""

    def __init__(self, start=0):
        self.value = start

    def add(self, number):
        self.value += number
        return self.value


class Custom(SyncManager):
    """A manager with a class of the user's."""


Custom.register("Counter", Counter)


def change(shared, items, space, number, array):
    """Use proxies in another process."""
    shared["child"] = os.getpid()
    items.append(3)
    space.x += 1
    number.value += 1
    array[0] = 7


def test_manager_proxies_keep_the_contract_in_another_process(manager, context):
    shared, items, space = manager.dict(a=1), manager.list([1, 2]), manager.Namespace(x=1)
    number, array = manager.Value("i", 4), manager.Array("i", [1, 2])
    process = context.Process(target=change, args=(shared, items, space, number, array))
    process.start()
    process.join()
    assert shared.copy() == {"a": 1, "child": process.pid}
    assert list(items) == [1, 2, 3]
    assert (space.x, number.value, list(array)) == (2, 5, [7, 2])
    shared["nested"] = items
    assert shared["nested"][2] == 3
    with pytest.raises(KeyError):
        shared["missing"]


def test_manager_pool_works_in_the_server(manager):
    with manager.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


def test_manager_class_of_the_user_is_a_proxy_of_one_object(context):
    with Custom(ctx=context) as manager:
        counter = manager.Counter(5)
        assert counter.add(2) == 7
        assert counter.add(1) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_manager_primitives_are_the_plain_ones(manager, kind):
    made = getattr(manager, kind)(*([2] if kind == "Barrier" else []))
    assert type(made).__module__.startswith("holdfast.")


def test_manager_killed_primitives_live_on_and_proxies_say_what_happened(manager):
    lock, items = manager.Lock(), manager.list([1])
    os.kill(manager._process.pid, signal.SIGKILL)
    manager._process.join()
    with lock:
        pass
    with pytest.raises(errors.ManagerGone, match=r"\[HF805\] the manager's server at .* is gone") as caught:
        items.append(2)
    assert isinstance(caught.value, EOFError | OSError)
    assert caught.value.address == manager.address
    with pytest.raises(errors.ManagerGone):
        manager.dict()


class Waits:
    """Never answers."""

    def wait(self):
        threading.Event().wait()


class Waiting(BaseManager):
    """A manager of those."""


Waiting.register("Waits", Waits)


def ask(proxy, answers):
    """A client that is in a call when the server dies."""
    answers.put("asks")
    try:
        proxy.wait()
    except errors.ManagerGone as error:
        answers.put(str(error))


def test_manager_killed_within_calls_every_client_is_told(context):
    answers = context.Queue()
    manager = Waiting(ctx=context)
    manager.start()
    proxy = manager.Waits()
    clients = [context.Process(target=ask, args=(proxy, answers)) for _ in range(3)]
    for client in clients:
        client.start()
    for _ in clients:
        assert answers.get(timeout=30) == "asks"
    os.kill(manager._process.pid, signal.SIGKILL)
    for client in clients:
        assert "[HF805]" in answers.get(timeout=30)
        client.join()
    manager._process.join()


def test_manager_other_key_is_refused_in_plain_words(manager):
    other = SyncManager(manager.address, authkey=b"another")
    with pytest.raises(errors.KeyRefused, match=r"\[HF806\] .* has another authkey"):
        other.connect()
    assert manager.list([1])[0] == 1


def test_manager_nobody_at_the_address_is_said(tmp_path):
    manager = SyncManager(str(tmp_path / "nobody"), authkey=b"key")
    with pytest.raises(errors.ManagerGone):
        manager.connect()


STD_SERVER = """
import queue, sys
from multiprocessing.managers import BaseManager
class Service(BaseManager): pass
box = queue.Queue()
Service.register("box", callable=lambda: box)
server = Service(("127.0.0.1", 0), authkey=b"key").get_server()
print(server.address[1], flush=True)
server.serve_forever()
"""

STD_CLIENT = """
import sys
from multiprocessing.managers import BaseManager
class Service(BaseManager): pass
Service.register("box")
service = Service(("127.0.0.1", int(sys.argv[1])), authkey=b"key")
service.connect()
box = service.box()
box.put(box.get() * 2)
assert "holdfast" not in sys.modules
"""


class Service(BaseManager):
    """A client, or a server, of a queue."""


BOX = queue.Queue()
Service.register("box", callable=lambda: BOX)


def test_manager_server_of_the_standard_library_serves_ours():
    server = subprocess.Popen([sys.executable, "-c", STD_SERVER], stdout=subprocess.PIPE, text=True)
    try:
        service = Service(("127.0.0.1", int(server.stdout.readline())), authkey=b"key")
        service.connect()
        box = service.box()
        box.put([1, 2])
        assert box.get() == [1, 2]
        server.kill()
        server.wait()
        with pytest.raises(errors.ManagerGone):
            box.get()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_manager_client_of_the_standard_library_is_served_by_ours():
    service = Service(("127.0.0.1", 0), authkey=b"key", ctx=holdfast.get_context("fork"))
    service.start()
    try:
        box = service.box()
        box.put(21)
        subprocess.run([sys.executable, "-c", STD_CLIENT, str(service.address[1])], check=True)
        assert box.get() == 42
    finally:
        service.shutdown()
