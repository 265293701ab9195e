"""The background thread: it passes updates from the schedule to the transport, and outcomes back."""

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
"""The most bytes of updates in one request (a server accepts 8 MiB); one update is smaller."""


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
        """The server's URL, for messages."""
        self._inbox = inbox
        self._transport = transport
        self._request_timeout = request_timeout
        dice = random.Random()
        self._schedule = Schedule(pace, dice)
        self._logs = LogSender(transport, dice, clock)
        self._flushes: list[Flush] = []
        self._clock = clock

    def run(self) -> None:
        """Runs until the reporter is closed and flushed."""
        try:
            while self._turn(self._inbox.wait(self._patience())):
                pass
        except Exception as error:
            _notice.notify(f"reporting has stopped because of an internal error: {_describe(error)}")
        finally:
            self._inbox.close()
            for flush in self._flushes:
                flush.finish(len(self._schedule))
            self._transport.close()

    def _patience(self) -> Optional[float]:
        wake_at = self.wake_at()
        return None if wake_at is None else max(0.0, wake_at - self._clock())

    def wake_at(self) -> Optional[float]:
        """When there is something to do, unless a call wakes the sender before."""
        known = [at for at in (self._schedule.wake_at(), self._logs.wake_at()) if at is not None]
        return min(known, default=None)

    def _turn(self, arrived: list[Arrival]) -> bool:
        """A turn, of which an error ends nothing: the next one comes after a wait."""
        try:
            return self.turn(arrived)
        except Exception as error:
            self._fail([], f"an internal error: {_describe(error)}", None)
            return True

    def turn(self, arrived: list[Arrival]) -> bool:
        """Handles the messages of the worker's calls, and sends what is due. Returns False after the last flush."""
        for message in arrived:
            now = self._clock()
            if isinstance(message, Begin):
                self._schedule.add(message.record, message.until_end, message.after, now)
            elif isinstance(message, Wake):
                self._schedule.wake(message.record, now)
            elif isinstance(message, Later):
                _change(message)
                self._schedule.wake(message.record, now)
            elif isinstance(message, Written):
                self._logs.written(message.record, now)
            else:
                self._flushes.append(message)
                self._schedule.flush(now, message.deadline)
        self._send_due()
        self._logs.send_due(self._timeout, bool(self._flushes))
        pending = self._schedule.flush_over(self._clock())
        if pending is None:
            return True
        flushes, self._flushes = self._flushes, []
        for flush in flushes:
            flush.finish(pending)
        return not any(flush.is_last for flush in flushes)

    def _send_due(self) -> None:
        now = self._clock()
        due = self._schedule.due(now)
        for record, seen in due.done:
            if not self._inbox.release(record, seen):
                # The job has changed since the snapshot.
                self._schedule.add(record, False, None, now)
        try:
            self._send_all(due.send, now)
        except Exception:
            # They are not in flight any more, so that they are sent after a wait.
            self._schedule.put_back(due.send, self._clock())
            raise

    def _send_all(self, records: list[Record], now: float) -> None:
        request: list[Record] = []
        updates: list[Outgoing] = []
        size = 0
        # Children first, so that the end of a parent that is sent with theirs shows them. A child that is a parent
        # itself began before its own children.
        ordered = sorted(records, key=lambda record: -record.key if record.description.has_parent else 0)
        for index, record in enumerate(ordered):
            update = record.encode(now)
            if updates and size + len(update.data) > BATCH_BYTES:
                if not self._send(request, updates):
                    self._schedule.put_back(ordered[index:], self._clock())
                    return
                request, updates, size = [], [], 0
            request.append(record)
            updates.append(Outgoing(record.job_id, update))
            size += len(update.data) + 1
        if updates:
            self._send(request, updates)

    def _timeout(self) -> float:
        """How long a request may take now, in seconds."""
        time_left = self._schedule.time_left(self._clock())
        return max(0.001, self._request_timeout if time_left is None else min(self._request_timeout, time_left))

    def _send(self, records: list[Record], updates: list[Outgoing]) -> bool:
        """Returns whether to send more to the server now."""
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
            # An unexpected error of the transport: retry, so that the progress is not lost.
            self._fail(records, _describe(error), None)
            return False
        self._schedule.answered()
        self._inbox.has_arrived()
        now = self._clock()
        for record, outcome in zip(records, outcomes):
            self._settle(record, outcome, now)
        if self._schedule.has_recovered():
            _notice.notify(f"reporting to {self._server} works again")
        return True

    def _fail(self, records: list[Record], reason: str, retry_after: Optional[float]) -> None:
        if self._schedule.fail(records, retry_after, self._clock()):
            _notice.notify(f"cannot report to {self._server}; the job continues: {reason}")

    def _settle(self, record: Record, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Unacceptable):
            sent = self._schedule.sent(record)
            # While the job runs, a notice names the invalid part so that its author can fix it. An end must arrive.
            if sent is not None and (outcome.is_too_large or sent.ended) and record.reduce(sent.ended):
                self._schedule.send_again(record)
                record.refused_part = outcome.refusal.detail
                return
            is_final, refusal = outcome.is_final, outcome.refusal
            outcome = Refused(refusal) if is_final else Busy(refusal.detail)
        is_news = self._schedule.settle(record, outcome, now)
        if isinstance(outcome, Accepted):
            record.refused = None
            record.request(outcome.requested)
            if record.refused_part is not None:
                record.notify_truncated(f"the server rejected it: {record.refused_part}")
                record.refused_part = None
        elif isinstance(outcome, Refused):
            record.refused = outcome.refusal
            if is_news:
                _notice.notify(f"an update of {record.job_id} was rejected: {outcome.refusal.detail}")
        elif isinstance(outcome, AttemptOver):
            if is_news:
                record.refused, record.is_over = outcome.refusal, True
                # No notice for a queued job: the process that enqueues it may report after the worker has begun.
                if record.status != "queued":
                    _notice.notify(self._explain(record.job_id, outcome.refusal))
        elif isinstance(outcome, Busy) and is_news:
            _notice.notify(f"the server cannot accept an update of {record.job_id} now; retrying: {outcome.reason}")

    def _explain(self, job_id: str, refusal: Refusal) -> str:
        if refusal.problem == "attempt-ended":
            which = "it" if refusal.attempt is None else f"attempt {refusal.attempt}"
            return (
                f"{job_id} is not shown at {self._server}, because {which} has already ended there; "
                f'to run the same id again, use milepost.job(id="{job_id}", attempt="next")'
            )
        if refusal.problem == "attempt-superseded":
            return f"{job_id} is no longer shown at {self._server}: another worker has begun attempt {refusal.attempt}"
        return f"{job_id} is no longer reported to {self._server}: {refusal.detail}"


def _describe(error: Exception) -> str:
    # Not its `repr`, which has the whole text that could not be encoded, such as a password.
    return f"{type(error).__name__}: {error}"


@harmless
def _change(later: Later) -> None:
    later.change()
