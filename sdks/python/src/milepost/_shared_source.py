"""States from the socket that the watches of a server share; from an event stream where there can be none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Optional

from . import _shared_socket
from ._backlog import Backlog
from ._credential import Token
from ._http_source import HttpSource
from ._shared_socket import NoSocket, Server, SharedSocket
from ._source import Ended, Query
from ._state import State

_TURN = 1.0
"""How long is waited at once, in seconds: on some systems, Ctrl-C is not heard before."""


class SharedSource:
    def __init__(self, url: str, token: Token, job_id: str) -> None:
        self._server = Server(url, token)
        self._job_id = job_id
        self._stream = HttpSource(url, token, job_id)
        self._news = threading.Event()
        self._backlog = Backlog(self._news.set)
        self._shared: Optional[SharedSocket] = None

    @property
    def has_connected(self) -> bool:
        return self._stream.has_connected or (self._shared is not None and self._shared.has_connected)

    def state(self, timeout: float) -> Optional[State]:
        return self._stream.state(timeout)

    def states(self, query: Query) -> Iterator[State]:
        self._backlog = Backlog(self._news.set)
        self._shared = _shared_socket.follow(self._server, self._job_id, query, self._backlog)
        since = query.since
        if self._shared is not None:
            try:
                for state in self._received():
                    since = state.position
                    yield state
                raise Ended
            except NoSocket:
                pass
            finally:
                self._shared.leave(self._job_id, self._backlog)
        yield from self._stream.states(query._replace(since=since))

    def _received(self) -> Iterator[State]:
        while True:
            self._news.clear()
            state = self._backlog.take()
            if state is not None:
                yield state
            elif self._backlog.is_over:
                return
            else:
                self._news.wait(_TURN)

    def close(self) -> None:
        self._backlog.close()
        self._stream.close()

    def release(self) -> None:
        self._stream.release()
