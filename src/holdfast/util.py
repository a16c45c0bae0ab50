"""The standard library's ``multiprocessing.util`` itself: one module under two names, with one state."""

import sys
from multiprocessing import util as _std
from multiprocessing.util import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
