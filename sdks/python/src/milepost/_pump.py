"""A watch for an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Optional

from . import _address, _credential
from ._backlog import Backlog
from ._outcome import Failure
from ._shared_socket import NoSocket, Server, SharedSocket, follow
from ._source import Query
from ._state import State

if TYPE_CHECKING:
    from ._watch import Watch


class Pump:
    """Lets an event loop have the states of a watch: from the socket that watches share, or else from a thread."""

    def __init__(self, watch: Watch) -> None:
        self._outer = watch
        self._loop = asyncio.get_running_loop()
        self._token = _credential.for_loop(watch._token, self._loop)
        self._news = asyncio.Event()
        self._backlog = Backlog(self._wake)
        self._shared: Optional[SharedSocket] = None
        self._watch: Optional[Watch] = None
        self._since = watch._since
        watch._sources.add(self)
        if not _address.is_redis(watch._url):
            query = Query(self._since, watch._mode, watch._max_rate, watch._silence)
            self._shared = follow(Server(watch._url, self._token), watch.job_id, query, self._backlog)
        if self._shared is None:
            self._begin_thread()

    def _begin_thread(self) -> None:
        self._watch = self._outer._again(self._since, self._token)
        threading.Thread(target=self._run, args=(self._watch,), name="milepost-watch", daemon=True).start()

    def _run(self, watch: Watch) -> None:
        try:
            for state in watch:
                self._backlog.push(state)
        except Exception as error:
            self._backlog.finish(error)
        else:
            self._backlog.finish(None)

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            # The loop is closed, so nothing waits for the result.
            self._leave()
            if self._watch is not None:
                self._watch.close()

    async def next(self) -> Optional[State]:
        while True:
            self._news.clear()
            try:
                state = self._backlog.take()
            except (NoSocket, Failure):
                # The other failure is a fork's.
                self._leave()
                self._backlog = Backlog(self._wake)
                self._begin_thread()
                continue
            if state is not None:
                self._outer._state = state
                self._since = state.position
                return state
            if self._backlog.is_over:
                return None
            await self._news.wait()

    def _leave(self) -> None:
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.leave(self._outer.job_id, self._backlog)

    def stop(self) -> None:
        self._outer._sources.discard(self)
        self.close()

    # As one of the outer watch's sources

    @property
    def has_connected(self) -> bool:
        return self._shared is not None and self._shared.has_connected

    def close(self) -> None:
        self._leave()
        self._backlog.close()
        if self._watch is not None:
            self._watch.close()
