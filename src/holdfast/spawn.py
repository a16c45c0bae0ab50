"""The standard library's ``multiprocessing.spawn`` itself: one module under two names, with one state."""

import sys
from multiprocessing import spawn as _std
from multiprocessing.spawn import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
