"""States from a Milepost server: sections 8 and 9 of the protocol."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Optional
from urllib.parse import urlencode

from . import _credential, _http, _notice, _problem
from ._connection import Connection
from ._credential import Token
from ._events import Event, Events, TooLong
from ._forgotten import Forgotten
from ._outcome import Lost, RetryLater
from ._refused import JobForgotten, WatchRefused
from ._source import Ended, Query
from ._state import State

MAX_STATE = 1 << 20


class HttpSource:
    def __init__(self, url: str, token: Token, job_id: str) -> None:
        self._connection = Connection(url, token)
        self._rejections = _credential.Rejections(token)
        self._forgotten = Forgotten()
        self._asked = 0.0
        self._job_id = job_id
        self._path = f"/jobs/{job_id}"
        self.retry: Optional[float] = None
        """How long the server asked to wait before reconnecting, in seconds."""
        self.has_connected = False
        """Whether a server has ever answered as one: then a 404 may be a restart's."""

    def state(self, timeout: float) -> Optional[State]:
        """The job's present state; None if it is not known. Raises Failure or WatchRefused."""
        deadline = time.monotonic() + timeout
        response = self._connection.ask("GET", f"{self._path}/status", timeout)
        body = self._connection.read(response, MAX_STATE)
        if response.status == 200:
            state = read_state(body)
            if state is None:
                raise Lost("the server is not a Milepost server")
            return state
        problem = _problem.read(_decode(body))
        if problem is not None and problem.name == "unknown-job":
            return None
        raise self._refusal(response, problem, max(0.0, deadline - time.monotonic()))

    def states(self, query: Query) -> Iterator[State]:
        """The states of one connection, the present one first, until it is lost. Raises Ended after the end, Failure
        when the connection is lost, JobForgotten, WatchRefused."""
        try:
            yield from self._states(query)
        finally:
            self._forgotten.disconnected(time.monotonic())

    def _states(self, query: Query) -> Iterator[State]:
        known = {
            "since": query.since,
            "mode": query.mode if query.mode != "all" else None,
            "max_rate": query.max_rate,
        }
        wanted = urlencode({name: value for name, value in known.items() if value is not None})
        path = f"{self._path}/events?{wanted}" if wanted else f"{self._path}/events"
        # A connection of its own each time: what is left of the one before may be anything.
        self._connection.release()
        self._asked = time.monotonic()
        response = self._connection.ask("GET", path, query.silence, headers={"Accept": "text/event-stream"})
        if response.status == 204:
            raise Ended
        kind = (response.getheader("Content-Type") or "").partition(";")[0].strip()
        if response.status != 200 or kind != "text/event-stream":
            body = self._connection.read(response, MAX_STATE)
            problem = _problem.read(_decode(body))
            if response.status == 401:
                raise self._rejections.reject(problem.detail if problem else response.reason, self._asked)
            raise self._refusal(response, problem, query.silence)
        events = Events()
        has_seen = query.since is not None
        while True:
            # At least a keepalive comes every few seconds.
            if self._forgotten.is_over(time.monotonic()):
                raise JobForgotten(self._job_id)
            piece = self._connection.read_some(response, query.silence)
            if not piece:
                raise RetryLater("the server closed the connection", self.retry)
            try:
                found = events.feed(piece)
            except TooLong as error:
                raise Lost(f"the server is not a Milepost server: {error}") from error
            self.retry = events.retry
            for event in found:
                state = self._read(event, has_seen)
                if state is not None:
                    has_seen = True
                    self._forgotten.known()
                    yield state

    def _read(self, event: Event, has_seen: bool) -> Optional[State]:
        if event.name == "connected":
            self.has_connected = True
            self._rejections.accept()
            document = _decode(event.data.encode())
            if isinstance(document, dict) and document.get("known") is False and has_seen:
                self._forgotten.unknown(time.monotonic())
        if event.name == "unknown-job" and has_seen:
            self._forgotten.unknown(time.monotonic())
        if event.name == "unreadable-job":
            problem = _problem.read(_decode(event.data.encode()))
            detail = f": {problem.detail}" if problem is not None else ""
            _notice.notify(f"the server cannot read {self._job_id}{detail}")
        if event.name == "end":
            raise Ended
        return read_state(event.data.encode()) if event.name == "message" else None

    def _refusal(
        self, response: http.client.HTTPResponse, problem: Optional[_problem.Problem], timeout: float
    ) -> Exception:
        detail = problem.detail if problem is not None else response.reason
        # By definition, a request that got 408, 425 or 429 may succeed later.
        if 400 <= response.status < 500 and response.status not in (408, 425, 429) and not self.has_connected:
            return WatchRefused(response.status, detail)
        if response.status < 400:
            return Lost(f"what answers ({response.status} {response.reason}) is not a Milepost server")
        wait = _http.retry_after(response.getheader("Retry-After"))
        return RetryLater(f"the server answered {response.status}: {detail}", wait)

    def close(self) -> None:
        """Ends what is waited for, from any thread."""
        self._connection.close()

    def release(self) -> None:
        """Closes the connection."""
        self._connection.release()


def read_state(data: bytes) -> Optional[State]:
    """The state in a JSON text; None if there is none."""
    document = _decode(data)
    if not isinstance(document, dict) or not isinstance(document.get("position"), str):
        return None
    return State(document) if isinstance(document.get("job_id"), str) else None


def _decode(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
