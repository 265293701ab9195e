"""The reporter that the environment names, and the calls that use it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal, Optional, Union

from . import _address, _json
from ._argument import given_mapping, given_progress, given_seconds, given_text, given_token, given_whole
from ._boundary import harmless, warn_once
from ._counter import Number
from ._interactive import hint_no_server
from ._job import Job
from ._memory import LOCK
from ._reporter import Reporter
from ._update import ENDS, Update, bounded_attempt, bounded_ttl

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
    """Sets the server to which `job` and `report` report from now on. See `Reporter` for the arguments.

    If `url` is None, `MILEPOST_URL` is used; if `token` is None, `MILEPOST_TOKEN`. Jobs that have already begun
    continue to report to the previous server.
    """
    global _reporter
    given = given_token(token)
    reporter = Reporter(
        _address.from_environment() if url is None else url,
        token=given or os.environ.get("MILEPOST_TOKEN") or None,
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
"""The latest former reporters, whose jobs may still run; they are flushed when the process exits."""


def default() -> Reporter:
    """The reporter that `job` and `report` use, created on first use."""
    global _reporter
    if _reporter is not None:
        return _reporter
    # Created without the lock, because it may import and log. If two threads create one, the first is used.
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
    parent: Optional[object] = None,
    weight: Optional[float] = None,
    per_rank: bool = False,
) -> Job:
    """Begins a job and reports it to its watchers.

        with milepost.job("render", id="vid-42") as job:
            for frame in job.track(frames, stage="render"):
                encode(frame)

    `name` is the kind of job, and `tags` are at most 16 words; watchers find and group jobs by them. The name and each
    tag are cut at 64 bytes.

    `id` identifies the job to watchers: 1…128 of the characters `A–Z a–z 0–9 - . _ ~ : @`. By default it is the
    name and a UUID. Without a name and an id, the job is named after the program: `train` for `train.py`. `total`
    is the amount of work in `unit`s. `metadata` holds the worker's own values. `ttl` is how many seconds the job is
    kept after each update (by default an hour, or the time that the server's operator has set). A job that is
    `queued` stays so until its block is entered, or until its first stage or count.

    `attempt` is the number of the attempt: 1, 2, …. A number higher than the job's latest attempt begins a new one.
    None is the latest attempt; its updates are rejected once it has ended. `"next"` joins the latest attempt if it
    runs, and begins the next one if it has ended. Use it for a job with a fixed id that runs again and again. If a
    worker was killed, its attempt has not ended, and a later run joins it.

    `parent` is the id of the job that this one is a part of, and `weight` how much of it (1 by default). The parent
    then shows how many children it has and, unless it reports its own progress, how far they are. See `Job.child()`.

    With `per_rank`, several processes that run the same code, such as those of torchrun, are one job with children: the
    process whose `RANK` is 0 reports the job, and each other one the child `<id>:<rank>`. It takes an `id`, which is
    the same in all processes. Without `RANK` and `WORLD_SIZE`, it has no effect.

    If a job with this id already runs in this process, the call returns that job. It never raises: an invalid id causes
    a warning, and the job is not reported.
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
        parent=parent,
        weight=weight,
        per_rank=per_rank,
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
    """Reports one update without a `Job`, for example that a job is queued which another process will run.

    The update describes the whole job: fields that it omits are removed, except stage and progress. There is no
    heartbeat: without another update, the job stays as it is. The call returns at once and never raises.
    """
    if id is None:
        warn_once("report reports nothing: it takes the id of a job")
        return
    named = given_text(status)
    known = named if named in _STATUSES else "processing"
    if known != named:
        warn_once(f"status {named[:40]!r} counts as processing: it must be one of {', '.join(_STATUSES)}")
    update = Update(str(id), known)
    shown_stage = None if stage is None else given_text(stage)
    update.stage(shown_stage)
    value = given_progress(progress)
    if value is not None:
        update.progress(min(1.0, max(0.0, value)))
    text = None if error is None else _json.describe_error(error)
    shown = message if message is not None or text is None else f"Error: {text}"
    update.text("message", None if shown is None else given_text(shown))
    update.now()
    for name, given in (("metadata", given_mapping(metadata, "metadata")), ("result", result)):
        if given is not None:
            try:
                update.json(name, _json.encode(given))
            except _json.NotJson as why:
                update.mark_truncated(name)
                warn_once(f"the {name} of {_json.describe(id)} is left out: {why}")
    update.text("error", text)
    update.number("attempt", bounded_attempt(given_whole(attempt, "attempt")))
    update.number("ttl", bounded_ttl(given_seconds(ttl, "ttl")))
    default().give(id, update, known, shown_stage, reopens=False)


def flush(timeout: float = 2.0) -> bool:
    """Waits for at most `timeout` seconds until the server has all updates so far. Returns whether it has.

    This also happens when the process exits. In asyncio, use `await asyncio.to_thread(milepost.flush)`.
    """
    return default().flush(timeout)
