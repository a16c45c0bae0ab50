"""What pools and executors are made of: workers, the parent's knowledge of what each has begun, and its two threads.

Private; `holdfast.pool` and `holdfast.futures` are the public fronts. One step a module: `cargo` (pickling that
harms nobody else), `ledger` (what a worker has begun and finished, in shared memory), `worker` (the child), `plan`
(who does what, without any input or output), `deaths` (saying what died), `crew` (the parent's side).
"""

OPEN, CLOSED, TERMINATED = range(3)  # what a crew is: takes tasks, finishes those it has, does nothing more
