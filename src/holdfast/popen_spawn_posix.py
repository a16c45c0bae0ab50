"""The standard library's ``multiprocessing.popen_spawn_posix`` itself: one module under two names, with one state."""

import sys
from multiprocessing import popen_spawn_posix as _std
from multiprocessing.popen_spawn_posix import *  # noqa: F403 - for type checkers; at run time the next line counts

sys.modules[__name__] = _std
