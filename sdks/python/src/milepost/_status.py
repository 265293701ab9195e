"""Reads a job's present state once, and chooses the server for it."""

from __future__ import annotations

import threading
from typing import Optional

from . import _address, _credential, _job_id
from ._credential import Token
from ._outcome import Failure
from ._refused import NoServer, Unreachable
from ._source import open_source
from ._state import State
from ._watch import Watch


def status(job_id: object, *, url: Optional[str] = None, token: Token = None, timeout: float = 10.0) -> Optional[State]:
    """The job's present state; None if it is not known.

    It waits for the answer, `timeout` seconds at most: in asyncio, `await asyncio.to_thread(milepost.status, job_id)`.
    `url` and `token` as for `watch`. Raises Unreachable, WatchRefused, InvalidJobId, InvalidToken, InvalidUrl,
    NoServer.
    """
    _credential.check_sync(token)
    source = open_source(_server(url), _credential.known(token), _job_id.parse(str(job_id)))
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
    return Watch(_server(url), _credential.known(token), _job_id.parse(str(job_id)), since, mode, max_rate, silence)


def wait(job_id: object, *, timeout: Optional[float] = None, url: Optional[str] = None, token: Token = None) -> State:
    """Waits for the job's end, and returns that state. The job need not have been reported yet.

    `timeout` is in seconds; None: for ever. In asyncio, `await asyncio.to_thread(milepost.wait, job_id)`. `url` and
    `token` as for `watch`. Raises TimeoutError, JobForgotten, WatchRefused, InvalidJobId, InvalidToken, InvalidUrl,
    NoServer.
    """
    watching = watch(job_id, url=url, token=token, mode="latest")
    timer = None if timeout is None else threading.Timer(timeout, watching.close)
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


def _server(url: Optional[str]) -> str:
    known = url or _address.from_environment()
    if known is None:
        raise NoServer("there is no server: give a url, or set MILEPOST_URL")
    known = _address.check(known)
    missing = _address.missing_package(known)
    if missing is not None:
        raise NoServer(f"{_address.without_password(known)} cannot be watched: {missing}")
    return known
