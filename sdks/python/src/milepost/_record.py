"""The state of one job in this process: written by the worker's calls, read by the sender."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from . import _json, _notice
from ._counter import Count, Counter
from ._description import Description
from ._log_lines import LogLines
from ._memory import LOCK
from ._metadata import MAX_METADATA_BYTES, Metadata, counted
from ._outcome import Refusal
from ._rate import Rate
from ._request import Request
from ._update import (
    ENDS,
    MAX_STAGE_BYTES,
    MAX_TEXT_BYTES,
    MAX_UPDATE_BYTES,
    TEXTS,
    Encoded,
    Update,
    bounded_attempt,
    bounded_ttl,
    quote,
)

_versions = itertools.count(1)
_keys = itertools.count(1)


class StateId(NamedTuple):
    """Identifies one of a job's states: equal ids mean equal states."""

    version: int
    attempt: Optional[int]
    counted: Optional[Count]


class Snapshot(NamedTuple):
    """A job at the time of a check."""

    state: StateId
    urgent: int
    """Changes with status and stage, which watchers should see at once."""
    ended: bool


class Last(NamedTuple):
    """The last update that this process reports of a job."""

    status: str
    update: Update


class Record:
    """One job of this process. Every change is made under the lock and increments `version`.

    Invariant: the first end wins. A signal handler may report in the middle of any call here, in the same thread, and
    the lock does not exclude it: what was checked may have changed before the next line. So the end has its own
    field, which one atomic operation sets once, and which overrides everything else.
    """

    def __init__(self, job_id: str, attempt: Optional[int] = None, ttl: Optional[int] = None) -> None:
        self.job_id = job_id
        self.key = next(_keys)
        self.own = Counter()
        self.log = LogLines()
        self.refused: Optional[Refusal] = None
        self.is_over = False
        """The server answered that the attempt is over. Nothing more is reported."""
        self.reopens = False
        """Whether to begin the next attempt if the latest has ended."""
        self.joins = False
        """Whether to join a later attempt that has already begun."""
        self._attempt = bounded_attempt(attempt)
        self._ttl = bounded_ttl(ttl)
        self.description = Description()
        self.on_request: Optional[Callable[[Request], None]] = None
        """Called by the sender with each new request. It must return at once and not raise."""
        self._requested: Optional[Request] = None
        self._acknowledged: Optional[str] = None
        """The action that the worker acknowledged last."""
        self._version = next(_versions)
        self._urgent = self._version
        self._status = "processing"
        self._stage: Optional[str] = None
        self._message: Optional[str] = None
        self._metadata = Metadata()
        self._result: Optional[str] = None
        self._counter = self.own
        self._rate = Rate()
        self._encoded: Optional[tuple[Update, Encoded]] = None
        """The encoded update, if it is the last one or was set as a whole. An end is sent with the same bytes each
        time, so that the server recognizes it."""
        self._given: Optional[Update] = None
        self._last: dict[str, Last] = {}
        self._has_notified_truncated = False
        self.refused_part: Optional[str] = None
        """Why the server rejected a part of an update. The notice follows once it has accepted the rest."""
        self._truncated: set[str] = set()
        """The parts that could not be encoded when they were set."""
        self._reductions = 0
        """By how many steps each update is reduced, because the server rejected larger ones."""
        self.is_handed_over = False
        self.is_withdrawn = False
        """Report nothing of it, unless something has been sent already."""

    @property
    def status(self) -> str:
        last = self._last.get("last")
        if last is not None:
            return last.status
        if self._status == "queued" and self.own.count().has_moved:
            return "processing"
        return self._status

    @property
    def attempt(self) -> Optional[int]:
        return self._attempt

    @property
    def has_ended(self) -> bool:
        """True also if another process continues the job: for this process it is over."""
        return self.is_handed_over or self.is_withdrawn or "last" in self._last

    def _finish(self, status: str, update: Update) -> bool:
        """Sets the last update. Returns False if there is one already."""
        last = Last(status, update)
        # Atomic: not even a signal handler runs between the lookup and the insertion.
        if self._last.setdefault("last", last) is not last:
            return False
        self._changed(at_once=True)
        return True

    @property
    def counter(self) -> Counter:
        """The counter that watchers see: the job's own, or that of a stage."""
        return self._counter

    def _changed(self, at_once: bool = False) -> None:
        self._version = next(_versions)
        if at_once:
            self._urgent = self._version

    @property
    def requested(self) -> Optional[Request]:
        """The latest request of a watcher that the server has passed on."""
        return self._requested

    def request(self, request: Optional[Request]) -> None:
        """The server's answer to an update names that request."""
        if request is None or request == self._requested:
            return
        self._requested = request
        if self.on_request is not None:
            self.on_request(request)

    def make_cancellable(self) -> bool:
        """Declares that the worker answers requests. Returns whether that is a change."""
        with LOCK:
            is_news = self.description.cancellable()
            if is_news:
                self._changed(at_once=True)
            return is_news

    def acknowledge(self, action: str) -> bool:
        """Records that the worker acknowledges a request. Returns whether that is a change."""
        with LOCK:
            if action == self._acknowledged:
                return False
            self._acknowledged = action
            self._changed(at_once=True)
            return True

    def artifact(self, fields: Mapping[str, object]) -> bool:
        """Adds a link to what the job made. Returns whether there was room for it."""
        with LOCK:
            has_room = self.description.artifact(fields)
            if has_room:
                self._changed()
            return has_room

    def declare_stages(self, stages: Sequence[Mapping[str, object]]) -> bool:
        """Declares the stages of the attempt. Returns whether they are valid."""
        with LOCK:
            is_valid = self.description.declare_stages(stages)
            if is_valid:
                self._changed(at_once=True)
            return is_valid

    def expect_children(self, count: int) -> bool:
        """How many children the job is going to have. Returns whether that is a number of children."""
        with LOCK:
            is_valid = self.description.expect_children(count)
            if is_valid:
                self._changed(at_once=True)
            return is_valid

    def declares(self, stage: str) -> bool:
        """Whether the stage is one of those that are declared."""
        return stage in self.description.stages

    def queue(self) -> None:
        with LOCK:
            self._status = "queued"
            self._changed(at_once=True)

    def begin(self) -> bool:
        """The job is no longer queued. Returns whether that is a change."""
        with LOCK:
            if self._status != "queued":
                return False
            self._status = "processing"
            self._changed(at_once=True)
            return True

    def enter(self, stage: Optional[str], counter: Optional[Counter] = None) -> bool:
        """Enters a stage, and shows that counter from now on. Returns whether watchers should see it at once."""
        with LOCK:
            if self.has_ended:
                return False
            self.show(counter)
            stage = None if stage is None else _json.cut(stage, MAX_STAGE_BYTES)
            if stage is None or (stage == self._stage and self._status != "queued"):
                return False
            self._stage = stage
            self._status = "processing"
            self._changed(at_once=True)
            return True

    def show(self, counter: Optional[Counter]) -> None:
        with LOCK:
            if counter is not None and counter is not self._counter:
                self._counter = counter
                self._rate = Rate()
                self._changed()

    def message(self, text: Optional[str]) -> None:
        """None removes the message."""
        # No more is kept than it takes to see that the text has to be cut.
        text = None if text is None else text[: MAX_TEXT_BYTES + 1]
        with LOCK:
            if text != self._message:
                self._message = text
                self._changed()

    def metadata(self, *mappings: Optional[Mapping[str, object]]) -> None:
        """Adds metadata. Values that are not JSON, or that do not fit, are skipped with a notice."""
        for mapping in mappings:
            try:
                values = [] if mapping is None else list(mapping.items())
            except Exception as error:  # it is not a mapping, or its methods raise
                self._mark_truncated("metadata", f"the metadata: {_json.describe(error)}")
                continue
            for key, value in values:
                self._set_metadata(key, value)

    def _set_metadata(self, key: object, value: object) -> None:
        shown = repr(_json.describe(key)[:64])
        try:
            name, text = _json.name(key), _json.encode(value)
        except Exception as error:  # the methods of a key may raise anything
            self._mark_truncated("metadata", f"the metadata {shown}: {_json.describe(error)}")
            return
        with LOCK:
            has_room = self._metadata.set(name, text)
            if has_room:
                self._changed()
        if not has_room:
            self._mark_truncated("metadata", f"the metadata {shown}: all of it has at most {MAX_METADATA_BYTES} bytes")

    def result(self, value: object) -> None:
        """Sets the result, which is reported if the job completes."""
        try:
            self._result = _json.encode(value)
            self._truncated.discard("result")
        except _json.NotJson as error:
            self._result = None
            self._mark_truncated("result", f"the result: {error}")

    def end(self, status: str, text: Optional[str]) -> bool:
        """Ends the job; `text` is the error, or why it was cancelled. Returns False if it had already ended."""
        with LOCK:
            if self.has_ended:
                return False
            update = self._update(status, self._counter.count(), None)
            if status == "completed":
                update.stage("complete")
                update.progress(1.0)
                update.text("message", text if text is not None else "Job completed")
                update.json("result", self._result)
            elif status == "failed":
                update.text("message", f"Error: {text or ''}")
                update.text("error", text or "")
            else:
                update.text("message", text)
            is_first = self._finish(status, update)
        self._notify_dropped(self._truncated, update)
        return is_first

    def hand_over(self, update: Update, status: str) -> bool:
        """Another process continues the job and reports it; `update` is the last one of this process. Returns False if
        the job has ended."""
        with LOCK:
            if self.has_ended:
                return False
            if not self._finish(status, update):
                return False
            # Encoded now, with the attempt that continues.
            self._encoded = (update, update.encode())
            self.is_handed_over = True
            return True

    def give(self, update: Update, status: str, stage: Optional[str]) -> bool:
        """Replaces the job's state by a whole update. Returns whether watchers should see it at once."""
        # There has been no notice yet for a text that was cut.
        before = set(update.truncated).difference(TEXTS)
        whole = update.encode()
        with LOCK:
            if self.has_ended:
                return False
            at_once = self._encoded is None or (status, stage) != (self._status, self._stage)
            if status in ENDS:
                at_once = True
                if not self._finish(status, update):
                    return False
            self._given, self._encoded = update, (update, whole)
            self._status, self._stage = status, stage
            self._changed(at_once)
        self._notify_dropped(before, update)
        return at_once

    def reopen(self, attempt: int) -> None:
        """The latest attempt is over; from now on, this record reports the given one."""
        with LOCK:
            self._attempt = attempt
            self._requested = self._acknowledged = None
            self._encoded = None
            self._changed(at_once=True)

    def snapshot(self) -> Snapshot:
        """The job as the schedule needs it."""
        with LOCK:
            # The counter does not affect an update that was set as a whole.
            count = None if self._fixed() is not None else self._counter.count()
            state = StateId(self._version, self._attempt, count)
            return Snapshot(state, self._urgent, self.has_ended)

    def encode(self, now: float) -> Encoded:
        """The update that describes the job now. Whatever goes wrong costs this job what its update contains, and
        neither its status nor other jobs."""
        try:
            return self._encode(now)
        except Exception as error:
            with LOCK:
                data = self._bare(self.status, error).encode()
                fixed = self._fixed()
                if fixed is not None:
                    self._encoded = (fixed, data)
                return data

    def _encode(self, now: float) -> Encoded:
        with LOCK:
            fixed = self._fixed()
            if fixed is not None:
                if self._encoded is not None and self._encoded[0] is fixed:
                    return self._encoded[1]
                fixed.number("attempt", self._attempt)
                update, before = fixed, set(fixed.truncated)
                data = fixed.encode()
                self._encoded = (fixed, data)
            else:
                count = self._counter.count()
                rate = self._rate.sample(count.current, now)
                update = self._update(self.status, count, rate)
                for _ in range(self._reductions):
                    update.reduce()
                # The notice about rejected parts follows once the server has accepted the rest.
                before = set(update.truncated) if self._reductions else self._truncated
                data = update.encode()
        self._notify_dropped(before, update)
        return data

    def describe(self) -> dict[str, Any]:
        """The job as its next update describes it."""
        with LOCK:
            update = self._fixed() or self._update(self.status, self._counter.count(), None)
            data = update.encode().data
        found: dict[str, Any] = json.loads(data)
        return found

    def reduce(self, is_end: bool) -> bool:
        """The server rejected the content of an update; `is_end` says whether it was the end. Returns whether a reduced
        update can be sent."""
        with LOCK:
            if is_end != self.has_ended:
                # There is a newer update to send.
                return True
            fixed = self._fixed()
            if fixed is not None:
                self._encoded = None
                return fixed.reduce()
            update = self._update(self.status, self._counter.count(), None)
            is_smaller = all(update.reduce() for _ in range(self._reductions + 1))
            self._reductions += is_smaller
            return is_smaller

    def _fixed(self) -> Optional[Update]:
        """The update that the counters do not affect, if there is one."""
        last = self._last.get("last")
        return self._given if last is None else last.update

    def _update(self, status: str, count: Count, rate: Optional[float]) -> Update:
        try:
            return self._whole(status, count, rate)
        except Exception as error:
            return self._bare(status, error)

    def _bare(self, status: str, error: Exception) -> Update:
        """The update without what could not be encoded."""
        update = Update(self.job_id, status)
        update.now()
        update.number("attempt", self._attempt)
        update.number("ttl", self._ttl)
        update.mark_truncated("metadata")
        self.notify_truncated(f"an internal error: {type(error).__name__}: {_json.describe(error)}")
        return update

    def _whole(self, status: str, count: Count, rate: Optional[float]) -> Update:
        update = Update(self.job_id, status)
        update.stage(self._stage)
        if self._stage is None or not self.declares(self._stage) or self._counter.is_part:
            update.progress(self._counter.progress(count))
        elif count.given is not None:
            # The server works out the job's progress: from this, or else from the count of the stage.
            update.json("stage_progress", repr(float(count.given)))
        update.text("message", self._message)
        update.now()
        update.members("metadata", {**counted(count, self._counter.unit, rate), **self._metadata.values})
        update.number("attempt", self._attempt)
        update.number("ttl", self._ttl)
        self.description.add_to(update, self._counter.unit)
        if count.is_counted:
            update.json("current", _json.encode(count.current))
            update.json("total", None if count.total is None else _json.encode(count.total))
        if self._acknowledged is not None:
            update.json("acknowledged", quote(self._acknowledged))
            update.json("paused", "true" if self._acknowledged == "pause" and status not in ENDS else None)
        # Only an end has a result that may be missing.
        update.mark_truncated(*(self._truncated if status == "completed" else self._truncated - {"result"}))
        return update

    def _mark_truncated(self, part: str, why: str) -> None:
        with LOCK:
            self._truncated.add(part)
            self._changed()
        self.notify_truncated(why)

    def _notify_dropped(self, before: set[str], update: Update) -> None:
        """Names the parts that encoding the update has dropped or cut, except those that were `truncated` before."""
        parts = [part for part in update.truncated if part not in before]
        if parts:
            self.notify_truncated(f"{' and '.join(parts)}: an update has at most {MAX_UPDATE_BYTES} bytes")

    def notify_truncated(self, what: str) -> None:
        """Logs that a part of the job cannot be reported; once for each job."""
        if not self._has_notified_truncated:
            self._has_notified_truncated = True
            _notice.notify(f"part of {self.job_id} is not reported: {what}")
