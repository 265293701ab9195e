"""The reporter of the Python service that Milepost replaces: the same methods, defaults and messages.

    from milepost.compat import ProgressReporter

State and message are written in one step and in order. After an outage of Redis or of the server, the newest state is
sent. An end is sent until it is acknowledged. A job that has ended and is reported again is a new attempt, whether this
worker or another one reports it. If a worker continues a job that another worker has ended, its updates are rejected.
Calls return at once; `close` waits for at most two seconds.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Optional

from . import _address, _json, _status
from ._argument import given_progress
from ._boundary import harmless
from ._memory import LOCK
from ._record import Record
from ._reporter import Reporter
from ._update import Update

__all__ = ["ProgressReporter"]

_STATUS_TIMEOUT = 2.0
MAX_UNDER_WAY = 1_000
"""The most running jobs of this process that are remembered. The oldest is dropped first."""


class ProgressReporter:
    """Reports jobs with the interface of the Python service.

    `redis_url` is `redis(s)://…`, or `http(s)://…` for a Milepost server, which is sent `MILEPOST_TOKEN`. If it is
    None, `MILEPOST_URL` is used, else `REDIS_URL`. Without any of them, nothing is reported. No method raises into the
    job. Only `get_status` and `close` wait for a server.
    """

    def __init__(self, redis_url: Optional[str] = None) -> None:
        url = redis_url or _address.from_environment() or os.environ.get("REDIS_URL")
        self._reporter = Reporter(url, token=os.environ.get("MILEPOST_TOKEN"))
        self._under_way: dict[str, Record] = {}

    async def initialize(self) -> None:
        """Does nothing; kept for compatibility."""

    async def report(
        self,
        job_id: str,
        stage: str,
        progress: float,
        message: str = "",
        metadata: Optional[dict[str, Any]] = None,
    ) -> None:
        """Reports that the job is in `stage`, at `progress` (0…1, clamped with a warning)."""
        self._give(job_id, "processing", stage, progress, message, metadata=None if _is_empty(metadata) else metadata)

    async def report_error(self, job_id: str, error: str, stage: str = "error") -> None:
        """Reports that the job has failed in `stage`."""
        text = _json.describe(error)
        self._give(job_id, "failed", stage, 0.0, f"Error: {text}", error=text)

    async def report_complete(self, job_id: str, result: Any, message: str = "Job completed") -> None:
        """Reports that the job has completed, with its result."""
        self._give(job_id, "completed", "complete", 1.0, message, result=result)

    async def get_status(self, job_id: str) -> Optional[dict[str, Any]]:
        """The job's last state; None if it is not known, or the server does not answer within two seconds. Pending
        updates of this reporter are sent before."""
        return await asyncio.to_thread(self._status, job_id)

    async def close(self) -> None:
        """Waits for at most two seconds until pending updates are acknowledged. Later calls report nothing."""
        await asyncio.to_thread(self._reporter.close)

    def _status(self, job_id: str) -> Optional[dict[str, Any]]:
        if self._reporter.url is None:
            return None
        self._reporter.flush(_STATUS_TIMEOUT / 2)
        try:
            return _status.status(job_id, url=self._reporter.url, timeout=_STATUS_TIMEOUT)
        except Exception:
            return None

    @harmless
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
        value = given_progress(progress)
        if value is not None:
            update.progress(min(1.0, max(0.0, value)))
        update.text("message", "" if _is_empty(message) else _json.describe(message))
        update.now()
        for name, given in (("metadata", metadata), ("result", result)):
            if given is not None:
                try:
                    update.json(name, _json.encode(given))
                except _json.NotJson:
                    update.mark_truncated(name)
        update.text("error", error)
        self._report(str(job_id), update, status, stage)

    def _report(self, job_id: str, update: Update, status: str, stage: str) -> None:
        self._reporter.prepare()
        with LOCK:
            known = self._under_way.pop(job_id, None)
            if known is not None and known.is_over:
                # Another worker has ended the job or begun a later attempt, and a notice said so. The end of this
                # worker's run lets its next report begin a new attempt.
                record: Optional[Record] = known
            else:
                # If this worker has reported the job before, it continues that attempt.
                reopens = status == "processing" and known is None
                record = self._reporter.give(job_id, update, status, stage, reopens=reopens)
            if record is not None and status == "processing":
                self._under_way[job_id] = record
                if len(self._under_way) > MAX_UNDER_WAY:
                    del self._under_way[next(iter(self._under_way))]


def _is_empty(value: object) -> bool:
    try:
        return not value
    except Exception:
        # An array of numpy's cannot be asked that.
        return False
