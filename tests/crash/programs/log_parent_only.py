"""PAINS 32: logging is set up in the parent only, under its main guard; children's lines appear where its own do."""

import io
import logging
import multiprocessing as mp

import steps

import holdfast.logs


def work():
    logging.getLogger("work").info("from the child")
    try:
        {}["in the child"]
    except KeyError:
        logging.getLogger("work").exception("it failed")


def main():
    (method,) = steps.begin()
    stream = io.StringIO()
    logging.basicConfig(stream=stream, level=logging.INFO, format="%(levelname)s %(name)s %(process)d: %(message)s")
    log = holdfast.logs.setup()
    logging.info("from the parent")
    process = mp.get_context(method).Process(target=work)
    process.start()
    process.join()
    if not log.flush(30):
        return steps.finish("the log did not come to rest")
    text = stream.getvalue()
    for part in (
        "INFO root",
        "from the parent",
        f"INFO work {process.pid}: from the child",
        "KeyError: 'in the child'",
    ):
        if part not in text:
            return steps.finish(f"missing: {part} in {text!r}")
    steps.finish()


if __name__ == "__main__":
    main()
