"""Reports RQ's jobs: each is a job here too, under the same id.

    rq worker --worker-class milepost.rq.Worker

The functions need no change; their progress is in `job.meta`. docs/python-integrations.md describes what watchers see
of them. To show jobs while they are queued, call `milepost.rq.install()` where they are enqueued. Needs the extra `rq`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Optional

try:
    import rq
    from rq.command import send_stop_job_command
    from rq.exceptions import AbandonedJobError
    from rq.job import Job
    from rq.worker import BaseWorker
except ModuleNotFoundError as error:
    raise ImportError("milepost.rq needs the package rq: `pip install 'milepost[rq]'`") from error

from ._default import default, flush, report
from ._json import describe_error
from ._meta import Meta
from ._result import is_small
from ._status import status
from ._task import Task, quietly, waits

__all__ = ["Reporting", "SimpleWorker", "Worker", "install"]

FIELD = "milepost_attempt"
"""Of a job's hash in Redis: which attempt its next run is. RQ passes over what it does not know."""
_WAITING = ("queued", "deferred", "scheduled", "rate_limited")
_FIRST_FLUSH = 0.5
_LAST_FLUSH = 1.5
_STATUS_TIMEOUT = 1.0

_running: dict[str, Task] = {}
"""The jobs that run in this process: one, but for jobs that run others in it."""
_is_installed = False
_is_cancellable = False


def install(*, cancellable: bool = False) -> None:
    """Reports the jobs that this process enqueues and cancels from now on, and `job.save_meta()` of those it runs; once
    is enough. It raises nothing into RQ, and waits for nothing.

    If `cancellable`, watchers may request that a running job be cancelled, and it is stopped as `send_stop_job_command`
    does it: its process is killed. That takes a worker that forks; jobs of others take no requests. A worker's module
    calls it, or the class of its worker has `cancellable = True`.
    """
    global _is_cancellable, _is_installed
    _is_cancellable |= cancellable
    if not _is_installed:
        _is_installed = True
        patched: Any = Job
        patched.save = _then(Job.save, _saved)
        patched.save_meta = _then(Job.save_meta, _meta_saved)
        patched.cancel = _cancelling(Job.cancel)


class Reporting(BaseWorker):
    """What makes a worker report its jobs: `class MyWorker(milepost.rq.Reporting, rq.worker.SpawnWorker): ...`"""

    cancellable = False
    """Whether watchers may request that its jobs be cancelled: see `install`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        install(cancellable=self.cancellable)
        worker: Any = self
        worker.push_exc_handler(_abandoned)

    def perform_job(self, job: Job, *arguments: Any, **named: Any) -> bool:
        _begin(job, self.is_horse)
        try:
            return super().perform_job(job, *arguments, **named)
        finally:
            _end(job, self.is_horse)

    def handle_job_success(self, job: Job, *arguments: Any, **named: Any) -> Any:
        _count_up(job)
        handled = super().handle_job_success(job, *arguments, **named)
        _settle(job, "completed", job._result)
        return handled

    def handle_job_failure(self, job: Job, *arguments: Any, **named: Any) -> Any:
        is_stopped = self._stopped_job_id == job.id
        error = sys.exc_info()[1] or named.get("exc_string")
        _count_up(job)
        handled = super().handle_job_failure(job, *arguments, **named)
        if is_stopped:
            _settle(job, "cancelled", "Stopped")
        else:
            _settle(job, "failed", error)
        return handled

    def handle_job_retry(self, job: Job, *arguments: Any, **named: Any) -> Any:
        _count_up(job)
        handled = super().handle_job_retry(job, *arguments, **named)
        _settle(job, "failed", "no retries are left")
        return handled


class Worker(Reporting, rq.Worker):
    """RQ's worker, which forks for each job."""


class SimpleWorker(Reporting, rq.SimpleWorker):
    """RQ's worker that runs jobs in its own process."""


