"""The standard library's ``multiprocessing.resource_sharer`` itself: one module under two names, with one state."""

import sys
from multiprocessing import resource_sharer as _std
from multiprocessing.resource_sharer import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
