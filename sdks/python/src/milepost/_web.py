"""Web applications that start jobs: the answer that says where to watch one, and the work."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

from ._job import Job
from ._result import is_small
from ._watch_token import watch_token

DELIVERY = 1.0
"""How long the work waits, in seconds, until its end has arrived. A server that shuts down waits for the work, and
then leaves without what Python does at an exit."""
THREADS = 8
"""So much work is done at the same time, in each process."""
MAX_PENDING = 1_000
"""So much work waits or is done; more is not begun."""
_LOGGER = logging.getLogger("milepost")


def accepted(
    job_id: object, public_url: Optional[str], secret: Optional[str], message: Optional[str] = None
) -> dict[str, Any]:
    """The response to a request that starts a job. `public_url` is where browsers find the Milepost server; None: at
    the application's own address. With a secret, there is a token with which to watch the job."""
    base = (public_url or "").rstrip("/")
    # http becomes ws, https wss.
    socket_base = f"ws{base[4:]}" if base.startswith("http") else base
    answer = {
        "job_id": str(job_id),
        "status": "queued",
        "websocket_url": f"{socket_base}/ws/jobs/{job_id}",
        "status_url": f"{base}/jobs/{job_id}/status",
        "message": "Job queued" if message is None else message,
    }
    known = secret or os.environ.get("MILEPOST_TOKEN_SECRET")
    if known:
        try:
            answer["token"] = watch_token(job_id, secret=known)
        except ValueError:
            # Either such a job is not reported, of which there is a warning, or no token can name it.
            pass
    return answer


def do(job: Job, work: Callable[..., Any], arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Does the work. The job ends with it, and the end is delivered."""
    try:
        with job:
            keep_result(job, work(job, *arguments, **named))
    finally:
        job._deliver(DELIVERY)


def keep_result(job: Job, value: Any) -> None:
    """What the work returns is the job's result, unless it is large."""
    if value is not None and is_small(value):
        job.result(value)


class TooMuchWork(Exception):
    """So much work waits that no more is begun."""


class Workers:
    """The threads of a process that do the work. Its exit waits for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, "milepost-work")
        self._pending = 0

    def begin(self, run: Callable[[], None], job: Job) -> None:
        """Raises TooMuchWork, and then the job has failed."""
        with self._lock:
            is_full = self._pending >= MAX_PENDING
            self._pending += not is_full
        if is_full:
            job.fail("too much work is waiting")
            raise TooMuchWork(f"{MAX_PENDING} pieces of work are waiting already, which is the limit")

        def run_and_log() -> None:
            try:
                run()
            except Exception:
                _LOGGER.exception("milepost: the work of %s has failed", job.id)
            finally:
                with self._lock:
                    self._pending -= 1

        self._pool.submit(run_and_log)


_workers: dict[int, Workers] = {}
"""Those of this process, by its id: after a fork, they are others."""
_workers_lock = threading.Lock()


def workers() -> Workers:
    with _workers_lock:
        known = _workers.get(os.getpid())
        if known is None:
            _workers.clear()
            known = _workers[os.getpid()] = Workers()
        return known


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_workers_lock.acquire, after_in_parent=_workers_lock.release, after_in_child=_workers_lock.release
    )
