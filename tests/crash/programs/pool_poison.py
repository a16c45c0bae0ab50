"""Row 07: exceptions, arguments and results that cannot travel fail their own task; the pool goes on."""

import multiprocessing as mp
import os
import threading

import steps


class Picky(Exception):
    """Cannot be unpickled: its arguments are not those of its class."""

    def __init__(self, one, two):
        super().__init__(one + " and " + two)


class Opens:
    """Does something while it is unpickled."""

    def __init__(self, what):
        self.what = what

    def __reduce__(self):
        return opened, (self.what,)


class Closes:
    """Does something while it is pickled."""

    def __init__(self, what):
        self.what = what

    def __reduce__(self):
        return opened, (opened(self.what),)


def opened(what):
    """Raise, exit, die, or nothing."""
    if what == "raise":
        message = "poison"
        raise LookupError(message)
    if what == "exit":
        raise SystemExit(3)
    if what == "die":
        os._exit(4)
    return what


def picky(_):
    """Raise what cannot be rebuilt."""
    one, two = "this", "that"
    raise Picky(one, two)


def takes(_):
    """Take anything."""
    return "taken"


def returns(what):
    """Return what cannot be pickled."""
    return threading.Lock() if what == "lock" else Closes(what)


def gives(what):
    """Return what cannot be rebuilt."""
    return Opens(what)


def failing(pool, function, argument):
    """Call and return the exception."""
    try:
        value = pool.apply_async(function, (argument,)).get(30)
    except BaseException as error:
        return error
    return AssertionError(f"{function.__name__} returned {value!r}")


def problems(pool):
    """Yield what is wrong."""
    error = failing(pool, picky, 1)
    told = f"{error} {error.__cause__}"
    if type(error).__name__ != "Picky" or "this and that" not in told or "in picky" not in told:
        yield f"exception: {error!r} {error.__cause__}"
    for what, named in (("raise", "poison"), ("exit", "exit code 3"), ("die", "exit code 4")):
        if named not in str(error := failing(pool, takes, Opens(what))):
            yield f"argument that opens with {what}: {error!r}"
        if named not in str(error := failing(pool, returns, what)):
            yield f"result that closes with {what}: {error!r}"
    for what in ("raise", "exit"):
        if isinstance(error := failing(pool, gives, what), AssertionError):
            yield f"result that opens with {what}: {error!r}"
    if "cannot" not in str(error := failing(pool, returns, "lock")):
        yield f"lock: {error!r}"
    if "poison" not in str(error := failing(pool, takes, Closes("raise"))):
        yield f"argument that closes: {error!r}"
    try:
        pool.map_async(takes, [1, Opens("nothing"), Closes("raise"), 3]).get(30)
    except LookupError:
        pass
    else:
        yield "map of a poison has no error"
    if pool.map(abs, [-1, -2]) != [1, 2]:
        yield "the pool does not go on"


def main():
    """Run."""
    (method,) = steps.begin()
    with mp.get_context(method).Pool(2) as pool:
        return next(problems(pool), None)


if __name__ == "__main__":
    steps.finish(main())