@quietly
def _begin(job: Job, is_horse: bool) -> None:
    _running[job.id] = run = Task(job.id, _attempt_of(job), _metadata(job))
    if _is_cancellable and is_horse:
        run.cancel_by(lambda: send_stop_job_command(job.connection, job.id))


def _metadata(job: Job) -> dict[str, object]:
    return {"task": str(job.func_name)}


def _attempt_of(job: Job) -> int:
    redis: Any = job.connection
    return int(redis.hget(job.key, FIELD) or 1)


@quietly
def _count_up(job: Job) -> None:
    """Sets the attempt of the next run, before RQ puts the job into a queue again: now, later or by hand."""
    run = _running.get(job.id)
    if run is not None:
        # An id that was used before begins with a later attempt. The server's response names it.
        flush(_FIRST_FLUSH)
        attempt = run.attempt
    else:
        attempt = _attempt_at_server(job.id) or _attempt_of(job)
    job.connection.hset(job.key, FIELD, str(attempt + 1))


def _attempt_at_server(job_id: str) -> Optional[int]:
    """For a worker whose child is dead: only the server may know which attempt that was."""
    url = default().url
    try:
        known = None if url is None else status(job_id, url=url, timeout=_STATUS_TIMEOUT)
    except Exception:
        return None
    return None if known is None else known.attempt


@quietly
def _settle(job: Job, end: str, outcome: object) -> None:
    if end == "failed" and job.get_status(refresh=False) in _WAITING:
        end, outcome = "queued", f"Retry: {describe_error(outcome)}"
    run = _running.get(job.id)
    if run is not None:
        run.outcome = (end, outcome)
    elif end == "queued":
        waits(job.id, _attempt_of(job), str(job.func_name), str(outcome))
    elif end == "cancelled":
        report(job.id, status=end, message=str(outcome), metadata=_metadata(job))
    else:
        report(job.id, status=end, error=outcome, metadata=_metadata(job))


@quietly
def _end(job: Job, is_horse: bool) -> None:
    run = _running.pop(job.id, None)
    if run is not None:
        run.leave()
        end, outcome = run.outcome or (None, None)
        if end == "completed":
            run.job.complete(outcome if is_small(outcome) else None)
        elif end == "failed":
            run.job.fail(outcome)
        elif end == "queued":
            run.hand_over(_attempt_of(job), outcome)
        else:
            # RQ could not handle the end, perhaps because Redis was unavailable. The parent or another worker will.
            run.let_go()
    if is_horse:
        # It exits without running Python's exit handlers.
        flush(_LAST_FLUSH)


@quietly
def _abandoned(job: Job, kind: object, error: object, traceback: object) -> None:
    if isinstance(error, AbandonedJobError):
        _count_up(job)
        if job.retries_left:
            waits(job.id, _attempt_of(job), str(job.func_name), "Retry: its worker is gone")
        else:
            report(job.id, status="failed", error="its worker is gone", metadata=_metadata(job))


def _saved(job: Job) -> None:
    # The worker that puts a job back reports it.
    if job.started_at is None and job.id not in _running and job.get_status(refresh=False) in _WAITING:
        waits(job.id, 1, str(job.func_name))


def _meta_saved(job: Job) -> None:
    run = _running.get(job.id)
    if run is not None:
        Meta.read(job.meta).show(run.job)


@quietly
def _cancelled(job: Job) -> None:
    report(job.id, status="cancelled", message="Cancelled", metadata=_metadata(job))


def _then(method: Callable[..., Any], after: Callable[[Job], None]) -> Callable[..., Any]:
    """The method, and `after` it."""
    after = quietly(after)

    @functools.wraps(method)
    def call(self: Job, *arguments: Any, **named: Any) -> Any:
        result = method(self, *arguments, **named)
        after(self)
        return result

    return call


def _cancelling(cancel: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(cancel)
    def cancelling(self: Job, *arguments: Any, **named: Any) -> Any:
        # One that runs is not stopped by that.
        waited = self.get_status() in _WAITING
        result = cancel(self, *arguments, **named)
        if waited:
            _cancelled(self)
        return result

    return cancelling
