"""Flask endpoints that start a job and answer where to watch it.

    @app.post("/videos")
    def videos():
        return start(milepost.job("video", queued=True), render, 100)

    def render(job: milepost.Job, frames: int) -> None:
        for frame in job.track(range(frames), stage="rendering"):
            ...

The app's settings may have `MILEPOST_PUBLIC_URL`, where browsers find the Milepost server, and `MILEPOST_TOKEN_SECRET`
(also a variable of the environment): then the answer has a token for the page. Needs the extra `flask`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

try:
    from flask import Flask, Response, current_app, jsonify
except ModuleNotFoundError as error:
    raise ImportError("milepost.flask needs the package flask: `pip install 'milepost[flask]'`") from error

from . import _web
from ._job import Job

__all__ = ["accepted", "start"]


def start(job: Job, work: Callable[..., Any], *arguments: Any, **named: Any) -> Response:
    """Does `work(job, *arguments, **named)` in a thread of this process, in the app's context, and returns the answer:
    202 with the job's id and where to watch it.

    The job ends with the work, as with a `with` block: what the work returns is its result, if that is small (some
    4 KiB). What it raises is logged by the logger `milepost`. 8 threads do the work, and the exit of the process waits
    for them. If 1,000 pieces of work are pending, the job fails, and the answer is 503.
    """
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]

    def run() -> None:
        with app.app_context():
            _web.do(job, work, arguments, named)

    try:
        _web.workers().begin(run, job)
    except _web.TooMuchWork as error:
        answer = jsonify({"error": str(error)})
        answer.status_code = 503
        return answer
    return accepted(job.id)


def accepted(job_id: object, message: Optional[str] = None) -> Response:
    """The answer, with 202 and `Location`, for a job that somebody else runs: a worker of Celery or RQ, say."""
    config = current_app.config
    known = _web.accepted(job_id, config.get("MILEPOST_PUBLIC_URL"), config.get("MILEPOST_TOKEN_SECRET"), message)
    answer = jsonify(known)
    answer.status_code = 202
    answer.headers["Location"] = known["status_url"]
    return answer
