"""The page of every code: what `holdfast explain` prints and what stands in docs/errors (a test compares the two)."""

from __future__ import annotations

_TEXT = """\
# HF101: the holder of a lock died

**What happened.** A process ended, often by SIGKILL or for want of memory, while it held a lock or a
permit of a semaphore. The next one who asked for it has it now and was told: by `OwnerDiedWarning`, or by `OwnerDied`
where the lock was made with `on_owner_death="raise"`.

**Where.** The message names the lock, the process (`pid`) and the line at which it had been taken (`where`). A lock
without a name is shown by the place where it was made.

**What became of the rest.** Nobody waits for the dead. What the lock guards may be half changed: the holder can have
been stopped between any two of its instructions.

**What to do.** Bring the guarded data back to a state that is known to be good, or design the change so that one last
step makes it valid (`examples/word_count.py` does). While the lock is held, `lock.owner_died` is true. To find out
why the process died, look at its exit code, or for the kernel's out-of-memory messages.

A thread that ends while its process lives keeps what it holds, as with `multiprocessing`: another thread may release a
`Lock` or `Semaphore` for it, and `stats()` says `thread_gone`.

# HF102: a lock was released by somebody who did not hold it

**What happened.** `release()` was called on a lock that another process or thread holds. The standard library
documents that anybody may release, so holdfast does it and says so with `ForeignReleaseWarning`; a lock made with
`strict=True` stays held and raises `ForeignRelease` instead.

**Why it matters.** From that moment two processes can be inside the same locked region, and the error used to appear
in the innocent one.

**What to do.** Release where you acquired, best with `with lock:`. To tell another process that something is done,
use an `Event`, or a `Semaphore`, which is meant for it.

# HF103: a lock or semaphore was released too many times

**What happened.** `release()` was called though nobody holds the lock, or a `BoundedSemaphore` would have got more
permits than it began with. Nothing was changed.

**What to do.** Look for a `release()` beside a `with` block, or in a `finally:` whose `acquire()` had failed or timed
out: only release when `acquire()` returned True.

# HF104: the shared object behind a handle is gone

**What happened.** A handle (a lock, value, event ...) was used whose place in shared memory has been given back,
because no living process could reach it any more; or a pickle of it was kept longer than any of its owners lived.

**What became of the rest.** Nothing else was touched: a handle carries a generation number, so an old one can never
reach the object that has the place now.

**What to do.** Keep the object referenced in some process as long as pickles of it are on their way. A pickle that is
read twice, or stored in a file, does not keep it alive. Give it a name, `Lock("ledger")`, to find it again by name.

# HF105: used after close

**What happened.** An object was used after this process had closed it.

**What to do.** Close last, or leave closing to the garbage collector. Other processes are not affected.

# HF106: a timeout that cannot be waited for

**What happened.** A timeout is negative, not a number (NaN), or no number at all. Timeouts are in seconds; `None`
waits without limit, and 0 does not wait.

**What to do.** Look how the timeout was computed; a deadline that has passed gives a negative rest: `max(0.0, rest)`.
Under `holdfast.install()` and `holdfast run` negative timeouts mean 0, as `multiprocessing` documents.

# HF107: only the holder may do this

**What happened.** An `RLock` was released, or `wait()` or `notify()` of a `Condition` called, by a process or thread
that does not hold the lock. Nothing was changed.

**What to do.** Call it inside `with lock:` or `with condition:`, in the same thread. A handle that was inherited by a
fork is held by the parent, not by the child.

# HF108: a forked child left a locked block

**What happened.** A process was forked inside a `with lock:` block, and the child came to the end of the block. The
parent is the holder; the child's release was left out, so the lock is as it was.

**What to do.** Start processes outside locked blocks, or end the child with `os._exit()` before it leaves the block.

# HF109: a barrier is broken

**What happened.** A party of the barrier died, waited longer than its timeout, or called `abort()`; everybody who was
waiting, or waits now, gets this error at once. It is a `threading.BrokenBarrierError`.

**What to do.** Find out which party is missing (the message names it where one died), start it again, and call
`reset()`.

# HF110: an update would have been lost

**What happened.** `value.value += 1` was about to overwrite a change that another process had made between the
reading and the writing. Nothing was written.

**What to do.** `value.add(1)` is exact and fast. For other changes hold the value's lock: `with value.get_lock():`.

# HF111: the name belongs to something else

**What happened.** A named object exists already, but is of another kind, or was made with other parameters, than the
one that was asked for.

**What to do.** Use another name, or the same kind and parameters everywhere. Names are shared by all programs of this
user on this machine: begin them with your program's name.

# HF112: an argument has no meaning here

**What happened.** An argument has the right type but a value that the function cannot accept; the message names the
argument, the value and what is allowed. Nothing was changed.

**What to do.** Correct the call.

# HF201: the queue was shut down

**What happened.** `put()` was called on a queue after `shutdown()`, by this process or another; or `get()` when
everything in it had been taken. It is how producers say "that was all" to any number of consumers.

**What became of the rest.** What was put before the shutdown can still be taken, unless it was
`shutdown(immediate=True)`.

**What to do.** In a consumer nothing: `for item in queue:` ends by itself. In a producer, stop. A queue that was shut
down stays so; make another one.

# HF202: a queue was used after this process had closed it

**What happened.** `put()` or `get()` was called after `close()`. Closing concerns this process only, as with
`multiprocessing`: other processes go on using the queue, and what was put stays in it.

**What to do.** Close last, or not at all: there is no buffer that would have to be flushed.

# HF203: some items could not be rebuilt

**What happened.** `get_many()` took several items, and unpickling some of them raised an exception here: a class that
cannot be imported in this process, for example, or a constructor that refuses its arguments.

**What became of the rest.** The error's `items` has all the others in their order, and `errors` the exceptions. `get()`
takes one at a time and raises that exception itself.

**What to do.** Look at `errors`. Make the classes importable in the consumer.

# HF204: tasks of a joinable queue were lost

**What happened.** `join()` waits until every item of a `JoinableQueue` was taken and finished. A process was killed
after it had taken some and before it called `task_done()` for them, so this would never come true. The message names
the process (`pids`) and how many tasks it had (`tasks`).

**What became of the rest.** The other items were or will be processed as usual; `join()` can be called again and says
so again. What a process had taken before it died is not in the queue any more.

**What to do.** Find out why the process died. To have work done again, put it again; if it must not be lost, let the
consumer note what it has begun, or use a pool, which knows what each worker does.

# HF301: a process died before it delivered

**What happened.** A process ended by a signal, by `os._exit()` or by the kernel's out-of-memory killer, and so has no
result. The message gives its pid, its name, and the exit code or the signal by name.

**What became of the rest.** Only this process is lost. What it held was given back, see HF101.

**What to do.** SIGKILL that you did not send is most often the out-of-memory killer: look into the kernel's log, or
lower the number of processes. SIGSEGV is a fault in a compiled extension: set `PYTHONFAULTHANDLER=1` to see where.

# HF302: a result did not come in time

**What happened.** `result(timeout)` waited for so many seconds and the process has not finished. It goes on working.

**What to do.** Wait again, or end it with `terminate()`.

# HF303: a result could not be carried over

**What happened.** The process finished, but what it returned, or the exception it raised, could not be pickled there
or not be unpickled here. The message has the type, the text and the remote traceback.

**What to do.** Return plain data. An exception class whose `__init__` takes other arguments than it gives to
`super().__init__()` cannot be unpickled: give it a `__reduce__`.

# HF304: tasks were thrown away

**What happened.** A pool was terminated, by `terminate()` or by the end of its `with` block, while some of its tasks
had no result. The warning says how many; waiting for the result of such a task raises the error.

**What became of the rest.** Results that had arrived are there.

**What to do.** Get the results inside the block, or end the block with `pool.close()` and `pool.join()`. A
`ProcessExecutor` finishes what it has accepted when its block is left.

# HF305: a task ran for too long

**What happened.** A task ran for longer than the `timeout` of its executor. Its worker was stopped and another one
took its place.

**What became of the rest.** Only this task failed; others had not begun in that worker.

**What to do.** Give more time, or smaller tasks. `retries` runs such a task again.

# HF306: a stand-in for an exception

**What happened.** A task raised an exception that could not be pickled in the worker, or not be rebuilt from its
pickle. This one stands for it: its class has the same name, `original`, `text` and `why` tell more, and its cause
shows the worker's traceback. Where holdfast stands behind `ProcessPoolExecutor`, it also stands for what the arguments
of a task raised as they were rebuilt in the worker; it is a `BrokenProcessPool` then, as programs expect.

**What to do.** An exception class whose `__init__` takes other arguments than it gives to `super().__init__()` cannot
be unpickled: give it a `__reduce__`. Catch `holdfast.RemoteError`.

# HF307: no worker could be started

**What happened.** The initializer of an executor's workers raised, so that no task can be run. The cause is what it
raised.

**What to do.** Mend the initializer. It runs in the worker: what it needs must be importable there.

# HF401: a pickle of an unknown arena

**What happened.** A pickled lock, value or event was loaded, but the shared memory in which it lives (the arena of
the program that made it) does not exist on this machine any more, or belongs to another user.

**What to do.** Handles travel between living processes of one machine. They cannot be kept in a file beyond the end
of their program; a named object, `Lock("ledger")`, can be made again by its name.

# HF501: no room for shared memory

**What happened.** /dev/shm is full, or smaller than needed. holdfast reserves memory when it makes an object, so that
the shortage shows here and not as a SIGBUS later. Nothing was made.

**What to do.** `df -h /dev/shm` shows size and use. Containers often get 64 MB: `docker run --shm-size=1g`. Look for
files that killed programs left there.

# HF502: the directory for shared memory cannot be used

**What happened.** The user's directory below /dev/shm cannot be created or written, belongs to somebody else, or can
be written by others. holdfast does not put locks where another user could change them.

**What to do.** `ls -ld /dev/shm/holdfast-$(id -u)` shows owner and mode (it must be yours and 0700). Remove it if it
is not in use, or mend its mode.

# HF503: an arena of another layout

**What happened.** The shared memory was made by a release of holdfast that lays it out differently. Nothing was read
or changed.

**What to do.** Use the same release in all processes that share objects; end the programs of the old one first.

# HF504: an arena file is damaged

**What happened.** A file of shared memory has the wrong size or beginning: it was truncated or overwritten by
something that is not holdfast.

**What to do.** End the programs that use it and start again; the next start removes what nobody uses. Find out who
writes below /dev/shm.

# HF505: too many processes

**What happened.** The system refused another process (its limit is in `ulimit -u`, or in the container's `pids.max`),
or the arena's table of processes is full.

**What to do.** Start fewer at a time and `join()` those that have ended. Raise the limit if the number is meant.

# HF506: a fork beside running threads

**What happened.** A process was forked while other threads were running; the message names them. The child has only
the forking thread: whatever the others held at that moment (a lock of `threading`, the allocator of some C library)
is held for ever in the child. holdfast's own locks are not affected: they know their holder, and the holder is the
parent.

**What to do.** Fork before starting threads, or use `get_context("forkserver")`; with `set_forkserver_preload()` it
is about as fast as fork.

# HF507: this system lacks something

**What happened.** holdfast runs on Linux with CPython 3.11 or later; the message names what is missing here.

**What to do.** On other systems `multiprocessing` itself remains; what the message names as missing can sometimes be
allowed, for example a system call that a container's filter forbids.

# HF508: a command that was not understood

**What happened.** `holdfast` was called with a verb, option or file that it does not know. Nothing was run; the exit
code is 2.

**What to do.** `holdfast -h` shows the verbs, `holdfast VERB -h` the options of one. Options of the program to be run
stand behind its name: `holdfast run script.py --its-option`.

# HF509: the main module has no guard

**What happened.** With the start methods spawn and forkserver, each child imports the program's main module. This one
starts processes, or chooses the start method, as it is imported; each child would do so again. The child was refused
that, and ended. A pool starts no more workers then, and every call of it raises this error.

**What to do.** Put what is to run once, in the first process only, under a guard; functions and classes stay outside:

    if __name__ == "__main__":
        main()

# HF801: log lines are lost because their file cannot be written

**What happened.** A `holdfast.logs.FileHandler` could not write to its file; the message has the system's reason,
mostly a full disk. It is said once, not for every line; when lines can be written again, that is said with their
number.

**What became of the rest.** Nothing of a lost line is in the file, and no other line is harmed. The program goes on.

**What to do.** Make room (`df -h` of the file's folder), or rights, or the folder. Nothing has to be restarted.

# HF802: a log file cannot be rotated

**What happened.** It is time for a new log file, but the old one cannot be renamed, or an old one not be removed:
mostly the folder cannot be written by this user. Lines still go to the old file, which grows beyond its limit.

**What to do.** Give the user that writes the log the right to write into its folder.

# HF803: the home of a log has gone

**What happened.** After `holdfast.logs.setup()` one process, the home, has the handlers, and all others send their
records there. It has died or ended, and this process still runs and logs.

**What became of the rest.** What was under way is printed by whichever process notices first; each process prints its
own records on standard error from now on. A program that joined by the log's name goes back to handlers of its own.
What the home had taken and not handled when it was killed is lost: at most 256 records.

**What to do.** Let the home outlive the others: call `setup()` in the process that joins them. Children that are to
end with their parent are daemons (`daemon=True`).

# HF804: records were dropped

**What happened.** The log was set up with `on_full="drop"`, its handlers were slower than the processes that log, and
the queue was full. The message has the number; `log.dropped` has the sum.

**What to do.** Log less, take a faster handler, a larger `maxsize`, or `on_full="block"`, which makes processes wait
instead.

# HF805: the server of a manager has gone

**What happened.** A proxy or a manager talked to a manager's server that has died, was shut down, or never was at that
address. All that its proxies stand for (dictionaries, lists, namespaces ...) is lost with it. Primitives and queues
that the manager handed out are not: they need no server.

**What to do.** Find out what ended the server: a killed one leaves no message of its own. Keep what must not be lost
elsewhere. For code written for `multiprocessing`: the error is also an `EOFError`, `BrokenPipeError`,
`ConnectionRefusedError`, `ConnectionResetError` and `FileNotFoundError`.

# HF806: a manager's key was refused

**What happened.** The two sides of a connection have different keys. Nothing was sent but the challenge, which neither
key leaks.

**What to do.** Give both sides the same `authkey=`. Its default, `current_process().authkey`, is random for each
program and inherited by its children, so programs that are not related need one of their own.
"""


def _pages() -> dict[str, str]:
    """Cut the text at its headings: code to page."""
    parts = _TEXT.split("# HF")[1:]
    return {f"HF{part[:3]}": f"# HF{part.strip()}\n" for part in parts}


PAGES = _pages()
