"""The jobs whose `with` blocks are open."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from ._job import Job

_current: contextvars.ContextVar[Optional[Job]] = contextvars.ContextVar("milepost_job", default=None)
_entered: list[Job] = []
"""The jobs whose blocks are open in this process, once for each block."""


def enter(job: Job) -> contextvars.Token[Optional[Job]]:
    """Makes the job the current one, and counts its block."""
    _entered.append(job)
    return make_current(job)


def make_current(job: Job) -> contextvars.Token[Optional[Job]]:
    """Makes the job the current one of this thread or task, until `restore` is called with the token."""
    return _current.set(job)


def leave(job: Job, token: Optional[contextvars.Token[Optional[Job]]]) -> None:
    """The job's block is over."""
    if job in _entered:
        _entered.remove(job)
    if token is not None:
        restore(token)


def restore(token: contextvars.Token[Optional[Job]]) -> None:
    """Makes the job current that was before."""
    try:
        _current.reset(token)
    except ValueError:
        # Left in another context than entered, as a generator may be.
        pass


def forget() -> None:
    """Forgets all blocks, as if none had been entered."""
    _current.set(None)
    _entered.clear()


def current() -> Optional[Job]:
    """The job whose `with` block this code runs in, if any: the innermost of this thread or task."""
    return _current.get()


def of_other_threads() -> Optional[Job]:
    """The job of a thread that has none of its own, such as one of a pool: the job whose block is open in another
    thread, if there is only one in this process."""
    if threading.current_thread() is threading.main_thread():
        return None
    found = {job.id: job for job in list(_entered) if job._goes_on and not job._outbox.is_foreign}
    return next(iter(found.values())) if len(found) == 1 else None
