"""A reporter: one for each server, with one thread in each process."""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Literal, Optional, TypeVar, Union

from . import _address, _credential, _job_id, _json, _notice
from ._argument import (
    given_flag,
    given_mapping,
    given_number,
    given_seconds,
    given_text,
    given_texts,
    given_token,
    given_unit,
    given_weight,
    given_whole,
)
from ._boundary import harmless, warn_once
from ._counter import Number
from ._credential import Token
from ._inbox import Flush, Inbox, NotAccepted
from ._job import Job
from ._job_options import JobOptions
from ._later import LaterTransport, may_pass
from ._left_loop import uncaught
from ._memory import LOCK
from ._program import program_name
from ._rank import Place, place
from ._record import Record
from ._refused import InvalidToken
from ._schedule import GAP, Pace
from ._sender import Sender
from ._threads import Thread
from ._transport import Transport
from ._update import Update

T = TypeVar("T")

_LONGEST = 1e9
"""No wait is longer, in seconds: what waits takes no more."""
_all: weakref.WeakSet[Reporter] = weakref.WeakSet()


class Reporter:
    """Reports jobs to one server. `milepost.job()` and the other functions use the reporter of the environment.

    `url` is the server's address, `http(s)://…` or `redis(s)://…`; if it is None, nothing is reported. `token` is sent
    as `Authorization: Bearer`. Two routine updates of a job are at least `interval` seconds apart, and at most
    `heartbeat` seconds. `flush_timeout` is how many seconds an exit, or `close`, waits for the last states to be
    acknowledged; it also bounds each request. At most `max_jobs` jobs are kept, running or with an unacknowledged end;
    each takes at most about 64 KiB, and the lines of its log that wait to be sent. An unusable URL or token causes a
    warning, and nothing is reported.
    """

    def __init__(
        self,
        url: Optional[str] = None,
        *,
        token: Optional[str] = None,
        interval: float = 0.2,
        heartbeat: float = 10.0,
        flush_timeout: float = 2.0,
        max_jobs: int = 10_000,
    ) -> None:
        interval = _seconds(interval, "interval", 0.2)
        self._pace = Pace(max(interval, GAP), max(_seconds(heartbeat, "heartbeat", 10.0), interval, GAP))
        self._flush_timeout = max(0.001, _seconds(flush_timeout, "flush_timeout", 2.0))
        self._max_jobs = int(_seconds(max_jobs, "max_jobs", 10_000))
        self._url, self._token = _with_token(_usable(url), given_token(token))
        self._thread: Optional[Thread] = None
        self._has_warned_full = False
        self._inbox = Inbox(self._max_jobs, _server_of(self._url), self._pace.heartbeat)
        self._jobs: weakref.WeakValueDictionary[str, Job] = weakref.WeakValueDictionary()
        _all.add(self)

    @property
    def url(self) -> Optional[str]:
        """The server's URL; None if nothing is reported."""
        return self._url

    def job(
        self,
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
        """Begins a job: see `milepost.job()`."""
        return self._job(
            JobOptions(
                name,
                id,
                total,
                unit,
                stage,
                message,
                metadata,
                attempt,
                ttl,
                queued,
                tags,
                parent,
                weight,
                per_rank,
            )
        )

    def _job(self, options: JobOptions) -> Job:
        is_one_of_many = given_flag(options.per_rank, "per_rank")
        own = place(options.id, options.parent) if is_one_of_many else Place(options.id, options.parent, 0)
        begun = self._begin(options._replace(id=own.id, parent=own.parent))
        if begun is None:
            # A warning was logged. The program still gets a job, which is not reported.
            begun = Job(Record(_json.describe(options.name if options.id is None else options.id)), self._inbox)
        if own.children:
            begun.expect_children(own.children)
        begun._begin_again = lambda: self._job(options.again())
        begun._begin_child = self.job
        return begun

    @harmless
    def _begin(self, options: JobOptions) -> Job:
        _notice.notify_deferred()
        # A bare UUID would tell nobody which job it is.
        name = given_text(options.name) or (program_name() if options.id is None else "")
        job_id = _job_id_of(name, options.id)
        named = None if options.is_next else given_whole(options.attempt, "attempt")
        record = Record(job_id or _json.describe(options.id)[:128], named, given_seconds(options.ttl, "ttl"))
        record.reopens = options.is_next or options.is_of_queue
        record.joins = options.is_of_queue
        record.own.unit = given_unit(options.unit)
        record.own.set_total(given_number(options.total, "total"))
        record.description.name(name)
        record.description.tags(given_texts(options.tags, "tags"))
        parent = options.parent
        if parent is not None and not record.description.parent(given_text(parent), given_weight(options.weight)):
            warn_once(f"the parent of {record.job_id} is ignored: it takes a job's id")
        with LOCK:
            running = None if job_id is None else self._jobs.get(job_id)
            if running is not None and running._goes_on and named in (None, running.attempt):
                return running
            job = Job(record, self._inbox)
            if job_id is not None:
                self._jobs[job_id] = job
        if given_flag(options.queued, "queued"):
            record.queue()
        if options.stage is not None:
            record.enter(given_text(options.stage) or None)
        if options.message is not None:
            record.message(given_text(options.message) or None)
        known = given_mapping(options.metadata, "metadata")
        if known is not None:
            record.metadata(known)
        if job_id is not None and self._url is not None:
            self._take(lambda: self._inbox.begin(record))
        return job

    def job_of_queue(
        self,
        name: str,
        id: str,
        attempt: int,
        stage: str,
        metadata: Optional[Mapping[str, object]],
        parent: Optional[str] = None,
    ) -> Job:
        """Begins the job of a task that a queue runs.

        A task that runs more often than its queue says, such as one that was redelivered twice, opens the next
        attempt. If the id was used before, the server knows of later attempts than the queue: then it joins the latest.
        """
        options = JobOptions(name, id, stage=stage, metadata=metadata, attempt=attempt, parent=parent, is_of_queue=True)
        begun = self._begin(options)
        return begun if begun is not None else Job(Record(_json.describe(id)), self._inbox)

    def prepare(self) -> None:
        """Does what the first report would wait for, such as imports. For callers that hold the lock later."""
        if self._url is not None:
            self._take(lambda: None)

    def give(
        self, job_id: object, update: Update, status: str, stage: Optional[str], *, reopens: bool
    ) -> Optional[Record]:
        """Reports a whole update without a `Job`. Returns the job's record; None if it is not reported."""
        known = _job_id_of("", job_id)
        if known is None or self._url is None:
            return None
        _notice.notify_deferred()
        return self._take(lambda: self._inbox.give(known, update, status, stage, reopens))

    def _take(self, begin: Callable[[], T]) -> Optional[T]:
        try:
            self._start()
            return begin()
        except NotAccepted as why:
            if not self._has_warned_full:
                self._has_warned_full = True
                _notice.notify(f"further jobs are not reported: {why}")
        except RuntimeError as error:
            # No thread can be started: the interpreter is shutting down, or the limit of threads is reached.
            warn_once(f"nothing is reported: {error}")
        except Exception as error:
            # A package or file that the transport needs is missing or unsuitable. Retrying would not help.
            url, self._url = self._url or "", None
            _notice.notify(f"nothing is reported to {_address.without_password(url)}: {_address.explain(error)}")
        return None

    def _start(self) -> None:
        if self._thread is not None or self._url is None:
            return
        # Without the lock: this may import, and so wait for a thread that waits for the lock.
        sender = Sender(
            self._inbox,
            self._connect(self._url),
            self._pace,
            self._flush_timeout,
            _address.without_password(self._url),
        )
        thread = Thread(sender.run, "milepost")
        with LOCK:
            if self._thread is None:
                thread.start()
                self._thread = thread
                self._inbox.is_read = True
        _at_exit_of_worker_processes()

    def _connect(self, url: str) -> Transport:
        try:
            return connect(url, self._token)
        except Exception as error:
            if not may_pass(error):
                raise
            return LaterTransport(lambda: connect(url, self._token))

    def flush(self, timeout: float = 2.0) -> bool:
        """Waits for at most `timeout` seconds until the server has all updates so far. Returns whether it has."""
        pending = self._flush(time.monotonic() + _seconds(timeout, "timeout", 2.0), is_last=False)
        return pending == 0

    def _flush(self, deadline: float, is_last: bool) -> Optional[int]:
        thread = self._thread
        if thread is None or not thread.is_alive:
            return 0
        flush = Flush(deadline, is_last)
        self._inbox.flush(flush)
        # The sender finishes the flush at its deadline. The extra time is for a request that is still running then.
        pending = flush.wait(max(0.0, deadline - time.monotonic()) + 0.1)
        _notice.notify_deferred()
        return pending

    def close(self) -> None:
        """Sends pending updates, for at most `flush_timeout` seconds. Later calls report nothing."""
        deadline = time.monotonic() + self._flush_timeout
        pending = self._flush(deadline, is_last=True)
        if pending != 0:
            _notify_undelivered(pending)
        self._inbox.close()
        if self._thread is not None and pending is not None:
            self._thread.join(0.1)

    def _exit(self, deadline: float) -> None:
        """The process exits: jobs without an outcome have failed."""
        error = None if hasattr(sys, "ps1") else uncaught()
        reason = "the process ended without an outcome" if error is None else _json.describe_error(error)
        for job in list(self._jobs.values()):
            job._leave(reason)
        pending = self._flush(deadline, is_last=False)
        if pending != 0:
            _notify_undelivered(pending)

    def _after_fork(self) -> None:
        """In the child: its parent has the thread, the connection and the jobs."""
        self._inbox.is_foreign = True
        self._inbox = Inbox(self._max_jobs, _server_of(self._url), self._pace.heartbeat)
        self._thread = None
        self._jobs = weakref.WeakValueDictionary()


def _server_of(url: Optional[str]) -> Optional[str]:
    """The server's URL for browsers, without the password."""
    if url is None or _address.is_redis(url):
        return None
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _seconds(value: object, name: str, default: float) -> float:
    found = given_number(value.total_seconds() if isinstance(value, timedelta) else value, name)
    return default if found is None else min(_LONGEST, found)


def connect(url: str, token: Token) -> Transport:
    """The transport for that kind of URL. Nothing is sent yet."""
    if _address.is_redis(url):
        _address.check_redis()
        from ._redis import Redis

        return Redis(url)
    from ._http import Http

    return Http(url, token)


def _usable(url: Optional[str]) -> Optional[str]:
    if url is None or (isinstance(url, str) and not url):
        return None
    try:
        url = _address.check(str(url))
        missing = _address.missing_package(url)
    except Exception as error:  # it may not even be a string
        _notice.notify(f"nothing is reported: {_json.describe(error)}")
        return None
    if missing is not None:
        _notice.notify(f"nothing is reported to {_address.without_password(url)}: {missing}")
        return None
    return url


def _with_token(url: Optional[str], token: Token) -> tuple[Optional[str], Token]:
    """The URL to report to, and the token to send there."""
    if url is None or _address.is_redis(url):
        return url, None
    try:
        return url, _credential.usable(token) if isinstance(token, str) else token
    except InvalidToken as why:
        _notice.notify(f"nothing is reported to {_address.without_password(url)}: {why}")
        return None, None


def _job_id_of(name: str, given: object) -> Optional[str]:
    try:
        return _job_id.parse(str(given)) if given is not None else _job_id.make(str(name))
    except Exception as error:  # also what a __str__ raises
        _notice.notify(f"{_json.describe(given)[:128]!r} is not a job id, so this job is not reported: {error}")
        return None


def _notify_undelivered(pending: Optional[int]) -> None:
    jobs = "some jobs" if pending is None else "1 job" if pending == 1 else f"{pending} jobs"
    _notice.notify(f"the last states of {jobs} were not delivered in time")


# The process's end, and its forks


def _exit_all() -> None:
    try:
        _leave_all()
    except KeyboardInterrupt:
        # Who presses Ctrl-C now does not want to wait, and Python would print where that was.
        _notice.notify("the last states of some jobs were not delivered: interrupted")


def _leave_all() -> None:
    reporters = [reporter for reporter in _all if reporter._thread is not None]
    if reporters:
        deadline = time.monotonic() + max(reporter._flush_timeout for reporter in reporters)
        for reporter in reporters:
            reporter._exit(deadline)


def _after_fork_all() -> None:
    for reporter in _all:
        reporter._after_fork()


def _at_exit_of_worker_processes() -> None:
    """The worker processes of multiprocessing (and of Celery's fork of it) exit without running atexit handlers."""
    for name in ("multiprocessing.util", "billiard.util"):
        finalize = getattr(sys.modules.get(name), "Finalize", None)
        if finalize is not None:
            finalize(None, _exit_all, exitpriority=100)


atexit.register(_exit_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_all)
