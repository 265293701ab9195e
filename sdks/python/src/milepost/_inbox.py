"""What the worker's calls leave for the sender to find."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty
from typing import NamedTuple, Optional, Union
from urllib.parse import quote

from ._memory import LOCK
from ._record import Record, Snapshot
from ._threads import Flag
from ._update import Update

try:
    # `queue.SimpleQueue` may be gevent's or eventlet's.
    from _queue import SimpleQueue
except ImportError:
    from queue import SimpleQueue


class NotTaken(Exception):
    """There is no room for one more job, or the reporter is closed."""


class Begin(NamedTuple):
    record: Record
    until_end: bool
    after: Optional[int]


class Wake(NamedTuple):
    record: Record


class Later(NamedTuple):
    """A change of a job that could not be made at once, as its caller must not wait for the lock."""

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
        self.left: Optional[int] = None
        """How many jobs' latest states were not sent; None until it is over."""
        self._is_over = Flag()

    def finish(self, left: int) -> None:
        self.left = left
        self._is_over.set()

    def wait(self, timeout: float) -> Optional[int]:
        self._is_over.wait(timeout)
        return self.left


Arrival = Union[Begin, Wake, Later, Written, Flush]


class Inbox:
    """Bounded by the number of jobs: a job is in it once, whatever is called.

    The queue may be written by signal handlers and finalisers, and holds no lock that a fork could catch.
    """

    def __init__(self, limit: int, server: Optional[str] = None, heartbeat: float = 10.0) -> None:
        self._server = server
        self._heartbeat = heartbeat
        """How often a job is reported at least until its end, in seconds."""
        self.is_foreign = False
        """Whether it belongs to the process that this one was forked from."""
        self.is_read = False
        """Whether a sender takes what is in it."""
        self._limit = limit
        self._queue: SimpleQueue[Arrival] = SimpleQueue()
        self._latest: dict[str, Record] = {}
        """The latest job of each id, until the sender is done with it."""
        self._occupied = 0
        self._woken: set[int] = set()
        self._is_closed = False
        self._is_vain = False
        self.waits_in_vain = 0

    def begin(self, record: Record, until_end: bool = True) -> None:
        """A job of which is told from now on. Raises NotTaken."""
        with LOCK:
            if self._is_closed:
                raise NotTaken("the reporter is closed")
            if self._occupied >= self._limit:
                raise NotTaken(f"{self._limit} jobs are reported already, which is the limit")
            self._occupied += 1
            if until_end:
                record.description.heartbeat(self._heartbeat)
            earlier = self._latest.get(record.job_id)
            self._latest[record.job_id] = record
            # The end of the one before goes first. One that goes on is another attempt's, and waits for nobody.
            after = earlier.key if earlier is not None and earlier.has_ended else None
            self._queue.put(Begin(record, until_end, after))

    def give(self, job_id: str, update: Update, status: str, stage: Optional[str], reopens: bool) -> Record:
        """An update that is to be sent as it is. Raises NotTaken."""
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
                self._queue.put(Wake(record))

    def later(self, record: Record, change: Callable[[], object]) -> None:
        """Has the sender make a change of a job. For finalisers and the like: takes no lock."""
        if self.is_read and not self._is_closed and not self.is_foreign:
            self._queue.put(Later(record, change))

    def write_log(self, record: Record, text: str, stream: Optional[str], at: Optional[float]) -> None:
        """Appends lines to a job's log. Takes no lock: finalisers and handlers of logging write as well."""
        if self.is_read and not self._is_closed and not self.is_foreign:
            record.log.append(text, stream, at)
            # The sender takes this back before it takes the lines, so none is overlooked.
            if not record.log.is_announced:
                record.log.is_announced = True
                self._queue.put(Written(record))

    def deliver(self, record: Record, timeout: float) -> None:
        """Waits, at most so many seconds, until what was said of a job has been sent; not at all after a wait that was
        in vain, until something has arrived."""
        with LOCK:
            if self._is_vain or self.is_foreign or self._latest.get(record.job_id) is not record:
                return
        flush = Flush(time.monotonic() + timeout, is_last=False)
        self.flush(flush)
        if flush.wait(timeout) != 0:
            self._is_vain = True
            self.waits_in_vain += 1

    def page_of(self, job_id: str) -> Optional[str]:
        """Where people watch a job of this server's."""
        return None if self._server is None else f"{self._server}/?job={quote(job_id)}"

    def has_arrived(self) -> None:
        """The server has answered."""
        self._is_vain = False

    def release(self, record: Record, seen: Snapshot) -> bool:
        """The sender is done with a job, unless something was said since it looked: then it stays."""
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
                self._queue.put(flush)

    def wait(self, timeout: Optional[float]) -> list[Arrival]:
        """Everything that is there; waits for it, at most so many seconds."""
        mail: list[Arrival] = []
        try:
            mail.append(self._queue.get(timeout=timeout))
            while True:
                mail.append(self._queue.get_nowait())
        except Empty:
            pass
        with LOCK:
            # What is said from now on needs another look.
            self._woken.difference_update(item.record.key for item in mail if isinstance(item, Wake))
        return mail

    def close(self) -> None:
        """Nothing is taken any more, and nobody waits in vain."""
        with LOCK:
            self._is_closed = True
            self._latest.clear()
        for item in self.wait(0):
            if isinstance(item, Flush):
                item.finish(0)
