"""PAINS 06: every object through every channel: Process, Pool and executor arguments, a Queue, a Pipe, a manager."""

import concurrent.futures
import multiprocessing as mp

import steps

LOCKS = ("Lock", "RLock", "Semaphore", "BoundedSemaphore")
QUEUES = ("Queue", "JoinableQueue", "SimpleQueue")
KINDS = (*LOCKS, "Condition", "Event", "Barrier", "Value", "Array", *QUEUES)
WAIT = 30  # seconds, a watchdog


def make(context, kind):
    arguments = {"Barrier": (2,), "Value": ("i", 0), "Array": ("i", [0, 0])}
    return getattr(context, kind)(*arguments.get(kind, ()))


def act(step, thing):
    """What the other process does with the object it was sent."""
    if step == "try":
        got = thing.acquire(False)
        if got:
            thing.release()
        return got
    if step == "notify":
        with thing:
            thing.notify()
        return True
    if step in ("is_set", "set"):
        return getattr(thing, step)()
    if step == "barrier":
        return thing.wait(WAIT) in (0, 1)
    if step == "relay":
        return relay(thing)
    with thing.get_lock():
        if step == "array":
            thing[1] += 1
        else:
            thing.value += 1
    return True


def relay(box):
    """Take an item and put its successor."""
    item = box.get()
    if hasattr(box, "task_done"):
        box.task_done()
    box.put(item + 1)
    return True


def answer(conn, step, thing):
    conn.send(act(step, thing))


def serve(take, reply):
    """Child of the Queue and Pipe ways: everything it uses arrives through ``take``."""
    while (message := take()) is not None:
        reply(act(*message))


def serve_queue(inbox, outbox):
    serve(inbox.get, outbox.put)


def serve_pipe(conn):
    serve(conn.recv, conn.send)


class ByProcess:
    def __init__(self, context):
        self.context = context

    def ask(self, step, thing):
        here, there = self.context.Pipe()
        process = self.context.Process(target=answer, args=(there, step, thing))
        process.start()
        there.close()

        def result():
            told = steps.hear(here, step)
            process.join()
            return told

        return result

    def close(self):
        pass


class ByPool:
    def __init__(self, context):
        self.pool = context.Pool(1)

    def ask(self, step, thing):
        pending = self.pool.apply_async(act, (step, thing))
        return lambda: pending.get(WAIT)

    def close(self):
        self.pool.close()
        self.pool.join()


class ByExecutor:
    def __init__(self, context):
        self.executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)

    def ask(self, step, thing):
        future = self.executor.submit(act, step, thing)
        return lambda: future.result(WAIT)

    def close(self):
        self.executor.shutdown()


class ByQueue:
    def __init__(self, context):
        self.inbox, self.outbox = context.Queue(), context.Queue()
        self.process = context.Process(target=serve_queue, args=(self.inbox, self.outbox), daemon=True)
        self.process.start()

    def ask(self, step, thing):
        self.inbox.put((step, thing))
        return lambda: self.outbox.get(timeout=WAIT)

    def close(self):
        self.inbox.put(None)
        self.process.join()


class ByPipe:
    def __init__(self, context):
        self.conn, there = context.Pipe()
        self.process = context.Process(target=serve_pipe, args=(there,), daemon=True)
        self.process.start()
        there.close()

    def ask(self, step, thing):
        self.conn.send((step, thing))
        return lambda: steps.hear(self.conn, step)

    def close(self):
        self.conn.send(None)
        self.process.join()


def act_on_shelf(step, shelf, key):
    """What a pool task does with an object that lies in a manager's dictionary."""
    return act(step, shelf[key])


class ByManager:
    def __init__(self, context):
        self.manager = context.Manager()
        self.shelf = self.manager.dict()
        self.pool = context.Pool(1)

    def ask(self, step, thing):
        key = len(self.shelf)
        self.shelf[key] = thing
        pending = self.pool.apply_async(act_on_shelf, (step, self.shelf, key))
        return lambda: pending.get(WAIT)

    def close(self):
        self.pool.close()
        self.pool.join()
        self.manager.shutdown()


WAYS = {
    "process": ByProcess,
    "pool": ByPool,
    "executor": ByExecutor,
    "queue": ByQueue,
    "pipe": ByPipe,
    "manager": ByManager,
}


def check_lock(way, lock):
    lock.acquire()
    held = way.ask("try", lock)()
    lock.release()
    return held is False and way.ask("try", lock)() is True and lock.acquire(False) and lock.release() is None


def check_condition(way, condition):
    with condition:
        pending = way.ask("notify", condition)
        notified = condition.wait(WAIT)
    return pending() and notified


def check_event(way, event):
    unset = way.ask("is_set", event)()
    event.set()
    is_set = way.ask("is_set", event)()
    event.clear()
    way.ask("set", event)()
    return unset is False and is_set is True and event.is_set()


def check_barrier(way, barrier):
    pending = way.ask("barrier", barrier)
    return barrier.wait(WAIT) in (0, 1) and pending()


def check_value(way, value):
    way.ask("value", value)()
    return value.value == 1


def check_array(way, array):
    way.ask("array", array)()
    return array[:] == [0, 1]


def check_queue(way, box):
    box.put(1)
    relayed = way.ask("relay", box)() and way.ask("relay", box)()
    fine = relayed and not box.empty() and box.get() == 3 and box.empty()
    if hasattr(box, "task_done"):
        box.task_done()
        box.join()
    return fine


CHECKS = {
    **dict.fromkeys(QUEUES, check_queue),
    "Condition": check_condition,
    "Event": check_event,
    "Barrier": check_barrier,
    "Value": check_value,
    "Array": check_array,
}


def main():
    method, name = steps.begin()
    context = mp.get_context(method)
    way = WAYS[name](context)
    for kind in KINDS:
        try:
            fine = CHECKS.get(kind, check_lock)(way, make(context, kind))
        except Exception as problem:
            return steps.finish(f"{kind} by {name}: {type(problem).__name__}: {problem}")
        if not fine:
            return steps.finish(f"{kind} by {name}: does not work on the other side")
    way.close()
    steps.finish()


if __name__ == "__main__":
    main()
