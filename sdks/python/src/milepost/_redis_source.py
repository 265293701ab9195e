"""States from a Redis or Valkey: section 14 of the protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Optional

import redis

from ._following import Following, Read, fold_legacy_value
from ._forgotten import Forgotten
from ._outcome import Lost
from ._redis_client import PATIENCE, RedisClient, say
from ._refused import JobForgotten
from ._source import Ended, Query
from ._state import State

_TURN = 0.5
"""The longest wait at a time, so that `close` is noticed."""


class RedisSource:
    def __init__(self, url: str, job_id: str) -> None:
        self._client = RedisClient(url)
        self._job_id = job_id
        self._closed = threading.Event()
        self._forgotten = Forgotten()
        self.has_connected = False
        self._all_servers: Any = None

    def state(self, timeout: float) -> Optional[State]:
        """The job's present state. What a legacy worker set under the job's key is folded first."""
        read = Read(self._client, self._job_id, None, 1)
        if read.legacy_value is not None:
            folded = fold_legacy_value(self._client, self._job_id, read.legacy_value)
            if folded is not None:
                return folded
        return read.states[-1] if read.states else None

    def states(self, query: Query) -> Iterator[State]:
        subscription = self._subscribe()
        try:
            # Subscribed first, read then: nothing falls between the two.
            yield from self._follow(subscription, query)
        except (redis.RedisError, OSError, ValueError) as error:
            # What of its sockets redis-py lets through is a lost connection as well.
            raise Lost(say(error)) from error
        finally:
            self._forgotten.disconnected(time.monotonic())
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
                # It closes those of its servers with itself.
                self._all_servers = subscription
                # There is one channel, so one server.
                (subscription,) = subscription.node_pubsub_mapping.values()
            else:
                subscription.subscribe(channel)
            deadline = time.monotonic() + PATIENCE
            while (message := subscription.get_message(timeout=PATIENCE)) is None or "subscribe" not in message["type"]:
                if time.monotonic() > deadline:
                    raise Lost("Redis did not answer in time")
        except redis.RedisError as error:
            self._client.release()
            raise Lost(say(error)) from error
        return subscription

    def _follow(self, subscription: Any, query: Query) -> Iterator[State]:
        following = Following(self._client, self._job_id, query.since)
        interval = 1 / query.max_rate if query.max_rate else 0.0
        is_latest = query.mode == "latest" or interval > 0
        held: Optional[State] = None
        not_before = 0.0
        states = self._read(following)
        while not self._closed.is_set():
            if states:
                self._forgotten.known()
            for state in states:
                if is_latest and not state.has_ended:
                    held = state
                else:
                    held = None
                    yield state
                    if state.has_ended:
                        raise Ended
            now = time.monotonic()
            if held is not None and now >= not_before:
                # Newer ones that are there already go first.
                message = subscription.get_message(timeout=0) if is_latest else None
                if message is None:
                    yield held
                    held, not_before = None, now + interval
            else:
                until = min(following.read_at, not_before if held is not None else following.read_at, now + _TURN)
                message = subscription.get_message(timeout=max(0.0, until - now))
            if message is not None:
                states = following.message(message)
            elif time.monotonic() >= following.read_at:
                states = self._read(following)
            else:
                states = []
                if self._forgotten.is_over(now):
                    raise JobForgotten(self._job_id)

    def _read(self, following: Following) -> list[State]:
        states = following.read()
        if following.is_known:
            self._forgotten.known()
        elif following.has_seen:
            self._forgotten.unknown(time.monotonic())
        return states

    def close(self) -> None:
        self._closed.set()

    def release(self) -> None:
        self._client.release()
