"""The lock under which jobs change.

Held for moments. Reentrant, since a signal handler, or a finaliser that the garbage collector runs, may report in the
middle of a report. Taken around a fork, so that a child does not inherit it locked by a thread that it does not have.

Invariant: who holds the lock waits for nothing: no import, no log output, no start of a thread, no I/O.

Invariant: finalisers, and code that other libraries call under locks of their own (tqdm draws so), wait for the lock
briefly or not at all. The garbage collector may run a finaliser in any thread and at any allocation, also where that
thread holds what the lock's holder waits for in a finaliser of the program's own.
"""

from __future__ import annotations

import os

from ._threads import RLock, forget_threads

LOCK = RLock()
_BRIEFLY = 0.1
"""Longer than the lock is ever held, unless its holder waits for the caller, in seconds."""


def is_held() -> bool:
    """Whether this thread holds the lock."""
    return bool(LOCK._is_owned())


def acquire_briefly() -> bool:
    """Takes the lock, for finalisers and the like, and returns whether it could: not if it was not free within 0.1 s,
    nor in the middle of a change that this thread makes."""
    return not is_held() and bool(LOCK.acquire(True, _BRIEFLY))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_threads)
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)
