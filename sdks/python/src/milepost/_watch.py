"""Watching a job, across lost connections and restarts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Optional, Protocol, TypeVar

from . import _credential, _notice
from ._backoff import LONGEST_WAIT, STABLE, Backoff
from ._credential import Token
from ._cursor import Cursor
from ._outcome import Failure, RetryLater
from ._source import Ended, Query, Source, open_source
from ._state import State

W = TypeVar("W", bound="Watch")


class Closing(Protocol):
    def close(self) -> None: ...


class Watch:
    """A job's states: made by `milepost.watch()`. For `for` or `async for`; done after the job's end.

    A loop begins with the present state, or after `since`. All loops of a process over one server's jobs share a
    WebSocket and a thread; where WebSockets do not get through, each has an event stream of its own. After a lost
    connection it resumes where it was: no state comes twice, nor an older one after a newer one. It comes back for
    ever, with a jittered backoff, and warns once when a connection is lost and once when it is back. A loop that is
    slower than the job skips to the newest state, and misses no end (of more than 8, the latest 8).

    Raises WatchRefused where the server will not have the watcher (a job id that is none, a token that is not right),
    and JobForgotten a minute after a job of which there was a state was deleted or its `ttl` was over before its end.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        job_id: str,
        since: Optional[str],
        mode: str,
        max_rate: Optional[float],
        silence: float,
    ) -> None:
        self._url = url
        self._token = token
        self._job_id = job_id
        self._since = since
        self._mode = mode
        self._max_rate = max_rate
        self._silence = silence
        self._state: Optional[State] = None
        self._sources: set[Closing] = set()
        self._closed = threading.Event()

    @property
    def job_id(self) -> str:
        return self._job_id

    @property
    def state(self) -> Optional[State]:
        """The newest state that was seen."""
        return self._state

    @property
    def position(self) -> Optional[str]:
        """That of the newest state: what `since` takes."""
        return self._state.position if self._state is not None else self._since

    def __iter__(self) -> Iterator[State]:
        _credential.check_sync(self._token)
        source = open_source(self._url, self._token, self._job_id)
        self._sources.add(source)
        try:
            yield from self._resume(source)
        finally:
            self._sources.discard(source)
            source.release()

    def _resume(self, source: Source) -> Iterator[State]:
        cursor = Cursor(self._since)
        backoff = Backoff(random.Random())
        is_lost = False
        while not self._closed.is_set():
            query = Query(cursor.latest, self._mode, self._max_rate, self._silence)
            begun = time.monotonic()
            wait: Optional[float] = None
            try:
                for state in source.states(query):
                    if is_lost:
                        is_lost = False
                        _notice.notify(f"watching {self._job_id} works again")
                    if state.position is not None and cursor.advance(state.position):
                        self._state = state
                        yield state
            except Ended:
                return
            except Failure as failure:
                if self._closed.is_set():
                    return
                if not is_lost and not (isinstance(failure, RetryLater) and source.has_connected):
                    is_lost = True
                    _notice.notify(f"cannot watch {self._job_id}; retrying: {failure}")
                if isinstance(failure, RetryLater):
                    wait = failure.retry_after
            if time.monotonic() - begun >= STABLE:
                backoff.reset()
            drawn = backoff.next()
            self._closed.wait(drawn if wait is None else min(LONGEST_WAIT, wait) + (drawn if is_lost else 0.0))

    async def __aiter__(self) -> AsyncIterator[State]:
        # Not everybody who imports this wants asyncio.
        from ._pump import Pump

        pump = Pump(self)
        try:
            while True:
                state = await pump.next()
                if state is None:
                    return
                yield state
        finally:
            pump.stop()

    def close(self) -> None:
        """Ends all loops over it, from any thread."""
        self._closed.set()
        for source in list(self._sources):
            source.close()

    def __enter__(self: W) -> W:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    async def __aenter__(self: W) -> W:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def _again(self, since: Optional[str], token: Token) -> Watch:
        """The same for one loop, which may be closed alone, after that position."""
        return Watch(self._url, token, self._job_id, since, self._mode, self._max_rate, self._silence)
