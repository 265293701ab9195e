"""What the background thread does: it moves the schedule's wishes to the transport, and the answers back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Optional

from . import _notice
from ._boundary import harmless
from ._inbox import Arrival, Begin, Flush, Inbox, Later, Wake, Written
from ._log_sender import LogSender
from ._outcome import (
    Accepted,
    AttemptOver,
    BatchRejected,
    Busy,
    Failure,
    Outcome,
    Refusal,
    Refused,
    RetryLater,
    Unacceptable,
)
from ._record import Record
from ._schedule import Pace, Schedule
from ._transport import Outgoing, Transport

BATCH_BYTES = 1 << 20
"""Of updates in one request, at most (a server takes 8 MiB); one update is smaller."""


class Sender:
    def __init__(
        self,
        inbox: Inbox,
        transport: Transport,
        pace: Pace,
        request_timeout: float,
        server: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        """Its URL, for people."""
        self._inbox = inbox
        self._transport = transport
        self._request_timeout = request_timeout
        self._schedule = Schedule(pace, random.Random())
        self._logs = LogSender(transport)
        self._flushes: list[Flush] = []
        self._clock = clock

    def run(self) -> None:
        """Works until it is closed and flushed."""
        try:
            while self.turn(self._inbox.wait(self._patience())):
                pass
        except Exception as error:
            _notice.notify(f"nothing is reported any more, by a fault of its own: {error!r}")
        finally:
            self._inbox.close()
            for flush in self._flushes:
                flush.finish(len(self._schedule))
            self._transport.close()

    def _patience(self) -> Optional[float]:
        wake_at = self.wake_at()
        return None if wake_at is None else max(0.0, wake_at - self._clock())

    def wake_at(self) -> Optional[float]:
        """When there is something to do, if no call comes before."""
        known = [at for at in (self._schedule.wake_at(), self._logs.wake_at()) if at is not None]
        return min(known, default=None)

    def turn(self, arrived: list[Arrival]) -> bool:
        """Takes what the worker's calls left, and sends what is due. Returns whether there will be more to do."""
        for mail in arrived:
            now = self._clock()
            if isinstance(mail, Begin):
                self._schedule.add(mail.record, mail.until_end, mail.after, now)
            elif isinstance(mail, Wake):
                self._schedule.wake(mail.record, now)
            elif isinstance(mail, Later):
                _change(mail)
                self._schedule.wake(mail.record, now)
            elif isinstance(mail, Written):
                self._logs.written(mail.record, now)
            else:
                self._flushes.append(mail)
                self._schedule.flush(now, mail.deadline)
        self._send_due()
        self._logs.send_due(self._clock(), self._timeout(), bool(self._flushes))
        left = self._schedule.flush_over(self._clock())
        if left is None:
            return True
        flushes, self._flushes = self._flushes, []
        for flush in flushes:
            flush.finish(left)
        return not any(flush.is_last for flush in flushes)

    def _send_due(self) -> None:
        now = self._clock()
        due = self._schedule.due(now)
        for record, seen in due.done:
            if not self._inbox.release(record, seen):
                # Something was given in the very moment.
                self._schedule.add(record, False, None, now)
        request: list[Record] = []
        updates: list[Outgoing] = []
        size = 0
        for index, record in enumerate(due.send):
            update = record.encode(now)
            if updates and size + len(update.data) > BATCH_BYTES:
                if not self._send(request, updates):
                    self._schedule.put_back(due.send[index:], self._clock())
                    return
                request, updates, size = [], [], 0
            request.append(record)
            updates.append(Outgoing(record.job_id, update))
            size += len(update.data) + 1
        if updates:
            self._send(request, updates)

    def _timeout(self) -> float:
        """How long a request may take now, in seconds."""
        left = self._schedule.time_left(self._clock())
        return max(0.001, self._request_timeout if left is None else min(self._request_timeout, left))

    def _send(self, records: list[Record], updates: list[Outgoing]) -> bool:
        """Returns whether the server can be sent more."""
        try:
            outcomes = self._transport.send(updates, self._timeout())
        except BatchRejected:
            self._schedule.reduce(records, self._clock())
            return False
        except RetryLater as failure:
            self._fail(records, str(failure), failure.retry_after)
            return False
        except Failure as failure:
            self._fail(records, str(failure), None)
            return False
        except Exception as error:
            # A transport that fails in a way of its own: the job's progress is not lost for that.
            self._fail(records, repr(error), None)
            return False
        self._schedule.answered()
        self._inbox.has_arrived()
        now = self._clock()
        for record, outcome in zip(records, outcomes):
            self._settle(record, outcome, now)
        if self._schedule.has_recovered():
            _notice.notify(f"reports arrive at {self._server} again")
        return True

    def _fail(self, records: list[Record], reason: str, retry_after: Optional[float]) -> None:
        if self._schedule.fail(records, retry_after, self._clock()):
            _notice.notify(f"reports do not arrive at {self._server}, the job goes on: {reason}")

    def _settle(self, record: Record, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Unacceptable):
            sent = self._schedule.sent(record)
            # What is invalid says what to mend as long as the job goes on. Its end must arrive all the same.
            if sent is not None and (outcome.is_too_large or sent.ended) and record.reduce(sent.ended):
                self._schedule.send_again(record)
                record.refused_part = outcome.refusal.detail
                return
            outcome = Refused(outcome.refusal)
        is_news = self._schedule.settle(record, outcome, now)
        if isinstance(outcome, Accepted):
            record.refused = None
            record.request(outcome.requested)
            if record.refused_part is not None:
                record.notify_truncated(f"a part that the server refuses: {record.refused_part}")
                record.refused_part = None
        elif isinstance(outcome, Refused):
            record.refused = outcome.refusal
            if is_news:
                _notice.notify(f"an update of {record.job_id} was refused: {outcome.refusal.detail}")
        elif isinstance(outcome, AttemptOver):
            if is_news:
                record.refused, record.is_over = outcome.refusal, True
                # That a job waits is no news once it runs, or has run: whoever put it into a queue may be late.
                if record.status != "queued":
                    _notice.notify(self._say_why_not(record.job_id, outcome.refusal))
        elif isinstance(outcome, Busy) and is_news:
            _notice.notify(f"an update of {record.job_id} is not taken now, it is tried again: {outcome.reason}")

    def _say_why_not(self, job_id: str, refusal: Refusal) -> str:
        if refusal.problem == "attempt-ended":
            which = "it" if refusal.attempt is None else f"attempt {refusal.attempt}"
            return (
                f"{job_id} is not shown at {self._server}, as {which} has ended there already; "
                f'to run the same id again: milepost.job(id="{job_id}", attempt="next")'
            )
        if refusal.problem == "attempt-superseded":
            return (
                f"{job_id} is not shown any more at {self._server}: another worker has begun attempt {refusal.attempt}"
            )
        return f"nothing more is reported of {job_id} to {self._server}: {refusal.detail}"


@harmless
def _change(later: Later) -> None:
    later.change()
