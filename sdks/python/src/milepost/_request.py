"""What a watcher requests of a job's worker: section 16 of the protocol."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

ACTIONS = ("cancel", "pause", "resume")


class Request(NamedTuple):
    """What is requested of a job. The worker decides what becomes of it."""

    action: str
    """`cancel`, `pause` or `resume`."""
    at: str
    """Since when, by the server's clock: RFC 3339 in UTC."""
    by: Optional[str] = None
    """Who requests it, for people."""
    reason: Optional[str] = None
    """Why, for people."""

    def describe(self) -> str:
        """The request in words."""
        by = "" if self.by is None else f" by {self.by}"
        why = "" if self.reason is None else f": {self.reason}"
        return f"{self.action} requested{by}{why}"


class CancelRequested(Exception):
    """A watcher has requested that the job be cancelled. Raised by `Job.raise_if_cancelled()`, and by loops with
    `cancellable=True`. A `with` block of the job that it leaves ends as `cancelled`."""

    def __init__(self, job_id: str, request: Request) -> None:
        super().__init__(f"{job_id}: {request.describe()}")
        self.request = request
        """Who requested it, and why."""


def read(found: Any) -> Optional[Request]:
    """A state's or an answer's `requested`; None if there is none, or none that is understood."""
    if not isinstance(found, dict):
        return None
    action, at, by, reason = (found.get(name) for name in ("action", "at", "by", "reason"))
    if action not in ACTIONS or not isinstance(at, str):
        return None
    return Request(action, at, by if isinstance(by, str) else None, reason if isinstance(reason, str) else None)
