"""The home of a log is killed: two children say so once each, and what they log goes to standard error.

The home handles nothing more from a certain moment on, so that the queue has records when the test kills it.
"""

import logging
import multiprocessing as mp
import os
import pathlib
import sys
import threading
import time

import steps

import holdfast.logs

RECORDS = 400  # of each child: more than the home takes at a time


class Stopped(logging.StreamHandler):
    stop = threading.Event()

    def emit(self, record):
        if self.stop.is_set():
            threading.Event().wait()
        super().emit(record)


def until_ended(pid):
    while True:
        if pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
            return  # it stays a zombie while the test runs
        time.sleep(0.01)


def work(name, go, told, home):
    logging.info("%s before", name)
    told.send(name)
    go.wait()
    for number in range(RECORDS):
        logging.info("%s after %d", name, number)
    told.send(name)
    until_ended(home)
    logging.info("%s at last", name)


def main():
    (method,) = steps.begin()
    log = holdfast.logs.setup(level="INFO", handlers=[Stopped(sys.stdout)])
    context = mp.get_context(method)
    go = context.Event()
    pipes = []
    for name in ("first", "second"):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(name, go, there, os.getpid()))
        process.start()
        there.close()
        pipes.append(here)
        steps.hear(here, "the first record is logged")
    log.flush(30)
    print("ready", flush=True)
    Stopped.stop.set()
    go.set()
    for here in pipes:
        steps.hear(here, "its records are logged")
    print("logged", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
