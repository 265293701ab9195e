"""What the background thread does with the lines of jobs' logs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Optional

from . import _notice
from ._backoff import Backoff
from ._outcome import Busy, Refused, RetryLater
from ._record import Record
from ._transport import Transport

INTERVAL = 0.2
"""Seconds between a line and the request that sends it with those that have come meanwhile. Also how long logs are sent
before updates have their turn again."""
BATCH_LINES = 1_000
BATCH_BYTES = 196_608
"""Of one request; a server takes 4,096 lines and 262,144 bytes."""
MAX_JOBS = 1_000
"""Jobs whose lines wait to be sent. Of more, those that have waited longest are dropped."""


class _Pending:
    """One job's lines."""

    def __init__(self, record: Record, due_at: float, dice: random.Random) -> None:
        self.record = record
        self.due_at = due_at
        self.lines: list[bytes] = []
        """Those that a request did not deliver. The log is read again once they are sent, so they stay few."""
        self.backoff = Backoff(dice)
        """For delays of this job alone."""


class LogSender:
    """Sends lines in order, each job's apart. A request that had no answer is repeated: a line comes twice rather than
    not at all."""

    def __init__(self, transport: Transport, dice: random.Random, clock: Callable[[], float]) -> None:
        self._transport = transport
        self._dice = dice
        self._clock = clock
        self._pending: dict[int, _Pending] = {}
        self._hold = float("-inf")
        """Send nothing before this time: the server did not answer, or asked to wait."""
        self._backoff = Backoff(dice)
        self._has_notified_refused = False

    def written(self, record: Record, now: float) -> None:
        """There are lines in that job's log."""
        if record.key not in self._pending:
            self._pending[record.key] = _Pending(record, now + INTERVAL, self._dice)
        while len(self._pending) > MAX_JOBS:
            dropped = self._pending.pop(next(iter(self._pending)))
            # Its next line announces it again.
            dropped.record.log.is_announced = False

    def wake_at(self) -> Optional[float]:
        if not self._pending:
            return None
        return max(self._hold, min(pending.due_at for pending in self._pending.values()))

    def send_due(self, timeout: Callable[[], float], is_flush: bool) -> None:
        """Sends what is due, each request within `timeout()` seconds; in a flush, everything."""
        begun = self._clock()
        if begun < self._hold and not is_flush:
            return
        for key, pending in list(self._pending.items()):
            if not is_flush:
                if pending.due_at > begun:
                    continue
                if self._clock() >= begun + INTERVAL:
                    return
            try:
                busy = self._send_all(pending, timeout)
            except Exception as error:
                # No answer, or an unexpected error of the transport: retry, so that no line is lost.
                retry_after = error.retry_after if isinstance(error, RetryLater) else None
                self._hold = self._clock() + max(self._backoff.next(), retry_after or 0.0)
                return
            self._backoff.reset()
            if busy is None:
                del self._pending[key]
            else:
                pending.due_at = self._clock() + max(pending.backoff.next(), busy.retry_after or 0.0)

    def _send_all(self, pending: _Pending, timeout: Callable[[], float]) -> Optional[Busy]:
        """Sends the lines that an earlier request did not deliver, then those that have come since. Returns why the
        server does not take this job's lines now, if so."""
        busy = self._send(pending, timeout)
        if busy is not None:
            return busy
        log = pending.record.log
        log.is_announced = False
        pending.lines = log.take()
        return self._send(pending, timeout)

    def _send(self, pending: _Pending, timeout: Callable[[], float]) -> Optional[Busy]:
        record, lines = pending.record, pending.lines
        while lines and not (record.is_over or record.is_withdrawn):
            taken = _batch(lines)
            outcome = self._transport.append_log(record.job_id, b"".join(lines[:taken]), timeout())
            if isinstance(outcome, Busy):
                return outcome
            if isinstance(outcome, Refused) and not self._has_notified_refused:
                self._has_notified_refused = True
                _notice.notify(f"the log of {record.job_id} is not sent: {outcome.refusal.detail}")
            del lines[:taken]
        return None


def _batch(lines: list[bytes]) -> int:
    """How many of the lines, which are at least one, go into one request."""
    size = 0
    for count, line in enumerate(lines[:BATCH_LINES]):
        size += len(line)
        if size > BATCH_BYTES and count:
            return count
    return min(len(lines), BATCH_LINES)
