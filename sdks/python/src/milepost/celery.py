"""Reports Celery's tasks: each is a job whose id is the task's.

    app = Celery("videos", broker=…)
    milepost.celery.install(app)

Call it in every process that sends or runs tasks, for example in the module that creates the app. The tasks need no
change. docs/python-integrations.md says what watchers see of them. Needs the extra `celery`.
"""

from __future__ import annotations

import contextvars
import functools
import sys
from collections.abc import Callable
from typing import Any, Optional

try:
    from celery import VERSION, signals
    from celery.app.task import Task as CeleryTask
    from celery.exceptions import Reject, TimeLimitExceeded
except ModuleNotFoundError as error:
    raise ImportError("milepost.celery needs the package celery: `pip install 'milepost[celery]'`") from error

from . import _celery_canvas
from ._default import flush, report
from ._json import describe_error
from ._meta import Meta
from ._result import is_small
from ._task import Task, quietly, waits

__all__ = ["install"]

ATTEMPT_HEADER = "milepost_attempt"
"""A message's header: which attempt it is, where that is not the number of retries and one."""
_OF_CELERY = "celery."
"""Begins the names of Celery's own tasks, which are not reported."""
_NO_STAGE = frozenset({"PROGRESS", "STARTED", "PENDING", "RECEIVED", "RETRY"})
_ENDS = {"SUCCESS": "completed", "FAILURE": "failed", "REVOKED": "cancelled"}
_FLUSH_TIMEOUT = 2.0

_retried_for: contextvars.ContextVar[object] = contextvars.ContextVar("milepost_retried_for", default=None)
_running: dict[str, Task] = {}
"""The tasks that run in this process: no more than the pool runs at once."""
_is_wanted: Optional[Callable[[str], bool]] = None
_is_cancellable = False
_is_installed = False


def install(app: Any = None, *, only: Optional[Callable[[str], bool]] = None, cancellable: bool = False) -> None:
    """Reports the tasks that this process sends and runs from now on; once is enough.

    `only` is called with a task's name, and returns whether it is reported. Celery's own (`celery.…`) are not. If
    `cancellable`, watchers may request that a running task be cancelled, and it is revoked with `terminate=True`:
    SIGTERM to its process. That takes the prefork pool; tasks of other pools take no requests. Signals are Celery's
    process-wide ones, so tasks of all apps of the process are meant, whichever `app` is given. It raises nothing into a
    task, and no task waits for it.
    """
    global _is_cancellable, _is_installed, _is_wanted
    _is_wanted, _is_cancellable = only, cancellable
    if _is_installed:
        return
    _is_installed = True
    for signal, handler in (
        (signals.before_task_publish, _before_publish),
        (signals.task_prerun, _before_run),
        (signals.task_postrun, _after_run),
        (signals.task_failure, _failed),
        (signals.task_revoked, _revoked),
        (signals.task_retry, _retried),
        (signals.celeryd_init, _begin_worker),
        (signals.worker_process_shutdown, _going_down),
        (signals.worker_shutdown, _going_down),
    ):
        signal.connect(handler, weak=False)
    CeleryTask.update_state = _reporting(CeleryTask.update_state)
    CeleryTask.retry = _with_reason(CeleryTask.retry)
    _canvases.install()


def _reports(name: object) -> bool:
    text = str(name)
    return not text.startswith(_OF_CELERY) and (_is_wanted is None or bool(_is_wanted(text)))


_canvases = _celery_canvas.Canvases(lambda name: _reports(name) or _is_canvas(name), _running)


def _is_canvas(name: object) -> bool:
    return name in ("celery.group", "celery.chord", "celery.chain")


