"""A task of a queue's worker, while it runs in this process."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from typing import Any, Optional

from . import _current, _notice
from ._default import default
from ._description import Description
from ._job import Job
from ._json import encode
from ._memory import LOCK
from ._request import Request
from ._threads import Thread
from ._update import Update

STAGE = "processing"
"""Until the task names one."""

ACKNOWLEDGE_WITHIN = 1.0
"""How long the queue waits, in seconds, before it stops a cancelled task: for the acknowledgement to be sent."""


class Task:
    """One run of a task: the job that reports it, which is `milepost.current()` for the task's code."""

    def __init__(
        self,
        job_id: str,
        attempt: int,
        metadata: Optional[dict[str, object]] = None,
        parent: Optional[str] = None,
    ) -> None:
        self.metadata = metadata
        self.parent = parent
        """The id of the job whose child the task is."""
        self.job: Job = default().job_of_queue(self._name or "", job_id, attempt, STAGE, metadata, parent)
        self.outcome: Optional[tuple[str, Any]] = None
        """An end that the task's code has set outright: it counts if the task leaves without another."""
        self._token: contextvars.Token[Optional[Job]] = _current.make_current(self.job)

    @property
    def attempt(self) -> int:
        return self.job.attempt or 1

    @property
    def _name(self) -> Optional[str]:
        name = (self.metadata or {}).get("task")
        return None if name is None else str(name)

    @property
    def is_handed_over(self) -> bool:
        """Whether the task is in the queue again."""
        return self.job._record.is_handed_over

    def hand_over(self, attempt: int, message: Optional[str]) -> None:
        """The task is in the queue again: it waits to be run as that attempt, here or elsewhere."""
        if not self.job._outbox.is_foreign and self.job._record.hand_over(
            queued(self.job.id, attempt, message, self._name, self.parent), "queued"
        ):
            self.job._wake()

    def let_go(self) -> None:
        """Another process, which sees this one exit, reports how the task ended."""
        with LOCK:
            self.job._record.is_handed_over = True
            # Pending updates may arrive after that end, and must not begin another attempt.
            self.job._record.reopens = False

    def cancel_by(self, stop: Callable[[], None]) -> None:
        """Watchers may request that the task be cancelled: its queue then stops it, by `stop`, which may wait for the
        queue's broker."""
        record, job = self.job._record, self.job

        def deliver_and_stop() -> None:
            # The queue may kill this process at once, before pending updates are sent.
            job._deliver(ACKNOWLEDGE_WITHIN)
            stop()

        # The sender calls it, and must not end where no thread can be started.
        @quietly
        def on_request(request: Request) -> None:
            if request.action == "cancel" and not record.has_ended:
                job.acknowledge("cancel")
                # Not on the sender's thread, which must not wait.
                Thread(quietly(deliver_and_stop), "milepost-cancel").start()

        record.on_request = on_request
        job._listen()

    def leave(self) -> None:
        """The task's code is done, here."""
        _current.restore(self._token)


def waits(job_id: str, attempt: int, name: str, message: Optional[str] = None, parent: Optional[str] = None) -> None:
    """A task waits in its queue. Should it run already, that counts."""
    default().give(job_id, queued(job_id, attempt, message, name, parent), "queued", "queued", reopens=False)


def is_cancelled(job_id: str, message: str, parent: Optional[str]) -> None:
    """A task will never run."""
    update = Update(job_id, "cancelled")
    update.text("message", message)
    _describe(update, None, parent)
    default().give(job_id, update, "cancelled", None, reopens=False)


def begin_whole(job_id: str, name: str, children: int, parent: Optional[str]) -> None:
    """Several tasks are one job, which the server ends once all of them have ended."""
    update = Update(job_id, "processing")
    update.now()
    _describe(update, name, parent, children)
    default().give(job_id, update, "processing", None, reopens=False)


def queued(job_id: str, attempt: int, message: Optional[str], name: Optional[str], parent: Optional[str]) -> Update:
    """The update of a task that waits in a queue."""
    update = Update(job_id, "queued")
    update.stage("queued")
    update.text("message", message)
    update.now()
    if name is not None:
        update.members("metadata", {"task": encode(name)})
    _describe(update, name, parent)
    update.number("attempt", attempt)
    # A worker may have reported it before this arrives.
    update.json("unless_known", "true")
    return update


def _describe(update: Update, name: Optional[str], parent: Optional[str], children: Optional[int] = None) -> None:
    description = Description()
    if name is not None:
        description.name(name)
    if parent is not None:
        description.parent(parent, None)
    if children is not None:
        description.end_with_children(children)
    description.add_to(update, unit=None)


def quietly(handler: Callable[..., Any]) -> Callable[..., None]:
    """Nothing that goes wrong with a report reaches the queue or its tasks."""

    @functools.wraps(handler)
    def call(*arguments: Any, **named: Any) -> None:
        try:
            handler(*arguments, **named)
        except Exception as error:
            _notice.notify(f"a task is not reported, because of an internal error: {error!r}")

    return call
