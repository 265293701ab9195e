"""A job that is watched in Redis: its states, as the scripts write them. Section 14 of the protocol.

Publishes of legacy workers are folded by servers. Here they only lead to a read soon after.
"""

from __future__ import annotations

import hashlib
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
"""A watched job is read again after a random number of seconds in this range, because a publish may be lost."""
READ_AGAIN_SOON = (0.8, 1.2)
"""After the first read, and after a message that is not a state: the next read has the state that it led to."""


class Read:
    """A job's latest states."""

    def __init__(self, client: RedisClient, job_id: str, after: Optional[str], most: int) -> None:
        (answer,) = client.run([client.read(job_id, after, most)])
        if isinstance(answer, Exception):
            raise Lost(say(answer))
        self.is_known = bool(answer)
        """Whether there is anything of the job."""
        try:
            self.legacy_value: Optional[bytes] = answer[0] or None if answer else None
            """What a legacy worker set under the key, unless it is the newest state."""
            self.secret: bytes = answer[2] if answer else b""
            """What the proofs of published states are made with."""
            states = [read_state(text) for text in reversed(answer[3:])]
        except (IndexError, TypeError, ValueError) as error:
            raise Lost(f"unexpected reply from the read script: {error}") from error
        self.states = [state for state in states if state is not None]
        """Oldest first."""


def fold_legacy_value(client: RedisClient, job_id: str, value: bytes) -> Optional[State]:
    """Folds what a legacy worker set under the job's key, and returns the state that it led to.

    None if the value is not an update, was removed, or was folded before.
    """
    try:
        update = _foreign.read(job_id, value)
    except _foreign.Unreadable:
        # The old service passed anything on, and pages ignored it.
        return None
    (answer,) = client.run([client.report(job_id, update, None, origin="key", after=value.decode())])
    if isinstance(answer, Exception) or not answer or answer[0] != b"new":
        return None
    client.update_index(job_id, answer)
    client.update_clock(job_id, answer)
    return read_state(answer[1])


class Following:
    """A subscribed job: which states of its reads and messages are newer.

    The reads go over another connection than the messages, so either may come first. The cursor drops what is old.
    """

    def __init__(self, client: RedisClient, job_id: str, since: Optional[str]) -> None:
        self._client = client
        self._job_id = job_id
        self._cursor = Cursor(since)
        self._is_first = True
        self._secret = b""
        self.is_known = True
        """Whether the latest read found anything of the job."""
        self.read_at = 0.0
        """When to read again."""

    @property
    def has_seen(self) -> bool:
        """Whether there ever was a state of the job."""
        return self._cursor.latest is not None

    def read(self) -> list[State]:
        """After a read: the newer states, oldest first."""
        is_first, self._is_first = self._is_first, False
        after = self._cursor.latest
        read = self._read(after)
        if (
            not read.states
            and after is None
            and read.legacy_value is not None
            and fold_legacy_value(self._client, self._job_id, read.legacy_value) is not None
        ):
            # Only a legacy worker has reported the job, and no server has looked at it yet.
            read = self._read(after)
        self._secret, self.is_known = read.secret, read.is_known
        self.read_at = time.monotonic() + random.uniform(*(READ_AGAIN_SOON if is_first else READ_AGAIN))
        states = read.states
        if after is not None and any(_epoch(state.position) != _epoch(after) for state in states):
            # Of another epoch the newest state suffices.
            states = states[-1:]
        return [state for state in states if self._is_news(state)]

    def _read(self, after: Optional[str]) -> Read:
        return Read(self._client, self._job_id, after, MAX_STATES if after else 1)

    def message(self, message: Any) -> list[State]:
        """After a message on the channel: the newer states, oldest first. Raises Lost."""
        kind, data = message["type"], message["data"]
        if kind in ("unsubscribe", "sunsubscribe"):
            raise Lost("Redis has moved the channel to another server")
        if kind not in ("message", "smessage") or not isinstance(data, bytes):
            return []
        state, proof = _published(data)
        if state is not None:
            return self._one(state) if self._is_proven(state, proof) else self.read()
        # A legacy publish, which a server may fold; or the job was forgotten.
        self.read_at = min(self.read_at, time.monotonic() + random.uniform(*READ_AGAIN_SOON))
        return []

    def _one(self, state: State) -> list[State]:
        """A state from a message. If earlier ones were missed, a read returns them all."""
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
