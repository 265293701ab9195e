"""Reports by POST: section 10 of the protocol."""

from __future__ import annotations

import http.client
import itertools
import json
import time
from collections.abc import Sequence
from typing import Any, Optional

from . import _problem
from ._connection import Connection
from ._outcome import Accepted, AttemptOver, Busy, LeaveAlone, Lost, NoBatch, Outcome, Refusal, Refused, Unacceptable
from ._transport import Outgoing

MAX_ANSWER = 1 << 18
"""An answer's body is not read beyond this, a batch's beyond 64 KiB for each update, or 16 MiB."""

MAX_REDIRECTS = 5
"""Redirects that one request follows: those that keep its method and its body."""


class Http:
    def __init__(self, url: str, token: Optional[str]) -> None:
        self._connection = Connection(url, token)

    def send(self, updates: Sequence[Outgoing], timeout: float) -> list[Outcome]:
        if len(updates) == 1:
            return [self._send_one(updates[0], timeout)]
        return self._send_batch(updates, timeout)

    def close(self) -> None:
        self._connection.release()

    def _post(
        self, path: str, kind: str, body: bytes, updates: int, timeout: float
    ) -> tuple[http.client.HTTPResponse, bytes]:
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
        return response, answer

    def _send_one(self, update: Outgoing, timeout: float) -> Outcome:
        response, body = self._post(f"/jobs/{update.job_id}", "application/json", update.update.data, 1, timeout)
        answer = _read(body)
        if response.status == 200:
            accepted = _accepted(answer, update)
            if accepted is not None:
                return accepted
        problem = _problem.read(answer)
        if problem is not None and problem.is_about_the_job:
            return outcome_of(problem, _retry_after(response))
        if response.status == 413:
            # A proxy's own bound on bodies.
            return Unacceptable(Refusal("", "the server answered 413: the update is too large"), is_too_large=True)
        if 400 <= response.status < 500 and not _is_passing(response):
            return Refused(Refusal("", f"the server answered {response.status} {response.reason}"))
        raise _whole_request(response, problem)

    def _send_batch(self, updates: Sequence[Outgoing], timeout: float) -> list[Outcome]:
        lines = b"".join(update.update.data + b"\n" for update in updates)
        response, body = self._post("/updates", "application/x-ndjson", lines, len(updates), timeout)
        if response.status == 200:
            answers = [_read(line) for line in body.split(b"\n") if line.strip()]
            if len(answers) != len(updates):
                raise _nonsense(response)
            retry_after = _retry_after(response)
            return [_outcome(*pair, retry_after, response) for pair in zip(updates, answers)]
        if 400 <= response.status < 500 and not _is_passing(response):
            raise NoBatch(f"the server answered {response.status} {response.reason}")
        raise _whole_request(response, _problem.read(_read(body)))


def outcome_of(problem: _problem.Problem, retry_after: Optional[float]) -> Outcome:
    refusal = Refusal(problem.name, problem.detail, problem.attempt, problem.position)
    if problem.name in ("attempt-ended", "attempt-superseded"):
        return AttemptOver(refusal)
    if problem.status >= 500 or problem.status in (408, 429):
        return Busy(problem.detail, retry_after, is_full=problem.name == "broker-full")
    if problem.status in (400, 413, 422):
        return Unacceptable(refusal, is_too_large=problem.status == 413)
    return Refused(refusal)


def _outcome(
    update: Outgoing, answer: Any, retry_after: Optional[float], response: http.client.HTTPResponse
) -> Outcome:
    accepted = _accepted(answer, update)
    if accepted is not None:
        return accepted
    problem = _problem.read(answer)
    if problem is None:
        raise _nonsense(response)
    return outcome_of(problem, retry_after)


def _accepted(answer: Any, update: Outgoing) -> Optional[Accepted]:
    if not isinstance(answer, dict) or answer.get("job_id") != update.job_id:
        return None
    attempt, position = answer.get("attempt"), answer.get("position")
    if not isinstance(position, str):
        return None
    return Accepted(attempt if isinstance(attempt, int) else None, position)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _is_passing(response: http.client.HTTPResponse) -> bool:
    """Timeout and too many requests: 4xx that say nothing of the update."""
    return response.status in (408, 429)


def _whole_request(response: http.client.HTTPResponse, problem: Optional[_problem.Problem]) -> Exception:
    if response.status >= 500 or _is_passing(response):
        said = problem.detail if problem is not None else response.reason
        return LeaveAlone(f"the server answered {response.status}: {said}", _retry_after(response))
    if 300 <= response.status < 400:
        location = response.getheader("Location") or "an address that it does not name"
        return Lost(f"the server answered {response.status} and redirects to {location}: report to that address")
    return _nonsense(response)


def _nonsense(response: http.client.HTTPResponse) -> Lost:
    return Lost(f"what answers ({response.status} {response.reason}) is not a Milepost server")


def _retry_after(response: http.client.HTTPResponse) -> Optional[float]:
    return retry_after(response.getheader("Retry-After"))


def retry_after(header: Optional[str]) -> Optional[float]:
    """In seconds. The other form, a date, is taken as none: the backoff serves as well."""
    text = (header or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
