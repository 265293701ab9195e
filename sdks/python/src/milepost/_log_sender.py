"""What the background thread does with the lines of jobs' logs."""

from __future__ import annotations

from typing import NamedTuple, Optional

from . import _notice
from ._outcome import Failure, Refused, RetryLater
from ._record import Record
from ._transport import Transport

INTERVAL = 0.2
"""Seconds between a line and the request that sends it with those that have come meanwhile."""
BATCH_LINES = 1_000
BATCH_BYTES = 196_608
"""Of one request; a server takes 4,096 lines and 262,144 bytes."""
MAX_JOBS = 1_000
"""Jobs whose lines wait to be sent. Of more, those that have waited longest are dropped."""
RETRY = (1.0, 30.0)
"""The first wait after a failure, in seconds, and the longest: each is twice the one before."""


class _Pending(NamedTuple):
    record: Record
    lines: list[bytes]


class LogSender:
    """Sends lines in order, each job's apart. A request that had no answer is repeated: a line comes twice rather than
    not at all."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._pending: dict[int, _Pending] = {}
        self._due_at: Optional[float] = None
        self._failures = 0
        self._has_told_refused = False

    def written(self, record: Record, now: float) -> None:
        """There are lines in that job's log."""
        self._pending.setdefault(record.key, _Pending(record, []))
        while len(self._pending) > MAX_JOBS:
            del self._pending[next(iter(self._pending))]
        if self._due_at is None:
            self._due_at = now + INTERVAL

    def wake_at(self) -> Optional[float]:
        return self._due_at

    def send_due(self, now: float, timeout: float, is_flush: bool) -> None:
        """Sends what is due; in a flush, everything."""
        if self._due_at is None or (now < self._due_at and not is_flush):
            return
        try:
            for key, (record, lines) in list(self._pending.items()):
                record.log.is_announced = False
                lines.extend(record.log.take())
                while lines and not record.is_over:
                    taken = _batch(lines)
                    self._send(record, b"".join(lines[:taken]), timeout)
                    del lines[:taken]
                del self._pending[key]
        except Failure as failure:
            self._failures += 1
            wait = min(RETRY[1], RETRY[0] * 2 ** (self._failures - 1))
            asked = failure.retry_after if isinstance(failure, RetryLater) else None
            self._due_at = now + max(wait, asked or 0.0)
        else:
            self._failures, self._due_at = 0, None

    def _send(self, record: Record, body: bytes, timeout: float) -> None:
        refused = self._transport.append_log(record.job_id, body, timeout)
        if isinstance(refused, Refused) and not self._has_told_refused:
            self._has_told_refused = True
            _notice.notify(f"the log of {record.job_id} is not sent: {refused.refusal.detail}")


def _batch(lines: list[bytes]) -> int:
    """How many of the lines, which are at least one, go into one request."""
    size = 0
    for count, line in enumerate(lines[:BATCH_LINES]):
        size += len(line)
        if size > BATCH_BYTES and count:
            return count
    return min(len(lines), BATCH_LINES)
