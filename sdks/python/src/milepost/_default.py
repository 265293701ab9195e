"""The reporter that the environment names, and the calls that use it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal, Optional, Union

from . import _address, _json
from ._argument import given_progress, given_seconds, given_text, given_whole
from ._boundary import harmless, warn_once
from ._counter import Number
from ._interactive import hint_no_server
from ._job import Job
from ._memory import LOCK
from ._reporter import Reporter
from ._update import ENDS, Update

_STATUSES = ("queued", "processing", *sorted(ENDS))
_reporter: Optional[Reporter] = None


def configure(
    url: Optional[str] = None,
    *,
    token: Optional[str] = None,
    interval: float = 0.2,
    heartbeat: float = 10.0,
    flush_timeout: float = 2.0,
    max_jobs: int = 10_000,
) -> Reporter:
    """Sets where `job` and `report` report to from now on, instead of where the environment says: see `Reporter`.

    `url` None: `MILEPOST_URL`. `token` None: `MILEPOST_TOKEN`. Jobs that have begun go on where
    they began.
    """
    global _reporter
    reporter = Reporter(
        _address.from_environment() if url is None else url,
        token=token or os.environ.get("MILEPOST_TOKEN") or None,
        interval=interval,
        heartbeat=heartbeat,
        flush_timeout=flush_timeout,
        max_jobs=max_jobs,
    )
    with LOCK:
        before, _reporter = _reporter, reporter
        if before is not None:
            _former.append(before)
            del _former[:-_MOST_FORMER]
    return reporter


_MOST_FORMER = 8
_former: list[Reporter] = []
"""Reporters of jobs that may still go on; they are flushed at the process's exit, the latest few of them."""


def default() -> Reporter:
    """The reporter that `job` and `report` use: made when it is first asked for."""
    global _reporter
    if _reporter is not None:
        return _reporter
    # Made without the lock, as it may import and warn. Of two threads that do so, one's is used.
    made = _from_environment()
    with LOCK:
        if _reporter is None:
            _reporter = made
        return _reporter


def _from_environment() -> Reporter:
    return Reporter(_address.from_environment(), token=os.environ.get("MILEPOST_TOKEN") or None)


def job(
    name: str = "",
    *,
    id: Optional[object] = None,
    total: Optional[Number] = None,
    unit: Optional[str] = None,
    stage: Optional[str] = None,
    message: Optional[str] = None,
    metadata: Optional[Mapping[str, object]] = None,
    attempt: Union[int, Literal["next"], None] = None,
    ttl: Union[float, timedelta, None] = None,
    queued: bool = False,
    tags: Sequence[str] = (),
) -> Job:
    """Begins a job, whose watchers see it from now on.

        with milepost.job("render", id="vid-42") as job:
            for frame in job.track(frames, stage="render"):
                encode(frame)

    `name` is the kind of job, cut at 64 bytes, and `tags` are at most 16 words, each cut likewise: watchers find and
    group jobs by them.

    `id` is what watchers ask for: 1…128 characters out of `A–Z a–z 0–9 - . _ ~ : @`; without it, the name and a UUID.
    `total` is how much there is to do, in `unit`s. `metadata` are facts of the worker's own. `ttl` is how many seconds
    the job is kept after each update (an hour, unless the server's operator has set another time). A job that is
    `queued` is shown so until its block is entered, or its first stage or count.

    `attempt` names the attempt, 1, 2, …: a higher one than the job's latest opens it and starts clean; None is the
    latest, and is refused once that has ended. `"next"` joins the latest if that goes on, and begins the next one if it
    has ended: for a job of a fixed id that is simply run again.

    A second call with the id of a job of this process that goes on returns that job. Nothing is ever raised: an id that
    is none is warned of, and the job is not reported.
    """
    reporter = default()
    if reporter.url is None:
        hint_no_server()
    return reporter.job(
        name,
        id=id,
        total=total,
        unit=unit,
        stage=stage,
        message=message,
        metadata=metadata,
        attempt=attempt,
        ttl=ttl,
        queued=queued,
        tags=tags,
    )


@harmless
def report(
    id: object,
    *,
    status: str = "processing",
    stage: Optional[str] = None,
    progress: Optional[float] = None,
    message: Optional[str] = None,
    metadata: Optional[Mapping[str, object]] = None,
    result: object = None,
    error: Optional[object] = None,
    attempt: Optional[int] = None,
    ttl: Union[float, timedelta, None] = None,
) -> None:
    """Reports one update, without a job in hand: that a job waits in a queue, say, which another process will run.

    It says all that is known: what is left out is not shown any more, but for stage and progress, which stay. There is
    no heartbeat, and a job that is left alone stays as it was. It returns at once, and raises nothing.
    """
    known = status if status in _STATUSES else "processing"
    if known != status:
        warn_once(f"status {_json.describe(status)!r} counts as processing: it is none of {', '.join(_STATUSES)}")
    update = Update(str(id), known)
    update.stage(None if stage is None else given_text(stage))
    value = given_progress(progress)
    if value is not None:
        update.progress(min(1.0, max(0.0, value)))
    text = None if error is None else _json.describe_error(error)
    said = message if message is not None or text is None else f"Error: {text}"
    update.text("message", None if said is None else given_text(said))
    update.now()
    for name, given in (("metadata", metadata), ("result", result)):
        if given is not None:
            try:
                update.json(name, _json.encode(given))
            except _json.NotJson as why:
                update.mark_truncated(name)
                warn_once(f"the {name} of {_json.describe(id)} is left out: {why}")
    update.text("error", text)
    update.number("attempt", given_whole(attempt, "attempt"))
    update.number("ttl", given_seconds(ttl, "ttl"))
    default().give(id, update, known, stage, reopens=False)


def flush(timeout: float = 2.0) -> bool:
    """Waits, so many seconds at most, until all that was said so far has arrived. Returns whether it has.

    The process's exit does this by itself. In asyncio: `await asyncio.to_thread(milepost.flush)`.
    """
    return default().flush(timeout)
