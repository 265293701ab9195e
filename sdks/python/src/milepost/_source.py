"""Where a job's states come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Optional, Protocol

from . import _address
from ._credential import Token
from ._refused import NoServer
from ._state import State


class Query(NamedTuple):
    """The request."""

    since: Optional[str]
    mode: str
    max_rate: Optional[float]
    silence: float
    """A connection on which nothing arrives for so many seconds is closed. The server sends a keepalive every five."""


class Ended(Exception):
    """The job has ended, and there is nothing more to come."""


class Source(Protocol):
    """One thread owns it, but for `close`."""

    @property
    def has_connected(self) -> bool:
        """Whether a server has ever answered as one."""

    def state(self, timeout: float) -> Optional[State]:
        """The job's present state; None if it is not known. Raises Failure or WatchRefused."""

    def states(self, query: Query) -> Iterator[State]:
        """The states of one connection, the present one first unless it is that of `since`, until it is lost. Raises
        Ended after the end, Failure when the connection is lost, JobForgotten, WatchRefused."""

    def close(self) -> None:
        """Ends what is waited for, from any thread, for good."""

    def release(self) -> None:
        """Lets go of the connection."""


def open_source(url: str, token: Token, job_id: str) -> Source:
    """The source for that kind of URL. It does not connect yet."""
    if _address.is_redis(url):
        try:
            _address.check_redis()
            from ._redis_source import RedisSource
        except Exception as error:
            shown = _address.without_password(url)
            raise NoServer(f"{shown} cannot be watched: {_address.explain(error)}") from error
        return RedisSource(url, job_id)
    from ._shared_source import SharedSource

    return SharedSource(url, token, job_id)
