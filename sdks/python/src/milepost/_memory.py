"""The lock under which jobs change.

Held for moments, never during I/O. Reentrant, since a signal handler, or a finaliser that the garbage collector
runs, may report in the middle of a report. Taken around a fork, so that a child does not inherit it locked by a thread
that it does not have.
"""

from __future__ import annotations

import os

from ._threads import RLock, forget_threads

LOCK = RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_threads)
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)
