"""PAINS 16: four processes, one rotating log: every line whole, none lost, sizes near the limit, also after a SIGKILL.

Further argument: "setup" (records go to the parent's handler) or "file" (each process has a handler of its own).
"""

import logging
import logging.handlers
import multiprocessing as mp
import os
import pathlib
import signal
import sys
import tempfile

import steps

import holdfast.logs

PROCESSES, LINES, LIMIT, BACKUPS = 4, 1000, 20_000, 50


def write(kind, path, number):
    if kind == "file" and not logging.root.handlers:  # spawned: nothing was inherited
        set_up(kind, path)
    for line in range(LINES):
        logging.info("%d %d %s.", number, line, "x" * (line % 100))
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def set_up(kind, path):
    logging.root.setLevel(logging.INFO)
    if kind == "file":
        logging.root.addHandler(holdfast.logs.FileHandler(path, max_bytes=LIMIT, backups=BACKUPS))
        return None
    logging.root.addHandler(logging.handlers.RotatingFileHandler(path, maxBytes=LIMIT, backupCount=BACKUPS))
    return holdfast.logs.setup()


def judge(path):
    old = [pathlib.Path(f"{path}.{number}") for number in range(BACKUPS, 0, -1)]
    names = [each for each in old if each.exists()]
    texts = [each.read_text() for each in [*names, path]]
    if len(names) < PROCESSES * LINES * 50 // LIMIT or max(map(len, texts)) > LIMIT:
        return f"sizes: {[len(text) for text in texts]}"
    found = "".join(texts).splitlines()
    for number in range(PROCESSES):
        wanted = [f"{number} {line} {'x' * (line % 100)}." for line in range(LINES)]
        if [line for line in found if line.startswith(f"{number} ")] != wanted:
            return f"lines of process {number} are lost, torn or out of order"
    return None if len(found) == PROCESSES * LINES else "there are more lines than were logged"


def main():
    method, kind = steps.begin()
    context = mp.get_context(method)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "app.log")
        log = set_up(kind, path)
        processes = [context.Process(target=write, args=(kind, path, number)) for number in range(PROCESSES)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if [process.exitcode for process in processes] != [-signal.SIGKILL, 0, 0, 0]:
            return steps.finish(f"exit codes {[process.exitcode for process in processes]}")
        if log is not None:
            log.close()
        steps.finish(judge(path))


if __name__ == "__main__":
    sys.exit(main())
