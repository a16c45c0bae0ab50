"""The standard library's ``multiprocessing.heap`` itself: one module under two names, with one state."""

import sys
from multiprocessing import heap as _std
from multiprocessing.heap import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
