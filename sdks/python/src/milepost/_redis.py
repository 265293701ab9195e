"""Reports to Redis or Valkey: section 14 of the protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, Optional

import redis

from . import _foreign, _request
from ._outcome import Accepted, AttemptOver, Busy, Lost, Outcome, Refusal, Refused
from ._redis_client import RedisClient, is_end, say
from ._transport import Outgoing

_FULL = Busy("Redis has reached its maxmemory", is_full=True)
_LATE = Busy("Redis did not answer in time")
_MAX_LEVELS = 8
"""A tree of jobs has so many levels: section 18."""


class Redis:
    """Each report is one script, which does it all in one step: the fold, the states, the publish."""

    def __init__(self, url: str) -> None:
        self._client = RedisClient(url)

    def send(self, updates: Sequence[Outgoing], timeout: float) -> list[Outcome]:
        self._client.connection()
        outcomes: list[Outcome] = [_LATE] * len(updates)
        # A parent's end shows those of its children that it has been notified of.
        for level in _levels(updates):
            left = level
            # Once more for those that were late by another clock only, or come after what a legacy worker left.
            for is_last in (False, True):
                begun = time.monotonic() * 1_000
                calls = [self._client.report(*updates[at], timeout) for at in left]
                again = []
                for at, answer in zip(left, self._client.run(calls)):
                    outcome = self._read(updates[at], answer, timeout, begun, is_last)
                    if outcome is None:
                        again.append(at)
                    else:
                        outcomes[at] = outcome
                left = again
                if not left:
                    break
        return outcomes

    def _read(self, sent: Outgoing, answer: Any, timeout: float, begun: float, is_last: bool) -> Optional[Outcome]:
        """What became of it; None if it is to be sent again."""
        if isinstance(answer, redis.exceptions.OutOfMemoryError):
            return _FULL
        if isinstance(answer, Exception):
            return Refused(Refusal("", say(answer)))
        try:
            kind = answer[0]
            if kind == b"adopt":
                return self._adopt(sent, answer[1], timeout)
            if kind == b"late":
                return _LATE if is_last or self._client.was_late(answer[1], timeout, begun) else None
            return self._outcome(sent.job_id, answer)
        except (IndexError, TypeError, KeyError, ValueError) as error:
            raise Lost(f"unexpected reply from the report script: {error}") from error

    def _outcome(self, job_id: str, answer: list[bytes]) -> Outcome:
        kind = answer[0]
        if kind in (b"new", b"repeated"):
            state = json.loads(answer[1])
            self._client.update_index(job_id, answer)
            self._client.update_clock(job_id, answer)
            self._client.leave_parent(job_id, answer)
            self._client.notify_parent(job_id, state)
            return Accepted(state["attempt"], state["position"], _request.read(state.get("requested")))
        if kind == b"ended":
            attempt, status, position = (part.decode() for part in answer[1:4])
            detail = f"attempt {attempt} of {job_id} has ended: {status}"
            return AttemptOver(Refusal("attempt-ended", detail, int(attempt), position))
        if kind == b"superseded":
            attempt, position = (part.decode() for part in answer[1:3])
            detail = f"attempt {attempt} of {job_id} has begun"
            return AttemptOver(Refusal("attempt-superseded", detail, int(attempt), position))
        raise ValueError(kind)

    def _adopt(self, sent: Outgoing, found: bytes, timeout: float) -> Outcome:
        """A legacy worker has reported this job before, and its value is not folded yet: fold it first."""
        try:
            update = _foreign.read(sent.job_id, found)
        except _foreign.Unreadable:
            pass_over = True
        else:
            (answer,) = self._client.run(
                [self._client.report(sent.job_id, update, timeout, origin="key", after=found.decode())]
            )
            # There may be no room for the value before it, but there always is for the end.
            pass_over = isinstance(answer, redis.exceptions.OutOfMemoryError) and is_end(sent.update)
            if not isinstance(answer, Exception):
                self._client.update_index(sent.job_id, answer)
                self._client.update_clock(sent.job_id, answer)
        (answer,) = self._client.run([self._client.report(*sent, timeout, pass_over=pass_over)])
        if isinstance(answer, redis.exceptions.OutOfMemoryError):
            return _FULL
        if isinstance(answer, Exception):
            return Refused(Refusal("", say(answer)))
        return _LATE if answer[0] in (b"adopt", b"late") else self._outcome(sent.job_id, answer)

    def append_log(self, job_id: str, lines: bytes, timeout: float) -> Optional[Refused]:
        return Refused(Refusal("", "logs take a server's address, http(s)://…, not redis://"))

    def close(self) -> None:
        self._client.release()


def _levels(updates: Sequence[Outgoing]) -> list[list[int]]:
    """The places of the updates: those of jobs without children among them, then those of their parents, and so on."""
    places = {update.job_id: at for at, update in enumerate(updates)}
    parents = [places.get(json.loads(sent.update.fields.get("parent_id", "null"))) for sent in updates]
    heights = [0] * len(updates)
    for parent in parents:
        for height in range(1, _MAX_LEVELS):
            if parent is None:
                break
            heights[parent] = max(heights[parent], height)
            parent = parents[parent]
    return [[at for at, own in enumerate(heights) if own == height] for height in range(max(heights, default=0) + 1)]
