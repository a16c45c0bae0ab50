"""The standard library's ``multiprocessing.connection`` itself: one module under two names, with one state."""

import sys
from multiprocessing import connection as _std
from multiprocessing.connection import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
