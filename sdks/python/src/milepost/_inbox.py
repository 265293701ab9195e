"""The sender's inbox: messages from the worker's calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty
from typing import NamedTuple, Optional, Union
from urllib.parse import quote

from ._memory import LOCK
from ._record import Record, Snapshot
from ._threads import Flag, allocate_lock
from ._update import Update

try:
    # `queue.SimpleQueue` may be gevent's or eventlet's.
    from _queue import SimpleQueue
except ImportError:
    from queue import SimpleQueue


class NotAccepted(Exception):
    """There is no room for another job, or the reporter is closed."""


class Begin(NamedTuple):
    record: Record
    until_end: bool
    after: Optional[int]


class Wake(NamedTuple):
    record: Record


class Later(NamedTuple):
    """A deferred change of a job, whose caller must not wait for the lock."""

    record: Record
    change: Callable[[], object]


class Written(NamedTuple):
    """There are lines in the job's log."""

    record: Record


class Flush:
    """A request to send all that was reported so far by a deadline."""

    def __init__(self, deadline: float, is_last: bool) -> None:
        self.deadline = deadline
        self.is_last = is_last
        self.pending: Optional[int] = None
        """How many jobs' latest states were not sent; None until it is over."""
        self._is_over = Flag()

    def finish(self, pending: int) -> None:
        self.pending = pending
        self._is_over.set()

    def wait(self, timeout: float) -> Optional[int]:
        self._is_over.wait(timeout)
        return self.pending


Arrival = Union[Begin, Wake, Later, Written, Flush]


class Inbox:
    """Bounded by the number of jobs: each job is in it at most once.

    Signal handlers and finalisers may write to the queue. It uses no lock that a fork could copy in a locked state.
    """

    def __init__(self, limit: int, server: Optional[str] = None, heartbeat: float = 10.0) -> None:
        self._server = server
        self._heartbeat = heartbeat
        """The longest time between two updates of a running job, in seconds."""
        self.is_foreign = False
        """Whether it belongs to the process that this one was forked from."""
        self.is_read = False
        """Whether a sender reads it."""
        self._limit = limit
        self._queue: SimpleQueue[Arrival] = SimpleQueue()
        self._has_arrived = allocate_lock()
        """Free once there may be messages. Before Python 3.13, `SimpleQueue.get` with a timeout that is over too soon
        waits for ever."""
        self._has_arrived.acquire()
        self._latest: dict[str, Record] = {}
        """The latest job of each id, until the sender is done with it."""
        self._occupied = 0
        self._woken: set[int] = set()
        self._is_closed = False
        self._is_unanswered = False
        self.waits_in_vain = 0

    @property
    def server(self) -> Optional[str]:
        """Where a browser finds the server; None if there is none."""
        return self._server

    def _put(self, message: Arrival) -> None:
        self._queue.put(message)
        try:
            self._has_arrived.release()
        except RuntimeError:
            # It is free already: the sender has not looked yet.
            pass

    def begin(self, record: Record, until_end: bool = True) -> None:
        """Begins to report a job. Raises NotAccepted."""
        with LOCK:
            if self._is_closed:
                raise NotAccepted("the reporter is closed")
            if self._occupied >= self._limit:
                raise NotAccepted(f"{self._limit} jobs are reported already, which is the limit")
            self._occupied += 1
            if until_end:
                record.description.heartbeat(self._heartbeat)
            earlier = self._latest.get(record.job_id)
            self._latest[record.job_id] = record
            # The end of an earlier job with this id is sent first. An earlier job that still runs is another attempt.
            after = earlier.key if earlier is not None and earlier.has_ended else None
            self._put(Begin(record, until_end, after))

    def give(self, job_id: str, update: Update, status: str, stage: Optional[str], reopens: bool) -> Record:
        """Reports a whole update. Raises NotAccepted."""
        with LOCK:
            record = self._latest.get(job_id)
            if record is None or record.has_ended:
                record = Record(job_id)
                record.reopens = reopens
                self.begin(record, until_end=False)
            if record.give(update, status, stage):
                self.wake(record)
            return record

    def wake(self, record: Record) -> None:
        """Asks the sender to check a job at once."""
        with LOCK:
            if record.key not in self._woken and not self._is_closed and not self.is_foreign:
                self._woken.add(record.key)
                self._put(Wake(record))

    def later(self, record: Record, change: Callable[[], object]) -> None:
        """Lets the sender make a change of a job. For finalisers and similar code: takes no lock."""
        if self.is_read and not self._is_closed and not self.is_foreign:
            self._put(Later(record, change))

    def write_log(self, record: Record, text: str, stream: Optional[str], at: Optional[float]) -> None:
        """Appends lines to a job's log. Takes no lock: finalisers and handlers of logging write as well."""
        if self.is_read and not self._is_closed and not self.is_foreign:
            record.log.append(text, stream, at)
            # The sender takes this back before it takes the lines, so none is overlooked.
            if not record.log.is_announced:
                record.log.is_announced = True
                self._put(Written(record))

    def deliver(self, record: Record, timeout: float) -> None:
        """Waits for at most `timeout` seconds until the job's latest state has been sent. After a timeout, it does
        not wait again until the server has answered."""
        with LOCK:
            if self._is_unanswered or self.is_foreign or self._latest.get(record.job_id) is not record:
                return
        flush = Flush(time.monotonic() + timeout, is_last=False)
        self.flush(flush)
        if flush.wait(timeout) != 0:
            self._is_unanswered = True
            self.waits_in_vain += 1

    def page_of(self, job_id: str) -> Optional[str]:
        """The URL of the page that shows the job, if the server has pages."""
        return None if self._server is None else f"{self._server}/?job={quote(job_id)}"

    def has_arrived(self) -> None:
        """The server has answered."""
        self._is_unanswered = False

    def release(self, record: Record, seen: Snapshot) -> bool:
        """Removes a job without anything more to send. Returns False if it has changed since `seen`."""
        with LOCK:
            if record.snapshot() != seen:
                return False
            self._occupied -= 1
            if self._latest.get(record.job_id) is record:
                del self._latest[record.job_id]
            return True

    def flush(self, flush: Flush) -> None:
        with LOCK:
            if self._is_closed:
                flush.finish(0)
            else:
                self._put(flush)

    def wait(self, timeout: Optional[float]) -> list[Arrival]:
        """All messages in the queue. Waits for the first, for at most `timeout` seconds."""
        arrived: list[Arrival] = []
        self._has_arrived.acquire(True, -1 if timeout is None else max(0.0, timeout))
        try:
            while True:
                arrived.append(self._queue.get_nowait())
        except Empty:
            pass
        with LOCK:
            # A change after this needs another check.
            self._woken.difference_update(item.record.key for item in arrived if isinstance(item, Wake))
        return arrived

    def close(self) -> None:
        """Accepts no more jobs, and releases those who wait for a flush."""
        with LOCK:
            self._is_closed = True
            self._latest.clear()
        for item in self.wait(0):
            if isinstance(item, Flush):
                item.finish(0)
