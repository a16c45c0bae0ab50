"""The standard library's ``multiprocessing.popen_fork`` itself: one module under two names, with one state."""

import sys
from multiprocessing import popen_fork as _std
from multiprocessing.popen_fork import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
