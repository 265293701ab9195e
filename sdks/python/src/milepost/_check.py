"""`python -m milepost check`: what is wrong with the URL, the token or the server."""

from __future__ import annotations

import os
from typing import NamedTuple, Optional

from . import _address, _credential, _job_id
from ._http import Http
from ._outcome import Failure
from ._refused import InvalidToken, NoServer, Unreachable, WatchRefused
from ._status import status

_PATIENCE = 5.0
_NO_URL = "MILEPOST_URL is not set, so nothing is reported. By default `milepost serve` is at http://localhost:8084"


class Found(NamedTuple):
    is_good: bool
    text: str


def check() -> Found:
    """Asks the server that `MILEPOST_URL` names whether this program may watch and report there.

    The job that it asks about is `MILEPOST_JOB`, or `milepost-check`. It changes nothing.
    """
    url = _address.from_environment()
    if url is None:
        return Found(False, _NO_URL)
    shown = _address.without_password(url)
    job_id = os.environ.get("MILEPOST_JOB") or "milepost-check"
    try:
        job_id = _job_id.parse(job_id)
        watching = _may_watch(job_id)
        reporting = watching if _address.is_redis(url) else _may_report(url, job_id)
    except (NoServer, InvalidToken, _address.InvalidUrl) as error:
        return Found(False, str(error))
    except _job_id.InvalidJobId as error:
        return Found(False, f"MILEPOST_JOB: {error}")
    except (Failure, Unreachable) as error:
        return Found(False, f"{shown}: {error}")
    for refused in (watching, reporting):
        if refused is not None and refused.status == 401:
            return Found(False, f"{shown}: {_about_token(refused)}")
    if reporting is not None:
        may = "refuses everything" if watching is not None else "allows this program to watch"
        return Found(False, f"{shown}: the server {may}, but not report the job {job_id}: {reporting.detail}")
    if watching is not None:
        return Found(True, f"{shown} answers: this program may report the job {job_id}, and not watch it")
    return Found(True, f"{shown} answers: this program may report the job {job_id}, and watch it")


def _about_token(refused: WatchRefused) -> str:
    if os.environ.get("MILEPOST_TOKEN"):
        return f"the server does not accept MILEPOST_TOKEN: {refused.detail}"
    return "the server requires a key or a token: set MILEPOST_TOKEN"


def _may_watch(job_id: str) -> Optional[WatchRefused]:
    try:
        status(job_id, timeout=_PATIENCE)
    except WatchRefused as refused:
        return refused
    return None


def _may_report(url: str, job_id: str) -> Optional[WatchRefused]:
    transport = Http(_address.check(url), _credential.known(None))
    try:
        return transport.may_report(job_id, _PATIENCE)
    finally:
        transport.close()
