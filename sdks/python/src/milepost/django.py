"""Django views that start a job and answer where to watch it.

    def videos(request):
        return start(milepost.job("video", queued=True), render, 100)

    def render(job: milepost.Job, frames: int) -> None:
        for frame in job.track(range(frames), stage="rendering"):
            ...

The settings may have `MILEPOST_PUBLIC_URL`, where browsers find the Milepost server, and `MILEPOST_TOKEN_SECRET` (or
the environment has it): then the answer has a token for the page. Needs the extra `django`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

try:
    from django.conf import settings
    from django.db import connections
    from django.http import JsonResponse
except ModuleNotFoundError as error:
    raise ImportError("milepost.django needs the package django: `pip install 'milepost[django]'`") from error

from . import _web
from ._job import Job

__all__ = ["accepted", "start"]


def start(job: Job, work: Callable[..., Any], *arguments: Any, **named: Any) -> JsonResponse:
    """Does `work(job, *arguments, **named)` in a thread of this process, and returns the answer: 202 with the job's id
    and where to watch it. In an async view, it returns at once too.

    The job ends with the work, as with a `with` block: what the work returns is its result, if that is small (some
    4 KiB). What it raises is logged by the logger `milepost`. 8 threads do the work, and the exit of the process waits
    for them. If 1,000 pieces of work are pending, the job fails, and the answer is 503.

    The work has database connections of its own, which are closed afterwards. If it reads what the view has written in
    a transaction, start it by `transaction.on_commit`.
    """

    def run() -> None:
        try:
            _web.do(job, work, arguments, named)
        finally:
            connections.close_all()

    try:
        _web.workers().begin(run, job)
    except _web.TooMuchWork as error:
        return JsonResponse({"error": str(error)}, status=503)
    return accepted(job.id)


def accepted(job_id: object, message: Optional[str] = None) -> JsonResponse:
    """The answer, with 202 and `Location`, for a job that somebody else runs: a worker of Celery or RQ, say."""
    public_url, secret = (getattr(settings, name, None) for name in ("MILEPOST_PUBLIC_URL", "MILEPOST_TOKEN_SECRET"))
    known = _web.accepted(job_id, public_url, secret, message)
    return JsonResponse(known, status=202, headers={"Location": known["status_url"]})
