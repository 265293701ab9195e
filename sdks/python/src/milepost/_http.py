"""Reports by POST: section 10 of the protocol."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional, Union

from . import _problem, _request
from ._connection import Connection
from ._credential import Token
from ._outcome import (
    Accepted,
    AttemptOver,
    BatchRejected,
    Busy,
    Failure,
    Lost,
    Outcome,
    Refusal,
    Refused,
    RetryLater,
    Unacceptable,
)
from ._refused import WatchRefused
from ._transport import Outgoing

MAX_ANSWER = 1 << 18
"""An answer's body is not read beyond this, a batch's beyond 64 KiB for each update, or 16 MiB."""

_NO_UPDATE = b'{"status":"check"}'
"""A client that may report the job gets `invalid-update` for it, any other client 401 or 403."""

MAX_REDIRECTS = 5
"""The most redirects that a request follows. They keep its method and body."""


class Http:
    def __init__(self, url: str, token: Token) -> None:
        self._connection = Connection(url, token)

    def send(self, updates: Sequence[Outgoing], timeout: float) -> list[Outcome]:
        if len(updates) == 1:
            return [self._send_one(updates[0], timeout)]
        return self._send_batch(updates, timeout)

    def append_log(self, job_id: str, lines: bytes, timeout: float) -> Optional[Union[Busy, Refused]]:
        reply = self._post(f"/jobs/{job_id}/log", "application/x-ndjson", lines, 1, timeout)
        return reply.log_outcome()

    def may_report(self, job_id: str, timeout: float) -> Optional[WatchRefused]:
        """Why the server rejects updates of the job; None if it accepts them. Changes nothing. Raises Failure."""
        return self._post(f"/jobs/{job_id}", "application/json", _NO_UPDATE, 1, timeout).reporting_refused()

    def close(self) -> None:
        self._connection.release()

    def _post(self, path: str, kind: str, body: bytes, updates: int, timeout: float) -> Reply:
        deadline = time.monotonic() + timeout
        limit = max(MAX_ANSWER, min(updates << 16, 1 << 24))
        connection = self._connection
        for redirects in itertools.count():
            timeout = max(0.001, deadline - time.monotonic())
            try:
                response = connection.ask("POST", path, timeout, body=body, headers={"Content-Type": kind})
                answer = connection.read(response, limit)
            finally:
                if connection is not self._connection:
                    connection.release()
            location = response.getheader("Location")
            if response.status not in (307, 308) or location is None or redirects == MAX_REDIRECTS:
                break
            connection, path = connection.redirected(path, location)
        return Reply(
            response.status, response.reason, retry_after(response.getheader("Retry-After")), location or "", answer
        )

    def _send_one(self, update: Outgoing, timeout: float) -> Outcome:
        path = f"/jobs/{update.job_id}"
        return self._post(path, "application/json", update.update.data, 1, timeout).outcome(update)

    def _send_batch(self, updates: Sequence[Outgoing], timeout: float) -> list[Outcome]:
        lines = b"".join(update.update.data + b"\n" for update in updates)
        reply = self._post("/updates", "application/x-ndjson", lines, len(updates), timeout)
        return reply.outcomes(updates)


class Reply(NamedTuple):
    """A server's answer, read whole."""

    status: int
    reason: str
    retry_after: Optional[float]
    """In seconds."""
    location: str
    """Where a redirect leads to."""
    body: bytes

    def outcome(self, update: Outgoing) -> Outcome:
        """What became of the one update that was sent. Raises Failure where the answer is about the server, or makes
        no sense."""
        answer = _read(self.body)
        if self.status == 200:
            accepted = _accepted(answer, update)
            if accepted is not None:
                return accepted
        problem = _problem.read(answer)
        if self.status in (401, 403):
            return self._credential_refused(problem)
        if problem is not None and problem.is_about_the_job:
            return outcome_of(problem, self.retry_after)
        if self.status == 413:
            # A proxy's own bound on bodies, most often. The proxy may change, so the update is not given up.
            refusal = Refusal("", f"what is in front of the server answered {self.status} {self.reason}")
            return Unacceptable(refusal, is_too_large=True, is_final=False)
        if self._may_be_about_content:
            return Busy(self._not_milepost, self.retry_after)
        # Another program's 4xx, such as a proxy's 404 while the server behind it restarts, says nothing of the update.
        raise self._failure(problem)

    def outcomes(self, updates: Sequence[Outgoing]) -> list[Outcome]:
        """What became of each update of a batch, in order. Raises Failure where the answer is about the server or the
        batch, or makes no sense."""
        if self.status == 200:
            answers = [_read(line) for line in self.body.split(b"\n") if line.strip()]
            if len(answers) != len(updates):
                raise self._nonsense()
            return [self._outcome(update, answer) for update, answer in zip(updates, answers)]
        problem = _problem.read(_read(self.body))
        if self.status in (401, 403):
            return [self._credential_refused(problem)] * len(updates)
        is_the_batch = self.status == 413 or self._may_be_about_content
        if is_the_batch or (problem is not None and problem.is_about_the_job):
            raise BatchRejected(f"the server answered {self.status} {self.reason}")
        raise self._failure(problem)

    def reporting_refused(self) -> Optional[WatchRefused]:
        """The meaning of the response to `_NO_UPDATE`: see `Http.may_report`."""
        problem = _problem.read(_read(self.body))
        if problem is not None and problem.name == "invalid-update":
            return None
        if problem is not None and problem.is_ours and 400 <= self.status < 500 and not self._is_passing:
            return WatchRefused(self.status, problem.detail)
        raise self._failure(problem)

    def log_outcome(self) -> Optional[Union[Busy, Refused]]:
        """Why lines of a log were not taken; None if they were. Raises Failure where the answer is about the server, or
        makes no sense."""
        if self.status == 200:
            return None
        problem = _problem.read(_read(self.body))
        detail = self.reason if problem is None else problem.detail
        if problem is not None and problem.name in ("unknown-job", "unreadable-job", "broker-full"):
            # The job's first update may still be on its way.
            return Busy(detail, self.retry_after)
        if self.status in (401, 403):
            return self._credential_refused(problem)
        if self.status == 413 or (problem is not None and problem.is_about_the_job):
            return Refused(Refusal("" if problem is None else problem.name, detail))
        raise self._failure(problem)

    def _outcome(self, update: Outgoing, answer: Any) -> Outcome:
        accepted = _accepted(answer, update)
        if accepted is not None:
            return accepted
        problem = _problem.read(answer)
        if problem is None or not problem.is_ours:
            raise self._nonsense()
        return outcome_of(problem, self.retry_after)

    def _credential_refused(self, problem: Optional[_problem.Problem]) -> Busy:
        """The credential is rejected, not the update. It may be renewed, or be allowed more.

        So updates stay pending, as during an outage: those of all jobs if the credential is not valid (401), those of
        the jobs that it does not allow otherwise (403).
        """
        reason = _say_refused(self.status, self.reason if problem is None else problem.detail)
        if self.status == 401:
            raise RetryLater(reason, self.retry_after)
        return Busy(reason, self.retry_after)

    @property
    def _is_passing(self) -> bool:
        """Timeout and too many requests: 4xx that do not concern the update."""
        return self.status in (408, 429)

    @property
    def _may_be_about_content(self) -> bool:
        """Whether a 4xx of another program, such as a proxy, may be about what was sent: then it concerns this job
        alone. After any other one, the server is not there, as while it is replaced."""
        return self.status in (400, 406, 422)

    @property
    def _not_milepost(self) -> str:
        return f"what answers ({self.status} {self.reason}) is not a Milepost server"

    def _failure(self, problem: Optional[_problem.Problem]) -> Failure:
        if self.status >= 500 or self._is_passing:
            detail = problem.detail if problem is not None else self.reason
            return RetryLater(f"the server answered {self.status}: {detail}", self.retry_after)
        if 300 <= self.status < 400:
            location = self.location or "an address that it does not name"
            return Lost(f"the server answered {self.status} and redirects to {location}: report to that address")
        return self._nonsense()

    def _nonsense(self) -> Lost:
        return Lost(self._not_milepost)


