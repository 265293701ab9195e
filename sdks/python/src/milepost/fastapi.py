"""FastAPI endpoints that start a job and answer where to watch it.

    @app.post("/videos", status_code=202)
    def start(jobs: Annotated[Jobs, Depends()], frames: int) -> Accepted:
        return jobs.start(milepost.job("video", queued=True), render, frames)

    def render(job: milepost.Job, frames: int) -> None:
        for frame in job.track(range(frames), stage="rendering"):
            ...

Needs the extra `fastapi`.
"""

# No `annotations` from the future: before Python 3.10, FastAPI cannot read those of a class.
import asyncio
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Optional

try:
    from fastapi import BackgroundTasks, Response
    from pydantic import BaseModel
except ModuleNotFoundError as error:
    raise ImportError("milepost.fastapi needs the package fastapi: `pip install 'milepost[fastapi]'`") from error

from . import _web
from ._job import Job

__all__ = ["Accepted", "Jobs"]


class Accepted(BaseModel):
    """The response to a request that starts a job."""

    job_id: str
    status: str = "queued"
    websocket_url: str
    """Where to watch it."""
    status_url: str
    """Where to read its present state, as in the header `Location`."""
    message: str = "Job queued"
    token: Optional[str] = None
    """With which a page may watch it, for 15 minutes; None without a secret to sign with."""


class Jobs:
    """A dependency: what an endpoint needs to start jobs. `Annotated[Jobs, Depends()]`

    `public_url` is where browsers find the Milepost server, such as `https://progress.example.com`. By default the
    answer has paths: right where a proxy puts both servers under one address.

        class OurJobs(Jobs):
            public_url = "https://progress.example.com"

    With `token_secret`, or `MILEPOST_TOKEN_SECRET` in the environment, the answer has a token for the page.
    """

    public_url: ClassVar[str] = ""
    token_secret: ClassVar[Optional[str]] = None

    def __init__(self, tasks: BackgroundTasks, response: Response) -> None:
        self._tasks = tasks
        self._response = response

    def start(self, job: Job, work: Callable[..., Any], *arguments: Any, **named: Any) -> Accepted:
        """Does `work(job, *arguments, **named)` once the answer has been sent, in this process: a coroutine function
        in the event loop, another one in a thread. The job ends with it, as with a `with` block: what the work returns
        is its result, if that is small (some 4 KiB), and what it raises goes on to the server's log. It waits, a second
        at most, until the end has arrived.
        """
        self._tasks.add_task(_in_background(job, work), *arguments, **named)
        return self.accepted(job.id)

    def accepted(self, job_id: object, message: Optional[str] = None) -> Accepted:
        """The response, with 202 and `Location`, for a job that runs elsewhere, such as in a worker of Celery or RQ."""
        answer = Accepted(**_web.accepted(job_id, self.public_url, self.token_secret, message))
        self._response.status_code = 202
        self._response.headers["Location"] = answer.status_url
        return answer


def _in_background(job: Job, work: Callable[..., Any]) -> Callable[..., Any]:
    # Starlette looks at the function to decide whether to call it in a thread.
    if inspect.iscoroutinefunction(work) or inspect.iscoroutinefunction(getattr(work, "__call__", None)):  # noqa: B004

        async def run_async(*arguments: Any, **named: Any) -> None:
            try:
                async with job:
                    _web.keep_result(job, await work(job, *arguments, **named))
            finally:
                await asyncio.to_thread(job._deliver, _web.DELIVERY)

        return run_async

    def run(*arguments: Any, **named: Any) -> None:
        _web.do(job, work, arguments, named)

    return run
