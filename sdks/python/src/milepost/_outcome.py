"""What becomes of an update that was sent, and why it may not be known."""

from __future__ import annotations

from typing import NamedTuple, Optional, Union

from ._request import Request


class Refusal(NamedTuple):
    """Why nothing more is reported of a job, or why its latest update was not taken."""

    problem: str
    """The problem's name, such as `attempt-ended`: section 11 of the protocol. Empty if the server named none."""
    detail: str
    """What is wrong, for people."""
    attempt: Optional[int] = None
    """The job's present attempt, where that is the matter."""
    position: Optional[str] = None
    """The job's present position, where that is the matter."""


class Accepted(NamedTuple):
    """It has a position."""

    attempt: Optional[int] = None
    position: Optional[str] = None
    requested: Optional[Request] = None
    """What watchers request of the job's worker."""


class Unacceptable(NamedTuple):
    """What it contains is too large, or not valid: with less, it may be taken."""

    refusal: Refusal
    is_too_large: bool
    is_final: bool = True
    """Whether it is rejected when nothing is left to leave out. Not if what answers is no Milepost server."""


class Refused(NamedTuple):
    """Never as it is, whatever is left out."""

    refusal: Refusal


class Busy(NamedTuple):
    """Not now; for this job only."""

    reason: str
    retry_after: Optional[float] = None
    is_full: bool = False
    """An end would be taken."""


class AttemptOver(NamedTuple):
    """The attempt has ended, or a later one has begun."""

    refusal: Refusal


Outcome = Union[Accepted, Unacceptable, Refused, Busy, AttemptOver]


class Failure(Exception):
    """It is not known what became of the updates. To send the same again is safe."""


class Lost(Failure):
    """No answer, or one that makes no sense."""


class RetryLater(Failure):
    """The server asks to retry later."""

    def __init__(self, reason: str, retry_after: Optional[float] = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class BatchRejected(Failure):
    """The server does not take a batch, or not such a large one."""
