"""States from a Redis or Valkey: section 14 of the protocol."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from typing import Any, Optional

import redis

from . import _foreign
from ._http_source import read_state
from ._outcome import Lost
from ._redis_client import MAX_STATES, PATIENCE, RedisClient, say
from ._source import Ended, Query
from ._state import State

REREAD = (8.0, 12.0)
"""A job that is watched is read again after so many seconds, drawn anew each time: a plain PUBLISH may be lost
without a trace."""
_TURN = 0.5
"""How long is waited at once, so that `close` is heard."""


class RedisSource:
    def __init__(self, url: str, job_id: str) -> None:
        self._client = RedisClient(url)
        self._job_id = job_id
        self._closed = threading.Event()
        self.has_connected = False

    def state(self, timeout: float) -> Optional[State]:
        """The job's present state; what today's worker left is taken first."""
        states = self._read(None, 1)
        return states[-1] if states else None

    def _read(self, since: Optional[str], most: int) -> list[State]:
        (answer,) = self._client.run([self._client.read(self._job_id, since, most)])
        if isinstance(answer, Exception):
            raise Lost(say(answer))
        if not answer:
            return []
        states = [state for state in map(read_state, reversed(answer[1:])) if state is not None]
        if answer[0]:
            left = self._take(answer[0], origin="key")
            if left is not None:
                states.append(left)
        return states

    def _missed(self, since: Optional[str]) -> list[State]:
        """What came after that position; the newest state alone where that is of another epoch."""
        if since is None:
            return self._read(None, 1)[-1:]
        states = self._read(since, MAX_STATES)
        epoch = since.partition("-")[0]
        is_same = all((state.position or "").partition("-")[0] == epoch for state in states)
        return states if is_same else states[-1:]

    def _take(self, data: bytes, origin: str, after: str = "") -> Optional[State]:
        """What a plain PUBLISH or SETEX of today's worker makes of the job; None if it makes nothing of it."""
        try:
            update = _foreign.read(self._job_id, data)
        except _foreign.Unreadable:
            return None
        (answer,) = self._client.run([self._client.report(self._job_id, update, PATIENCE, origin=origin, after=after)])
        if isinstance(answer, list) and answer and answer[0] in (b"new", b"repeated", b"heard"):
            return read_state(answer[1])
        return None

    def states(self, query: Query) -> Iterator[State]:
        subscription = self._subscribe()
        try:
            # Subscribed first, read then: nothing falls between the two.
            seen = query.since or ""
            for state in self._missed(query.since):
                yield state
                seen = state.position or seen
                self._end(state)
            yield from self._follow(subscription, query, seen)
        except redis.RedisError as error:
            raise Lost(say(error)) from error
        finally:
            try:
                subscription.close()
            except (redis.RedisError, OSError):
                pass

    def _subscribe(self) -> Any:
        connection = self._client.connection()
        self.has_connected = True
        try:
            subscription = connection.pubsub(ignore_subscribe_messages=False)
            channel = self._client.names.channel(self._job_id)
            if self._client.names.is_cluster:
                subscription.ssubscribe(channel)
            else:
                subscription.subscribe(channel)
            deadline = time.monotonic() + PATIENCE
            while (message := self._message(subscription, PATIENCE)) is None or "subscribe" not in message["type"]:
                if time.monotonic() > deadline:
                    raise Lost("Redis does not answer in time")
        except redis.RedisError as error:
            self._client.release()
            raise Lost(say(error)) from error
        return subscription

    def _message(self, subscription: Any, timeout: float) -> Any:
        if self._client.names.is_cluster:
            return subscription.get_sharded_message(timeout=timeout)
        return subscription.get_message(timeout=timeout)

    def _follow(self, subscription: Any, query: Query, seen: str) -> Iterator[State]:
        interval = 1 / query.max_rate if query.max_rate else 0.0
        is_latest = query.mode == "latest" or interval > 0
        held: Optional[State] = None
        not_before = 0.0
        reread_at = time.monotonic() + random.uniform(*REREAD)
        while not self._closed.is_set():
            now = time.monotonic()
            if held is not None and now >= not_before:
                # Newer ones that are there already go first.
                message = self._message(subscription, 0) if is_latest else None
                if message is None:
                    yield held
                    held, not_before = None, now + interval
                    continue
            else:
                until = min(reread_at, not_before if held is not None else reread_at, now + _TURN)
                message = self._message(subscription, max(0.0, until - now))
            if message is not None:
                states = self._heard(message, seen)
            elif time.monotonic() >= reread_at:
                reread_at = time.monotonic() + random.uniform(*REREAD)
                states = self._missed(seen or None)
            else:
                continue
            for state in states:
                seen = state.position or seen
                if is_latest and not state.has_ended:
                    held = state
                else:
                    held = None
                    yield state
                    self._end(state)

    def _heard(self, message: dict[str, Any], seen: str) -> list[State]:
        data = message["data"]
        if message["type"] not in ("message", "smessage") or not isinstance(data, bytes):
            return []
        state = read_state(data)
        if state is not None:
            return [state] if state.get("job_id") == self._job_id else []
        try:
            told = json.loads(data)
        except (ValueError, RecursionError):
            return []
        if isinstance(told, dict) and told.get("type") == "forgotten":
            return []
        # What was reported between the publish and the taking of it goes before it, and has not been heard yet.
        return self._missed(seen or None) if self._take(data, origin="publish", after=seen) is not None else []

    def _end(self, state: State) -> None:
        if state.has_ended:
            raise Ended

    def close(self) -> None:
        self._closed.set()

    def release(self) -> None:
        self._client.release()
