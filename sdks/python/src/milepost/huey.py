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


class _Reports(threading.local):
    """Reports the task that this thread runs, and those that it enqueues."""

    _task: Optional[Task] = None
    _error: Optional[BaseException] = None

    @quietly
    def queued(self, signal: str, task: Any) -> None:
        if self._task is None or self._task.job.id != task.id:
            waits(task.id, _attempt_of(task), task.name)

    @quietly
    def begins(self, signal: str, task: Any) -> None:
        self._error = None
        self._task = Task(task.id, _attempt_of(task), {"task": task.name})

    @quietly
    def done(self, task: Any, value: Any, error: Optional[BaseException]) -> None:
        run = self._task
        if run is None:
            return
        self._error = error
        if error is None:
            run.job.complete(value if is_small(value) else None)
        elif task.retries:
            # It is put back into the queue, and `retries` follows.
            return
        elif isinstance(error, TaskLockedException):
            run.job.cancel(describe_error(error))
        else:
            run.job._end(*outcome_of(error))
        self._leave()

    @quietly
    def retries(self, signal: str, task: Any) -> None:
        run = self._task
        if run is not None:
            run.hand_over(run.attempt + 1, f"Retry: {describe_error(self._error)}")
            self._leave()

    @quietly
    def cancelled(self, signal: str, task: Any) -> None:
        # No `done` follows if a hook that runs before the task cancels it.
        if self._task is not None and not task.retries:
            self._task.job.cancel(describe_error(sys.exc_info()[1]))
            self._leave()

    @quietly
    def interrupted(self, signal: str, task: Any) -> None:
        if self._task is not None:
            self._task.job.cancel("interrupted")
            self._leave()

    @quietly
    def never_runs(self, signal: str, task: Any) -> None:
        report(task.id, status="cancelled", message=_NEVER_RUN[signal], metadata={"task": task.name})

    def _leave(self) -> None:
        if self._task is not None:
            self._task.leave()
        self._task = self._error = None


def install(huey: Any) -> None:
    """Reports the tasks that this process enqueues or runs by that Huey. It raises nothing into Huey."""
    if _NAME in huey._post_execute:
        return
    reports = _Reports()
    huey.post_execute(_NAME)(reports.done)
    for handler, names in (
        (reports.queued, (signals.SIGNAL_ENQUEUED, signals.SIGNAL_SCHEDULED)),
        (reports.begins, (signals.SIGNAL_EXECUTING,)),
        (reports.retries, (signals.SIGNAL_RETRYING,)),
        (reports.cancelled, (signals.SIGNAL_CANCELED,)),
        (reports.interrupted, (signals.SIGNAL_INTERRUPTED,)),
        (reports.never_runs, tuple(_NEVER_RUN)),
    ):
        huey.signal(*names)(handler)


def _attempt_of(task: Any) -> int:
    # Huey counts down. A task that retries more often than that joins the attempt that the server knows.
    return max(1, int(getattr(task, "default_retries", 0) or 0) - int(task.retries or 0) + 1)
