"""The lock under which jobs change.

It is held only briefly. It is reentrant, because a signal handler, or a finaliser run by the garbage collector, may
report in the middle of a report. It is acquired around a fork, so that a child does not inherit it locked by a thread
that the child does not have.

Invariant: a thread that holds the lock never waits: no import, no log output, no I/O, and not for another
thread, not even until one that it starts runs.

Invariant: finalisers, and code that other libraries call under their own locks (as tqdm does when it draws), wait for
the lock briefly or not at all. The garbage collector may run a finaliser in any thread and at any allocation. That
thread may hold a lock for which the holder of this lock waits, in a finaliser of the program.
"""

from __future__ import annotations

import os

from ._threads import RLock, forget_threads

LOCK = RLock()
_BRIEFLY = 0.1
"""In seconds. Longer than the lock is ever held, unless its holder waits for the caller."""


def is_held() -> bool:
    """Whether this thread holds the lock."""
    return bool(LOCK._is_owned())


def acquire_briefly() -> bool:
    """Acquires the lock for a finaliser or similar code, and returns whether it succeeded. It fails if the lock is not
    free within 0.1 s, or if this thread already holds it for a change."""
    return not is_held() and bool(LOCK.acquire(True, _BRIEFLY))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_threads)
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)
