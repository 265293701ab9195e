"""Reports Huey's tasks: each is a job here too, under the same id.

    huey = RedisHuey("videos")
    milepost.huey.install(huey)

Call it where you create the Huey, so that it runs both in the processes that enqueue tasks and in the consumer. Inside
a task, `milepost.current()` is its job. Needs the package huey.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Optional

try:
    from huey import signals
    from huey.exceptions import TaskLockedException
except ModuleNotFoundError as error:
    raise ImportError("milepost.huey needs the package huey: `pip install 'milepost[huey]'`") from error

from ._default import report
from ._json import describe_error
from ._left_block import outcome_of
from ._result import is_small
from ._task import Task, quietly, waits

__all__ = ["install"]

_NAME = "milepost"
_NEVER_RUN = {signals.SIGNAL_REVOKED: "Revoked", signals.SIGNAL_EXPIRED: "Expired"}


class _Running(threading.local):
    """The task that this thread runs."""

    task: Optional[Task] = None
    error: Optional[BaseException] = None


def install(huey: Any) -> None:
    """Reports the tasks that this process enqueues or runs by that Huey. It raises nothing into Huey."""
    if _NAME in huey._post_execute:
        return
    running = _Running()

    @quietly
    def queued(signal: str, task: Any) -> None:
        if running.task is None or running.task.job.id != task.id:
            waits(task.id, _attempt_of(task), task.name)

    @quietly
    def begins(signal: str, task: Any) -> None:
        running.error = None
        running.task = Task(task.id, _attempt_of(task), {"task": task.name})

    @quietly
    def done(task: Any, value: Any, error: Optional[BaseException]) -> None:
        run = running.task
        if run is None:
            return
        running.error = error
        if error is None:
            run.job.complete(value if is_small(value) else None)
        elif task.retries:
            # It is put back into the queue, and `retries` follows.
            return
        elif isinstance(error, TaskLockedException):
            run.job.cancel(describe_error(error))
        else:
            run.job._end(*outcome_of(error))
        leave()

    @quietly
    def retries(signal: str, task: Any) -> None:
        run = running.task
        if run is not None:
            run.hand_over(run.attempt + 1, f"Retry: {describe_error(running.error)}")
            leave()

    @quietly
    def cancelled(signal: str, task: Any) -> None:
        # No `done` follows if a hook that runs before the task cancels it.
        if running.task is not None and not task.retries:
            running.task.job.cancel(describe_error(sys.exc_info()[1]))
            leave()

    @quietly
    def interrupted(signal: str, task: Any) -> None:
        if running.task is not None:
            running.task.job.cancel("interrupted")
            leave()

    @quietly
    def never_runs(signal: str, task: Any) -> None:
        report(task.id, status="cancelled", message=_NEVER_RUN[signal], metadata={"task": task.name})

    def leave() -> None:
        if running.task is not None:
            running.task.leave()
        running.task = running.error = None

    huey.post_execute(_NAME)(done)
    for handler, names in (
        (queued, (signals.SIGNAL_ENQUEUED, signals.SIGNAL_SCHEDULED)),
        (begins, (signals.SIGNAL_EXECUTING,)),
        (retries, (signals.SIGNAL_RETRYING,)),
        (cancelled, (signals.SIGNAL_CANCELED,)),
        (interrupted, (signals.SIGNAL_INTERRUPTED,)),
        (never_runs, tuple(_NEVER_RUN)),
    ):
        huey.signal(*names)(handler)


def _attempt_of(task: Any) -> int:
    # Huey counts down. A task that retries more often than that joins the attempt that the server knows.
    return max(1, int(getattr(task, "default_retries", 0) or 0) - int(task.retries or 0) + 1)
