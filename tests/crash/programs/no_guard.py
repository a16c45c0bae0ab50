"""Row 32: a program without a main guard ends, with one line that names the fix: ``no_guard.py METHOD WHAT``."""

import multiprocessing as mp
import sys
from concurrent.futures import ProcessPoolExecutor

method, what = sys.argv[1:]
if what == "set":
    mp.set_start_method(method)
context = mp.get_context(method)
if what == "process":
    process = context.Process(target=abs, args=(1,))
    process.start()
    process.join()
    print("exit code", process.exitcode, flush=True)
elif what == "executor":
    executor = ProcessPoolExecutor(2, mp_context=context)
    print(executor.submit(abs, -1).result())
else:
    pool = context.Pool(2)
    print(pool.map(abs, [-1, -2]))
