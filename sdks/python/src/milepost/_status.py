"""Reads a job's present state once, and chooses the server for it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Optional, Union

from . import _address, _credential, _job_id
from ._counter import number
from ._credential import Token
from ._outcome import Failure
from ._refused import NoServer, Unreachable
from ._source import open_source
from ._state import State
from ._watch import Watch

_LOOK = 2.0
"""How long the answer to `wait` with the timeout 0 may take, in seconds."""


def status(job_id: object, *, url: Optional[str] = None, token: Token = None, timeout: float = 10.0) -> Optional[State]:
    """The job's present state; None if it is not known.

    It waits for the answer, `timeout` seconds at most: in asyncio, `await asyncio.to_thread(milepost.status, job_id)`.
    `url` and `token` as for `watch`. Raises Unreachable, WatchRefused, InvalidJobId, InvalidToken, InvalidUrl,
    NoServer.
    """
    _credential.check_sync(token)
    source = open_source(_server(url), _credential.known(token), _job_id.given(job_id))
    try:
        return source.state(timeout)
    except Failure as failure:
        raise Unreachable(str(failure)) from failure
    finally:
        source.release()


def watch(
    job_id: object,
    *,
    url: Optional[str] = None,
    token: Token = None,
    since: Optional[str] = None,
    mode: str = "all",
    max_rate: Optional[float] = None,
    silence: float = 15.0,
) -> Watch:
    """The job's states, for `for` or `async for`: the present one first, then each newer one; done after the end.

    `url` is the server's address; None: what `MILEPOST_URL` says. `token` is sent as
    `Authorization: Bearer`; None: `MILEPOST_TOKEN`. It may be a function that returns one, which is called for each
    connection and before the token expires, in a thread; an async function needs `async for`, whose event loop runs it.
    Watches share a connection only if they have the same function. `since` is the position of a state that is known
    already. `mode` `latest`: only the newest state at each moment; `max_rate`: at most so many a second, 0.01…1000;
    ends are never left out. A connection that is silent for `silence` seconds is given up, and made anew. Raises
    InvalidJobId, InvalidToken, InvalidUrl, NoServer; the loop may raise WatchRefused and JobForgotten, and TypeError
    for an async function in `for`.
    """
    return Watch(_server(url), _credential.known(token), _job_id.given(job_id), since, mode, max_rate, silence)


def wait(
    job_id: object,
    *,
    timeout: Union[float, timedelta, None] = None,
    url: Optional[str] = None,
    token: Token = None,
) -> State:
    """Waits for the job's end, and returns that state. The job need not have been reported yet.

    `timeout` is in seconds; None: for ever; 0: it only asks whether the job has ended. In asyncio,
    `await asyncio.to_thread(milepost.wait, job_id)`. `url` and `token` as for `watch`. Raises TimeoutError,
    JobForgotten, WatchRefused, InvalidJobId, InvalidToken, InvalidUrl, NoServer.
    """
    seconds = _seconds(timeout)
    watching = watch(job_id, url=url, token=token, mode="latest")
    if seconds is not None and seconds <= 0:
        return _ended_by_now(watching.job_id, url, token)
    timer = None if seconds is None else threading.Timer(seconds, watching.close)
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        for state in watching:
            if state.has_ended:
                return state
    finally:
        if timer is not None:
            timer.cancel()
    raise TimeoutError(f"{watching.job_id} has not ended within {timeout} s")


def _ended_by_now(job_id: str, url: Optional[str], token: Token) -> State:
    """The job's end. Raises TimeoutError if it has not ended, or that cannot be known now."""
    try:
        state = status(job_id, url=url, token=token, timeout=_LOOK)
    except Unreachable as error:
        raise TimeoutError(f"it is not known whether {job_id} has ended: {error}") from error
    if state is None or not state.has_ended:
        raise TimeoutError(f"{job_id} has not ended")
    return state


def _seconds(timeout: object) -> Optional[float]:
    """The timeout, as long as a thread can wait at most. Raises TypeError."""
    if isinstance(timeout, timedelta):
        timeout = timeout.total_seconds()
    if timeout is None or timeout == float("inf"):
        return None
    seconds = None if isinstance(timeout, str) else number(timeout)
    if seconds is None:
        raise TypeError("timeout takes a number of seconds, or None")
    return min(float(seconds), threading.TIMEOUT_MAX)


def _server(url: Optional[str]) -> str:
    known = url or _address.from_environment()
    if known is None:
        raise NoServer("there is no server: give a url, or set MILEPOST_URL")
    known = _address.check(known)
    missing = _address.missing_package(known)
    if missing is not None:
        raise NoServer(f"{_address.without_password(known)} cannot be watched: {missing}")
    return known
