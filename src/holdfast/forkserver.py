"""The standard library's ``multiprocessing.forkserver`` itself: one module under two names, with one state."""

import sys
from multiprocessing import forkserver as _std
from multiprocessing.forkserver import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
