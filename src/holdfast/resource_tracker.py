"""The standard library's ``multiprocessing.resource_tracker`` itself: one module under two names, with one state."""

import sys
from multiprocessing import resource_tracker as _std
from multiprocessing.resource_tracker import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
