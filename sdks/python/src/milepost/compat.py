"""The reporter of the service before Milepost: the same methods, defaults and messages.

    from milepost.compat import ProgressReporter

What is different: nothing is lost. State and message are written in one step and in order, an outage of Redis or of the
server heals with the next report, and an end is told until it has arrived. A job that has ended and is reported anew by
another worker, or once more by this one, is a new attempt; a worker that goes on with a job that another one has ended
is not heard. Calls return at once; `close` waits, two seconds at most.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Optional

from . import _address, _json, _status
from ._counter import number
from ._memory import LOCK
from ._record import Record
from ._reporter import Reporter
from ._update import Update

__all__ = ["ProgressReporter"]

_STATUS_TIMEOUT = 2.0
MAX_UNDER_WAY = 1_000
"""So many jobs are remembered that were reported here and did not end here; the oldest is forgotten first."""


class ProgressReporter:
    """Reports jobs, as today's workers do.

    `redis_url` is `redis(s)://…` or, of a Milepost server, `http(s)://…`; None: what `MILEPOST_URL`, else `REDIS_URL`
    says. Without any of them nothing is reported. No method raises into the job, or waits for a server but for
    `get_status` and `close`.
    """

    def __init__(self, redis_url: Optional[str] = None) -> None:
        self._reporter = Reporter(redis_url or _address.from_environment() or os.environ.get("REDIS_URL"))
        self._under_way: dict[str, Record] = {}

    async def initialize(self) -> None:
        """Nothing needs to be done before the first report; kept for the name."""

    async def report(
        self,
        job_id: str,
        stage: str,
        progress: float,
        message: str = "",
        metadata: Optional[dict[str, Any]] = None,
    ) -> None:
        """The job is in `stage`, at `progress` (0…1, clamped)."""
        self._give(job_id, "processing", stage, progress, message, metadata=metadata or None)

    async def report_error(self, job_id: str, error: str, stage: str = "error") -> None:
        """The job has failed, in `stage`."""
        text = _json.describe(error)
        self._give(job_id, "failed", stage, 0.0, f"Error: {text}", error=text)

    async def report_complete(self, job_id: str, result: Any, message: str = "Job completed") -> None:
        """The job is done, and this came of it."""
        self._give(job_id, "completed", "complete", 1.0, message, result=result)

    async def get_status(self, job_id: str) -> Optional[dict[str, Any]]:
        """The job's last state; None if it is not known, or nobody answers within two seconds. What was reported
        here is sent before."""
        return await asyncio.to_thread(self._status, job_id)

    async def close(self) -> None:
        """Waits, two seconds at most, until what was reported has arrived. Nothing is reported from then on."""
        await asyncio.to_thread(self._reporter.close)

    def _status(self, job_id: str) -> Optional[dict[str, Any]]:
        if self._reporter.url is None:
            return None
        self._reporter.flush(_STATUS_TIMEOUT / 2)
        try:
            return _status.status(job_id, url=self._reporter.url, timeout=_STATUS_TIMEOUT)
        except Exception:
            return None

    def _give(
        self,
        job_id: str,
        status: str,
        stage: str,
        progress: float,
        message: str,
        *,
        metadata: Optional[dict[str, Any]] = None,
        error: Optional[str] = None,
        result: Any = None,
    ) -> None:
        update = Update(str(job_id), status)
        stage = _json.describe(stage)
        update.stage(stage)
        value = number(progress)
        if value is not None:
            update.progress(min(1.0, max(0.0, value)))
        update.text("message", _json.describe(message) if message else "")
        update.now()
        for name, given in (("metadata", metadata), ("result", result)):
            if given is not None:
                try:
                    update.json(name, _json.encode(given))
                except _json.NotJson:
                    update.mark_truncated(name)
        update.text("error", error)
        self._tell(str(job_id), update, status, stage)

    def _tell(self, job_id: str, update: Update, status: str, stage: str) -> None:
        self._reporter.prepare()
        with LOCK:
            known = self._under_way.pop(job_id, None)
            if known is not None and known.is_over:
                # Another worker has ended it, or taken it over, which was said. This one's end makes room for the next.
                record: Optional[Record] = known
            else:
                # Who has reported the job before, goes on with that attempt and begins no other.
                reopens = status == "processing" and known is None
                record = self._reporter.give(job_id, update, status, stage, reopens=reopens)
            if record is not None and status == "processing":
                self._under_way[job_id] = record
                if len(self._under_way) > MAX_UNDER_WAY:
                    del self._under_way[next(iter(self._under_way))]
