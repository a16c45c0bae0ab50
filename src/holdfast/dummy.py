"""The standard library's ``multiprocessing.dummy`` itself: one module under two names, with one state."""

import sys
from multiprocessing import dummy as _std
from multiprocessing.dummy import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
