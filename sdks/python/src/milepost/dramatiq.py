"""Reports Dramatiq's messages: each is a job here too, under the same id.

    broker = RedisBroker(…)
    milepost.dramatiq.install(broker)

Call it where you create the broker, so that it runs both in the processes that send messages and in the workers. Inside
an actor, `milepost.current()` is its job. Needs the package dramatiq.
"""

from __future__ import annotations

import threading
from typing import Any, Optional

try:
    from dramatiq import Middleware as _Middleware
    from dramatiq.middleware import Retries
except ModuleNotFoundError as error:
    raise ImportError("milepost.dramatiq needs the package dramatiq: `pip install 'milepost[dramatiq]'`") from error

from ._default import flush, report
from ._json import describe_error
from ._left_block import outcome_of
from ._result import is_small
from ._task import Task, quietly, waits

__all__ = ["Middleware", "install"]

_FLUSH_TIMEOUT = 2.0


def install(broker: Any) -> None:
    """Reports the messages that this process sends or runs by that broker. It raises nothing into Dramatiq."""
    if any(isinstance(each, Middleware) for each in broker.middleware):
        return
    # What comes before sees an outcome after: whether the message is to be retried is known then.
    retries = Retries if any(isinstance(each, Retries) for each in broker.middleware) else None
    broker.add_middleware(Middleware(), before=retries)


class _Running(threading.local):
    """The message that this thread runs."""

    task: Optional[Task] = None
    is_requeued = False


class Middleware(_Middleware):
    """What `install` adds to a broker."""

    def __init__(self) -> None:
        self._running = _Running()

    @quietly
    def after_enqueue(self, broker: Any, message: Any, delay: Optional[int]) -> None:
        task = self._running.task
        if task is not None and task.job.id == message.message_id:
            self._running.is_requeued = True
        else:
            waits(message.message_id, _attempt_of(message), message.actor_name)

    @quietly
    def before_process_message(self, broker: Any, message: Any) -> None:
        self._running.is_requeued = False
        metadata: dict[str, object] = {"task": message.actor_name}
        self._running.task = Task(message.message_id, _attempt_of(message), metadata)

    @quietly
    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Optional[BaseException] = None
    ) -> None:
        task = self._end()
        if task is None:
            return
        if self._running.is_requeued:
            task.hand_over(task.attempt + 1, f"Retry: {describe_error(exception)}")
        elif exception is None:
            task.job.complete(result if is_small(result) else None)
        else:
            task.job._end(*outcome_of(exception))

    @quietly
    def after_skip_message(self, broker: Any, message: Any) -> None:
        task = self._end()
        if task is not None:
            task.job.cancel("Skipped")
        else:
            report(message.message_id, status="cancelled", message="Skipped", metadata={"task": message.actor_name})

    def _end(self) -> Optional[Task]:
        task, self._running.task = self._running.task, None
        if task is not None:
            task.leave()
        return task

    @quietly
    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        flush(_FLUSH_TIMEOUT)


def _attempt_of(message: Any) -> int:
    return int(message.options.get("retries") or 0) + 1