@quietly
def _before_publish(
    sender: object = None, headers: Optional[dict[str, Any]] = None, body: Any = None, **_: object
) -> None:
    # Before, not after: so that watchers most likely see it waiting. Should it arrive late, it does not count.
    if not headers or "id" not in headers or not _reports(sender):
        return
    task_id = str(headers["id"])
    plain = int(headers.get("retries") or 0) + 1
    attempt = int(headers.pop(_celery_canvas.REPLACES_HEADER, plain))
    running = _running.get(task_id)
    parent = _canvases.parent_of(headers, body) if running is None else running.parent
    headers[_celery_canvas.PARENT_HEADER] = parent or ""
    if running is None:
        waits(task_id, attempt, str(sender), parent=parent)
    else:
        attempt = running.attempt + 1
        running.hand_over(attempt, _reason(plain - 1) if headers.get("retries") else None)
    if attempt != plain or ATTEMPT_HEADER in headers:
        headers[ATTEMPT_HEADER] = attempt


def _reason(retries: int) -> str:
    error = _retried_for.get() or sys.exc_info()[1]
    return f"Retry {retries}" if error is None else f"Retry {retries}: {describe_error(error)}"


def _with_reason(retry: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps the reason of `retry(exc=…)`, which publishes the next attempt's message before it signals the reason."""

    @functools.wraps(retry)
    def retrying(self: Any, args: Any = None, kwargs: Any = None, exc: Any = None, *more: Any, **named: Any) -> Any:
        token = _retried_for.set(exc)
        try:
            return retry(self, args, kwargs, exc, *more, **named)
        finally:
            _retried_for.reset(token)

    return retrying


@quietly
def _before_run(task_id: Optional[str] = None, task: Any = None, **_: object) -> None:
    if task_id is None or not _reports(task.name):
        return
    request = task.request
    attempt = _attempt_of(request)
    if (request.delivery_info or {}).get("redelivered"):
        # Another worker had it. If that one is alive after all, its reports are rejected.
        attempt += 1
    _running[task_id] = run = Task(task_id, attempt, {"task": task.name}, _parent_of(request))
    _celery_canvas.begins(task_id, request.chain, run.parent)
    if _is_cancellable and _is_pool_process():
        run.cancel_by(lambda: task.app.control.revoke(task_id, terminate=True))


def _is_pool_process() -> bool:
    """Whether this is a child of the prefork pool: Celery can end it, and the worker says so."""
    billiard: Any = sys.modules.get("billiard.process")
    return billiard is not None and billiard.current_process().name != "MainProcess"


def _attempt_of(request: Any) -> int:
    return int(request.get(ATTEMPT_HEADER) or (request.retries or 0) + 1)


def _parent_of(request: Any) -> Optional[str]:
    return request.get(_celery_canvas.PARENT_HEADER) or None


@quietly
def _after_run(
    task_id: Optional[str] = None, task: Any = None, retval: Any = None, state: Optional[str] = None, **_: object
) -> None:
    run = None if task_id is None else _running.pop(task_id, None)
    if run is None:
        return
    run.leave()
    _celery_canvas.ends(task_id or "")
    _end_run(run, retval, state)
    if state != "SUCCESS" and not run.is_handed_over:
        _canvases.abandon(task.request.chain, run.parent, f"{task.name} {run.job.status}")


def _end_run(run: Task, retval: Any, state: Optional[str]) -> None:
    job = run.job
    if state == "SUCCESS":
        job.complete(retval if is_small(retval) else None)
    elif state == "RETRY":
        run.hand_over(run.attempt + 1, f"Retry: {describe_error(getattr(retval, 'exc', None) or retval)}")
    elif state == "REJECTED" and getattr(retval, "requeue", False):
        run.hand_over(run.attempt + 1, "Put back into the queue")
    elif state == "REJECTED" and run.is_handed_over:
        # The retry could not be sent, so it will not run.
        report(job.id, status="failed", error=retval, metadata=run.metadata)
    elif state == "IGNORED":
        _end(run, *(run.outcome or ("cancelled", "ignored")))
    elif state in ("FAILURE", "REJECTED"):
        job.fail(retval)
    elif _is_ended_by_signal():
        # The worker ended it, because it was revoked or took too long. The worker reports that itself.
        run.let_go()
    elif type(sys.exc_info()[1]).__name__ == "GreenletExit":
        # A pool of greenlets ends a revoked task in this way.
        job.cancel("Terminated")
    else:
        job.fail(sys.exc_info()[1] or f"it ended as {state}")


def _is_ended_by_signal() -> bool:
    """Whether this is a child of the prefork pool that exits on request."""
    error = sys.exc_info()[1]
    # Billiard's code for signal n is n - 256.
    return isinstance(error, SystemExit) and isinstance(error.code, int) and -256 < error.code < 0


def _end(run: Task, status: str, outcome: Any) -> None:
    if status == "completed":
        run.job.complete(outcome)
    elif status == "failed":
        run.job.fail(outcome)
    else:
        run.job.cancel(outcome)


@quietly
def _failed(sender: Any = None, task_id: Optional[str] = None, exception: object = None, **_: object) -> None:
    # Failures of tasks that run here are reported elsewhere. This is for the worker's parent, whose child was lost or
    # took too long. The child has reported rejected tasks.
    if task_id is not None and task_id not in _running and not isinstance(exception, Reject) and _reports(sender.name):
        report(task_id, status="failed", error=exception, metadata={"task": sender.name})


@quietly
def _retried(sender: Any = None, request: Any = None, reason: object = None, **_: object) -> None:
    # This is for a parent that ends its child, because it lost the broker or has to stop at once. Other retries were
    # reported when their message was published.
    if request.id in _running or reason is not None or not _reports(sender.name):
        return
    if sender.acks_late:
        waits(request.id, _attempt_of(request) + 1, sender.name, "Put back into the queue", _parent_of(request))
    else:
        # Celery signals a retry, but the message is gone.
        report(request.id, status="cancelled", message="The worker was shut down", metadata={"task": sender.name})


@quietly
def _revoked(
    sender: Any = None, request: Any = None, terminated: bool = False, expired: bool = False, **_: object
) -> None:
    if _reports(sender.name):
        message = "Expired" if expired else "Terminated" if terminated else "Revoked"
        report(request.id, status="cancelled", message=message, metadata={"task": sender.name})
        context = getattr(request, "_context", request)
        _canvases.abandon(context.chain, _parent_of(context), f"{sender.name} {message.lower()}")


@quietly
def _begin_worker(**_: object) -> None:
    # Until 5.7, Celery has no signal for a child that is killed as its task took too long.
    if VERSION < (5, 7):
        from celery.worker.request import Request

        Request.on_timeout = _reporting_timeouts(Request.on_timeout)


def _reporting_timeouts(on_timeout: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(on_timeout)
    def telling(self: Any, soft: bool, timeout: float) -> Any:
        if not soft:
            _failed(self.task, self.id, TimeLimitExceeded(timeout))
        return on_timeout(self, soft, timeout)

    return telling


@quietly
def _going_down(**_: object) -> None:
    # A child of the pool leaves without what Python does at an exit.
    flush(_FLUSH_TIMEOUT)


def _reporting(update_state: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(update_state)
    def reporting(
        self: Any, task_id: Optional[str] = None, state: Optional[str] = None, meta: Any = None, **named: Any
    ) -> Any:
        _state_updated(self, task_id, state, meta)
        return update_state(self, task_id, state, meta, **named)

    return reporting


@quietly
def _state_updated(task: Any, task_id: Optional[str], state: Optional[str], meta: Any) -> None:
    job_id = task_id or task.request.id
    if job_id is None or not _reports(task.name):
        return
    run = _running.get(job_id)
    read = Meta.read(meta)
    stage = None if state is None or state in _NO_STAGE else state
    if run is None:
        # A task that runs elsewhere.
        if stage not in _ENDS:
            metadata = {"task": task.name, **(read.metadata or {})}
            report(job_id, stage=read.stage or stage, progress=read.share, message=read.message, metadata=metadata)
    elif state in _ENDS:
        # `update_state("FAILURE", …)` and then `raise Ignore()` is how some tasks fail.
        text = (meta.get("exc_message") if isinstance(meta, dict) else None) or read.message or state
        run.outcome = (_ENDS[state], meta if state == "SUCCESS" else text)
    else:
        read.show(run.job, stage)
