"""Problems, the reasons for which the server rejects something: section 11 of the protocol."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

PREFIX = "urn:milepost:problem:"

PROBLEMS = {
    "invalid-job-id": (400, "The job id is not allowed"),
    "invalid-json": (400, "The body is not JSON"),
    "invalid-parameter": (400, "A parameter is not allowed"),
    "incomplete-body": (400, "The body broke off"),
    "invalid-host": (400, "The header Host is missing or invalid"),
    "host-not-allowed": (421, "The server does not answer to this name"),
    "unauthenticated": (401, "A valid credential is needed"),
    "forbidden": (403, "The credential does not allow this"),
    "too-many-requests": (429, "The client does this too often"),
    "origin-not-allowed": (403, "A page of this origin may not do this"),
    "not-found": (404, "There is nothing at this address"),
    "unknown-job": (404, "The job is not known"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "request-timeout": (408, "The body took too long"),
    "attempt-ended": (409, "The attempt has ended"),
    "attempt-superseded": (409, "A later attempt has begun"),
    "not-cancellable": (409, "The job takes no such request"),
    "update-too-large": (413, "The update is too large"),
    "batch-too-large": (413, "The batch is too large"),
    "invalid-update": (422, "The update is not valid"),
    "upgrade-required": (426, "This address speaks WebSocket"),
    "request-header-too-large": (431, "The request's header is too large"),
    "internal": (500, "The server failed"),
    "broker-full": (503, "The broker holds as many jobs as it may"),
    "broker-unavailable": (503, "The broker does not answer"),
    "unreadable-job": (503, "What the broker holds for the job cannot be read"),
    "too-many-connections": (503, "The server holds as many connections as it may"),
    "too-many-subscriptions": (400, "The socket watches as many jobs as it may"),
    "server-full": (503, "The server has no memory left for this"),
    "shutting-down": (503, "The server is going down"),
}
"""Each problem's HTTP status and title."""


class Problem(NamedTuple):
    """A refusal, as far as it is understood."""

    name: str
    """Empty if it is not one that is known here."""
    status: int
    detail: str
    attempt: Optional[int]
    position: Optional[str]
    is_ours: bool
    """Whether a Milepost server says so; otherwise it is another program's, such as a proxy's in front of it."""

    @property
    def is_about_the_job(self) -> bool:
        """Whether it concerns one job or update; else it is the server's own, and a whole request's."""
        if not self.is_ours:
            return False
        return self.name == "broker-full" or (400 <= self.status < 500 and self.status not in (408, 429))


def read(document: Any) -> Optional[Problem]:
    """The problem in a JSON document; None if there is none."""
    if not isinstance(document, dict) or not isinstance(document.get("status"), int):
        return None
    kind, title = document.get("type"), document.get("title")
    if not isinstance(kind, str):
        return None
    attempt, position, detail = (document.get(name) for name in ("attempt", "position", "detail"))
    return Problem(
        name_of(kind),
        document["status"],
        (detail if isinstance(detail, str) and detail else str(title or kind))[:300],
        attempt if isinstance(attempt, int) else None,
        position if isinstance(position, str) else None,
        kind.startswith(PREFIX),
    )


def name_of(kind: str) -> str:
    """The name in a problem's `type`; empty if it is not one of the protocol's."""
    name = kind[len(PREFIX) :] if kind.startswith(PREFIX) else ""
    return name if name in PROBLEMS else ""
