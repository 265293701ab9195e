"""The jobs that a server knows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union
from urllib.parse import urlencode

from . import _address, _credential, _problem
from ._credential import Token
from ._outcome import Failure, Lost
from ._refused import NoServer, Unreachable, WatchRefused
from ._state import State
from ._status import _server

if TYPE_CHECKING:
    from ._connection import Connection

PAGE = 100
MAX_PAGE_BYTES = 1 << 24
"""A page's states are of 64 KiB each at most, and rarely more than 1 KiB."""

Several = Union[str, Sequence[str], None]


def jobs(
    *,
    status: Several = None,
    health: Several = None,
    prefix: Optional[str] = None,
    name: Optional[str] = None,
    tag: Several = None,
    parent: Optional[object] = None,
    q: Optional[str] = None,
    sort: Optional[str] = None,
    url: Optional[str] = None,
    token: Token = None,
    timeout: float = 10.0,
) -> Iterator[State]:
    """The jobs that the server knows, the most recently begun first, as they are now:

        for job in milepost.jobs(tag="nightly", status="failed"):
            print(job.job_id, job.error)

    Only those are listed that match all arguments. `status`, `health` and `tag` take one text or several: a job has one
    of the statuses and healths, and all of the tags. `prefix` is how the id begins; `q` is contained in the id, the
    name or a tag. `parent` is the id of a job whose children are listed. `sort` is `begun`, `name`, `status`,
    `progress`, `started` or `seen`; with a `-` in front, all but `begun` are descending.

    The jobs are requested in pages of 100 as the loop needs them, each page within `timeout` seconds. `url` and
    `token` as for `watch`. Raises NoServer, InvalidToken, InvalidUrl; the loop raises Unreachable, WatchRefused.
    """
    _credential.check_sync(token)
    server = _server(url)
    if _address.is_redis(server):
        shown = _address.without_password(server)
        raise NoServer(f"{shown}: only a Milepost server lists jobs; give its address, http(s)://…")
    given = {
        "status": status,
        "health": health,
        "prefix": prefix,
        "name": name,
        "tag": tag,
        "parent": None if parent is None else str(parent),
        "q": q,
        "sort": sort,
    }
    # Imported here: who only reports need not wait for HTTP's modules.
    from ._connection import Connection

    query = {key: value for key, value in given.items() if value is not None}
    return _pages(Connection(server, _credential.known(token)), {**query, "limit": PAGE}, timeout)


def _pages(connection: Connection, query: dict[str, Any], timeout: float) -> Iterator[State]:
    try:
        while True:
            page = _page(connection, query, timeout)
            # Other requests may need the server while the loop's body runs.
            connection.release()
            yield from page[0]
            if page[1] is None:
                return
            if page[1] == query.get("after"):
                raise Lost(f"the server repeats a page, the one after {page[1]!r}")
            query = {**query, "after": page[1]}
    except Failure as failure:
        raise Unreachable(str(failure)) from failure
    finally:
        connection.release()


def _page(connection: Connection, query: dict[str, Any], timeout: float) -> tuple[list[State], Optional[str]]:
    deadline = time.monotonic() + timeout
    response = connection.ask("GET", f"/jobs?{urlencode(query, doseq=True)}", max(0.001, deadline - time.monotonic()))
    body = connection.read(response, MAX_PAGE_BYTES)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if response.status == 200:
        try:
            after = document["next"]
            return [State(each) for each in document["jobs"]], None if after is None else str(after)
        except (TypeError, KeyError, ValueError):
            raise Lost("the server is not a Milepost server") from None
    problem = _problem.read(document)
    detail = response.reason if problem is None else problem.detail
    if 400 <= response.status < 500 and response.status not in (408, 425, 429):
        raise WatchRefused(response.status, detail)
    raise Lost(f"the server answered {response.status}: {detail}")