def outcome_of(problem: _problem.Problem, retry_after: Optional[float]) -> Outcome:
    refusal = Refusal(problem.name, problem.detail, problem.attempt, problem.position)
    if problem.name in ("attempt-ended", "attempt-superseded"):
        return AttemptOver(refusal)
    if problem.status in (401, 403):
        return Busy(_say_refused(problem.status, problem.detail), retry_after)
    if problem.status >= 500 or problem.status in (408, 429):
        return Busy(problem.detail, retry_after, is_full=problem.name == "broker-full")
    if problem.status in (400, 413, 422):
        return Unacceptable(refusal, is_too_large=problem.status == 413)
    return Refused(refusal)


def _say_refused(status: int, detail: str) -> str:
    return f"the server refuses the credential ({status}): {detail}"


def _accepted(answer: Any, update: Outgoing) -> Optional[Accepted]:
    if not isinstance(answer, dict) or answer.get("job_id") != update.job_id:
        return None
    attempt, position = answer.get("attempt"), answer.get("position")
    if not isinstance(position, str):
        return None
    requested = _request.read(answer.get("requested"))
    return Accepted(attempt if isinstance(attempt, int) else None, position, requested)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def retry_after(header: Optional[str]) -> Optional[float]:
    """In seconds. The other form, a date, is taken as none: the backoff serves as well."""
    text = (header or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
