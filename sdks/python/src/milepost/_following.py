"""What is known of a job that is watched in Redis, and what of its channel is news: section 14 of the protocol."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from typing import Any, Optional

from . import _foreign
from ._cursor import Cursor
from ._http_source import read_state
from ._outcome import Lost
from ._redis_client import MAX_STATES, RedisClient, say
from ._state import State

READ_AGAIN = (8.0, 12.0)
"""A job that is watched is read again after so many seconds, drawn anew each time: a plain PUBLISH may be lost
without a trace."""
READ_AGAIN_SOON = (0.8, 1.2)
"""The first time, and where something is left to be told: today's worker may have been between its two commands."""


class Read:
    """What is kept of a job."""

    def __init__(self, client: RedisClient, job_id: str, after: Optional[str], most: int) -> None:
        (answer,) = client.run([client.read(job_id, after, most)])
        if isinstance(answer, Exception):
            raise Lost(say(answer))
        try:
            self.left: Optional[bytes] = answer[0] or None if answer else None
            """What today's worker left under the key, unless it is the newest state."""
            self.serial = int(answer[1]) if answer else 0
            """That of the publish taken last; 0 if none was."""
            self.secret: bytes = answer[2] if answer else b""
            """What the proofs of the states that the script publishes are made with."""
            states = [read_state(text) for text in reversed(answer[3:])]
        except (IndexError, TypeError, ValueError) as error:
            raise Lost(f"Redis answered with something else than the read script does: {error}") from error
        self.states = [state for state in states if state is not None]
        """Oldest first."""


class Taken:
    """What became of something that today's worker said."""

    def __init__(self, client: RedisClient, job_id: str, data: bytes, origin: str, after: Optional[int] = None) -> None:
        self.state: Optional[State] = None
        """What it led to; None if to nothing."""
        self.serial: Optional[int] = None
        self.kind = b""
        try:
            update = _foreign.read(job_id, data)
        except _foreign.Unreadable:
            # The old service passed anything on, and pages ignored it.
            return
        before = data.decode() if origin == "key" else after
        (answer,) = client.run([client.report(job_id, update, None, origin=origin, after=before)])
        if isinstance(answer, Exception) or not answer:
            # There may be no memory for it; what comes next may find some.
            return
        self.kind = answer[0]
        client.tell_index(job_id, answer)
        if self.kind in (b"new", b"heard"):
            self.state, self.serial = read_state(answer[1]), int(answer[2])


class Following:
    """A job on one connection, from the subscription on.

    The reads go over another connection than the messages. So a read is followed by a ping where the messages come:
    what was published before the answer to that may be in what was read, or be older.
    """

    def __init__(self, client: RedisClient, job_id: str, subscription: Any, since: Optional[str]) -> None:
        self._client = client
        self._job_id = job_id
        self._subscription = subscription
        self._cursor = Cursor(since)
        self._serial: Optional[int] = None
        """That of the publish taken last; None while publishes are not taken, since some may have been missed."""
        self._pinged: Optional[tuple[bytes, int]] = None
        """What the answer to the ping will say, and the serial that was read before."""
        self._pings = 0
        self._left: Optional[bytes] = None
        """What the last read found under the key, and nobody has published since."""
        self._last: Optional[bytes] = None
        """The publish taken last, which its worker will have written under the key."""
        self._is_first = True
        self._secret = b""
        self.read_at = 0.0
        """When to read again."""

    def read(self, is_soon: bool = False) -> list[State]:
        """The job as it is now: what is news of it, oldest first. It is read again, `is_soon` or later."""
        is_first, self._is_first = self._is_first, False
        after = self._cursor.latest
        read = Read(self._client, self._job_id, after, MAX_STATES if after else 1)
        self._secret = read.secret
        left = read.left if read.left != self._last else None
        if left is not None and ((is_first and not read.states) or left == self._left):
            # It is all that is known. Or else it has lain there for a second, so that it is what came last.
            taken = Taken(self._client, self._job_id, left, "key")
            self._last, self._left, left = left, None, None
            if taken.kind == b"new":
                self._serial = None
                after = self._cursor.latest
                read = Read(self._client, self._job_id, after, MAX_STATES if after else 1)
                self._secret = read.secret
        self._left = left
        if self._serial is None:
            self._pings += 1
            self._pinged = (b"%d" % self._pings, read.serial)
            self._subscription.ping(self._pinged[0])
        is_soon = is_soon or is_first or left is not None
        self.read_at = time.monotonic() + random.uniform(*(READ_AGAIN_SOON if is_soon else READ_AGAIN))
        states = read.states
        if after is not None and any(_epoch(state.position) != _epoch(after) for state in states):
            # Of another life of the job the newest state will do.
            states = states[-1:]
        return [state for state in states if self._is_news(state)]

    def message(self, message: Any) -> list[State]:
        """What is news by a message on the channel, oldest first. Raises Lost."""
        kind, data = message["type"], message["data"]
        if kind in ("unsubscribe", "sunsubscribe"):
            raise Lost("Redis has given the channel away")
        if not isinstance(data, bytes):
            return []
        if kind == "pong" and self._pinged is not None and data == self._pinged[0]:
            self._serial, self._pinged = self._pinged[1], None
        if kind not in ("message", "smessage"):
            return []
        state, proof = _published(data)
        if state is not None:
            return self._one(state) if self._is_proven(state, proof) else self.read()
        if _is_forgotten(data):
            return []
        if self._serial is None:
            # Others may take it, after the read that was made before.
            self.read_at = min(self.read_at, time.monotonic() + random.uniform(*READ_AGAIN_SOON))
            return []
        return self._publish(data)

    def _publish(self, data: bytes) -> list[State]:
        """Today's worker has published that."""
        self._left = None
        taken = Taken(self._client, self._job_id, data, "publish", self._serial)
        if taken.kind == b"stale":
            # Others know more, or have known it.
            self._serial = None
            return self.read(is_soon=True)
        self._last = data
        if taken.serial is not None:
            self._serial = taken.serial
        return self._one(taken.state) if taken.state is not None else []

    def _one(self, state: State) -> list[State]:
        """A state that came alone; where some before it did not come, a read tells them all."""
        if state.get("job_id") != self._job_id or state.position is None:
            return []
        if self._cursor.misses_before(state.position):
            return self.read()
        return [state] if self._is_news(state) else []

    def _is_proven(self, state: State, proof: Optional[bytes]) -> bool:
        """Whether the script has published it; anybody may publish."""
        if proof is None or not self._secret or state.position is None:
            return False
        made = hashlib.sha1(self._secret + state.position.encode(), usedforsecurity=False).hexdigest()
        return proof == made[: len(proof)].encode()

    def _is_news(self, state: State) -> bool:
        return state.position is not None and self._cursor.advance(state.position)


def _epoch(position: Optional[str]) -> str:
    return (position or "").partition("-")[0]


_PROOF = re.compile(rb',"proof":"([0-9a-f]{16})"}$')


def _published(data: bytes) -> tuple[Optional[State], Optional[bytes]]:
    """The state that a message is, and the proof that comes with it."""
    proof = _PROOF.search(data)
    if proof is None:
        return read_state(data), None
    return read_state(data[: proof.start()] + b"}"), proof[1]


def _is_forgotten(data: bytes) -> bool:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and told.get("type") == "forgotten"
