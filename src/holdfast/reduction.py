"""The standard library's ``multiprocessing.reduction`` itself: one module under two names, with one state."""

import sys
from multiprocessing import reduction as _std
from multiprocessing.reduction import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
