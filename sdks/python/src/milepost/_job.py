"""The handle with which a worker reports its job."""

from __future__ import annotations

import contextvars
import itertools
import json
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, Optional, TypeVar, Union, overload

from . import _current, _json, _notice
from ._argument import given_flag, given_number, given_part, given_text, given_unit
from ._attributes import MAX_LIST
from ._boundary import harmless, warn_once
from ._counted import Counted
from ._counter import Counter, Number, number
from ._decorator import with_jobs
from ._interactive import hint_page
from ._left_block import outcome_of
from ._log_lines import STREAMS
from ._memory import LOCK, acquire_briefly
from ._notebook import Cells, html_of
from ._outbox import Outbox
from ._outcome import Refusal
from ._record import Record
from ._request import ACTIONS, CancelRequested, Request
from ._stage import Stage
from ._track import AsyncTrack, Track, checked, length_of, track

T = TypeVar("T")
J = TypeVar("J", bound="Job")
F = TypeVar("F", bound=Callable[..., Any])

_POOL_DELIVERY = 0.5
"""In a child of multiprocessing, how many seconds the end of a job waits until it has arrived. The pool may end the
child at any moment."""


class Job(Counted):
    """A handle on a job, to report its progress. Created by `milepost.job()`.

    No method raises an error of its own, blocks or waits for a server. Methods change memory, and a background thread
    sends the updates. Any thread or task may call them. The first end counts; later calls are ignored. If the job is
    dropped without an end, or the process exits, the job has failed.

    As a context manager (`with` and `async with`), the job ends with its block: as failed if the block raises, with the
    exception's text; as cancelled for KeyboardInterrupt, asyncio.CancelledError, GeneratorExit and a successful
    SystemExit; otherwise as completed. Exceptions propagate. The block does not wait until the end is acknowledged; the
    exit of the process does, for at most two seconds.
    """

    def __init__(self, record: Record, outbox: Outbox) -> None:
        self._record = record
        self._outbox = outbox
        self._own = record.own
        self._tokens: list[contextvars.Token[Optional[Job]]] = []
        self._has_warned_foreign = False
        self._begin_again: Callable[[], Job] = lambda: self
        """Begins another job like this one."""
        self._begin_child: Callable[..., Job] = lambda *_, **__: self
        """Begins a job with the same reporter."""
        self._cells = Cells()
        self._ends_soon = False
        """Whether an end is about to reach the sender."""
        self._finish: Optional[Callable[[], None]] = None
        """Ends the job when the process exits, if a bar or a framework owns it, not the program."""

    # Identity

    @property
    def id(self) -> str:
        """The job's id."""
        return self._record.job_id

    def watch_token(self, *, seconds: int = 900, secret: Optional[str] = None) -> str:
        """A token with which a page may watch this job: as `milepost.watch_token`. Unlike the other methods, it raises
        ValueError, if there is no secret."""
        from ._watch_token import watch_token

        return watch_token(self.id, seconds=seconds, secret=secret)

    @property
    def url(self) -> Optional[str]:
        """The job's page in the browser; None if it is not reported to a Milepost server."""
        return self._outbox.page_of(self.id)

    @property
    def status(self) -> str:
        """`queued`, `processing`, `completed`, `failed` or `cancelled`, as this process reported it."""
        return self._record.status

    @property
    def has_ended(self) -> bool:
        """Whether this process has reported an end."""
        return self._record.has_ended

    @property
    def _goes_on(self) -> bool:
        return not self._record.has_ended and not self._record.is_over

    @property
    def attempt(self) -> Optional[int]:
        """The attempt that updates name; None for the latest."""
        return self._record.attempt

    @property
    def refused(self) -> Optional[Refusal]:
        """Why the server rejected the latest update; None if it accepted it, or has not answered yet. With the problem
        `attempt-ended` or `attempt-superseded`, this process no longer reports the job."""
        return self._record.refused

    # Progress

    def advance(self, by: Number = 1) -> None:
        """Adds to the count, which is in `unit`s."""
        self._own.advance(by)

    @harmless
    def update(
        self,
        *,
        current: Optional[Number] = None,
        total: Optional[Number] = None,
        progress: Optional[float] = None,
        unit: Optional[str] = None,
        stage: Optional[str] = None,
        message: Optional[str] = None,
        metadata: Optional[Mapping[str, object]] = None,
    ) -> None:
        """Sets several values at once; None leaves a value unchanged. `current` is the count."""
        if stage is not None:
            self._enter(stage, self._own)
        self._update(current, total, progress, unit)
        if message is not None:
            self.message(message)
        if metadata is not None:
            self.metadata(metadata)

    @overload
    def track(
        self,
        items: AsyncIterable[T],
        total: Optional[Number] = None,
        *,
        stage: Optional[str] = None,
        unit: Optional[str] = None,
        within: Optional[tuple[float, float]] = None,
        cancellable: bool = False,
    ) -> AsyncTrack[T]: ...

    @overload
    def track(
        self,
        items: Iterable[T],
        total: Optional[Number] = None,
        *,
        stage: Optional[str] = None,
        unit: Optional[str] = None,
        within: Optional[tuple[float, float]] = None,
        cancellable: bool = False,
    ) -> Track[T]: ...

    def track(
        self,
        items: Any,
        total: Optional[Number] = None,
        *,
        stage: Optional[str] = None,
        unit: Optional[str] = None,
        within: Optional[tuple[float, float]] = None,
        cancellable: bool = False,
    ) -> Any:
        """Counts items, for `for` or `async for`: each when the next one is requested.

        `total` is the number of items; by default their `len()`, if they have one, unless a larger total was set. With
        `stage`, they are counted in a stage of that name: see `stage()`.

        If `cancellable`, the loop raises `milepost.CancelRequested` before the next item once a watcher requests that
        the job be cancelled.
        """
        if given_flag(cancellable, "cancellable"):
            self._listen()
            items = checked(items, self.raise_if_cancelled)
        if stage is not None:
            known = length_of(items) if total is None else total
            return self.stage(stage, total=known, unit=unit, within=within).track(items)
        if within is not None:
            warn_once("within is ignored: it is the part of a stage, so `track` takes `stage` as well")
        self._record.show(self._own)
        self._own.update(None, None, None, given_unit(unit))
        return track(items, self._own, given_number(total, "total"))

    def stage(
        self,
        name: str,
        *,
        total: Optional[Number] = None,
        unit: Optional[str] = None,
        within: Optional[tuple[float, float]] = None,
    ) -> Stage:
        """Enters a stage: any text, cut at 256 bytes. Watchers see it at once.

        The returned stage has its own count, and is a context manager (`with` and `async with`). Once it has a total or
        has counted, the job's progress is that of the stage. After the block, watchers see the job's own count again,
        if it has one. `within` is the part of the job's progress that the stage covers, such as `(0.25, 1.0)`. By
        default it covers all of it, so the bar starts over.
        """
        part = given_part(within, "within")
        counter = Counter(part or (0.0, 1.0), given_unit(unit))
        counter.set_total(given_number(total, "total"))
        is_shown = part is not None or counter.is_used or self._record.declares(given_text(name))
        self._enter(name, counter if is_shown else None)
        return Stage(name, self._record, counter)

    @harmless
    def stages(self, stages: Sequence[Union[str, Mapping[str, object]]]) -> None:
        """Declares the job's stages in their order: names, or mappings with an `id` and, as needed, a `label`, a
        `weight` (1 unless given) and `skipped`.

        From then on the server works out the job's progress: the weights of the stages before the present one, and
        that of the present one as far as it has counted. At most 64 stages, with at most 8,192 bytes of JSON; more, or
        invalid ones, are ignored with a warning.
        """
        # One more than there may be, of a generator that never ends.
        first = itertools.islice(iter(stages), MAX_LIST + 1)
        given = [stage if isinstance(stage, Mapping) else {"id": given_text(stage)} for stage in first]
        self._check_process()
        # Converted before the lock is acquired, because a value's own methods may wait.
        if self._record.declare_stages(json.loads(_json.encode(given))):
            self._wake()
        else:
            warn_once(f"the stages of {self.id} are ignored: at most 64, each with an id, and a weight above 0 if any")

    # Children

    def child(
        self, name: str = "", *, id: Optional[object] = None, weight: Optional[float] = None, **options: Any
    ) -> Job:
        """Begins a job that is a part of this one: see `milepost.job()`, which takes the same options.

        This job shows how many children it has and, unless it reports its own progress, how far they are. `weight` is
        how much of this job the child is, 1 by default. In another process, pass this job's id on, and begin the child
        with `milepost.job(..., parent=id)`.
        """
        return self._begin_child(name, id=id, parent=self.id, weight=weight, **options)

    @harmless
    def expect_children(self, count: int) -> None:
        """How many children the job is going to have. Otherwise its progress goes back whenever another one begins."""
        self._check_process()
        known = number(count)
        if isinstance(known, int) and self._record.expect_children(known):
            self._wake()
        else:
            warn_once(f"expect_children is ignored: it takes a number of children, not {_json.describe(count)[:40]}")

    # Requests of watchers

    @property
    def requested(self) -> Optional[Request]:
        """The latest request of a watcher to cancel, pause or resume the job; None if there is none.

        The first access makes the job cancellable; before, the server rejects requests. The response to each update
        contains the request. So a job that moves learns of it within about 0.2 seconds, and any other job with its next
        heartbeat.
        """
        self._listen()
        return self._record.requested

    @property
    def cancel_requested(self) -> bool:
        """Whether a watcher requests that the job be cancelled. Once this was True, watchers see the request as
        acknowledged. The first access makes the job cancellable: see `requested`."""
        request = self.requested
        if request is None or request.action != "cancel":
            return False
        self.acknowledge("cancel")
        return True

    def raise_if_cancelled(self) -> None:
        """Raises `milepost.CancelRequested` if a watcher requests that the job be cancelled: see `cancel_requested`.
        A `with` block of the job then ends as cancelled."""
        if self.cancel_requested:
            request = self._record.requested
            if request is not None:
                raise CancelRequested(self.id, request)

    @harmless
    def acknowledge(self, action: str) -> None:
        """Acknowledges a request: `cancel`, `pause` or `resume`. Watchers see it at once.
        After `pause`, they see the job as paused until `resume`."""
        known = given_text(action)
        if known not in ACTIONS:
            warn_once(f"acknowledge is ignored: it takes {', '.join(ACTIONS)}, not {known[:40]}")
        elif self._record.acknowledge(known):
            self._wake()

    @harmless
    def _listen(self) -> None:
        if self._record.make_cancellable():
            self._wake()

    # Message, metadata, log and artifacts

    @harmless
    def message(self, text: Optional[str]) -> None:
        """A message for people. Cut at 8,192 bytes. None, or an empty text, removes it."""
        self._check_process()
        self._record.message(given_text(text) or None)

    @harmless
    def metadata(self, values: Optional[Mapping[str, object]] = None, /, **more: object) -> None:
        """Values of the worker's own, which watchers see until they are set again. They may be anything that JSON
        represents; dates and numpy's numbers are converted. A job's metadata has at most 48 KiB; a value that does not
        fit is ignored with a warning. The count adds `current`, `total`, `unit` and `rate`."""
        self._check_process()
        self._record.metadata(values, more)

    @harmless
    def log(self, text: object, *, stream: Optional[str] = None) -> None:
        """Appends to the job's log, which is kept beside its state: the latest 256 KiB of lines. `stream` is `stdout`
        or `stderr`. Each line is cut at 4,096 bytes. At most 512 lines wait to be sent; if there are more, the oldest
        are left out, and the log says so. It takes a server's address, `http(s)://…`."""
        known = None if stream is None else given_text(stream)
        if known is not None and known not in STREAMS:
            warn_once(f"stream is ignored: it takes {' or '.join(STREAMS)}, not {known[:40]}")
            known = None
        self._log(given_text(text), known, None)

    def _log(self, text: str, stream: Optional[str], at: Optional[float]) -> None:
        self._check_process()
        self._outbox.write_log(self._record, text, stream, at)

    @harmless
    def artifact(self, name: str, url: str, *, media_type: Optional[str] = None, size: Optional[Number] = None) -> None:
        """Links a file that the job made. Watchers see it under `name`; an artifact of the same name is replaced.
        `size` is in bytes. A job has at most 64 artifacts, with at most 8,192 bytes of JSON; others are ignored with a
        warning."""
        fields: dict[str, object] = {"name": given_text(name), "url": given_text(url)}
        if media_type is not None:
            fields["media_type"] = given_text(media_type)
        known = given_number(size, "size")
        if known is not None:
            fields["size"] = known
        self._check_process()
        if not fields["name"] or not fields["url"]:
            warn_once("artifact is ignored: it takes a name and a url")
        elif not self._record.artifact(fields):
            warn_once(f"an artifact of {self.id} is ignored: there is room for 64, and for 8,192 bytes of JSON")

    @harmless
    def result(self, value: object) -> None:
        """Sets the result, which is reported when the job completes. It may be anything that JSON represents; the whole
        update has at most 65,536 bytes. Store larger results elsewhere, and report their URL."""
        self._record.result(value)

    # Ends

    @harmless
    def complete(self, result: object = None, *, message: Optional[str] = None) -> None:
        """Ends the job as completed."""
        if result is not None:
            self._record.result(result)
        self._end("completed", None if message is None else _json.describe(message))

    @harmless
    def fail(self, error: object) -> None:
        """Ends the job as failed, with a text or an exception, whose type and last frame are included. Cut at 8,192
        bytes."""
        self._end("failed", _json.describe_error(error))

    @harmless
    def cancel(self, reason: object = "cancelled") -> None:
        """Ends the job as cancelled."""
        self._end("cancelled", _json.describe(reason))

    def _enter(self, stage: str, counter: Optional[Counter]) -> None:
        if self._record.enter(given_text(stage) or None, counter):
            self._wake()

    def _check_process(self) -> None:
        if self._outbox.is_foreign and not self._has_warned_foreign:
            self._has_warned_foreign = True
            _notice.notify(
                f"{self.id} is a job of the process that this one was forked from, which reports it; "
                "what is called on it here is not reported"
            )

    @harmless
    def _end(self, status: str, text: Optional[str], waits: bool = True) -> None:
        # A copy of the job in a forked process does not end the job.
        if not self._outbox.is_foreign and self._record.end(status, text):
            self._wake()
            if self._cells:
                self._cells.update(self)
            if waits:
                self._deliver_in_pool()

    def _leave(self, reason: str) -> None:
        """The process exits: a job without an outcome has failed, unless its owner ends it otherwise."""
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()
        self._end("failed", reason, waits=False)

    def _deliver_in_pool(self) -> None:
        if _is_pool_child() and self._record.has_ended:
            self._deliver(_POOL_DELIVERY)

    @harmless
    def _deliver(self, timeout: float) -> None:
        """Waits for at most `timeout` seconds until the job's latest state has been sent."""
        self._outbox.deliver(self._record, timeout)

    def _wake(self) -> None:
        self._check_process()
        self._outbox.wake(self._record)
        _notice.notify_deferred()

    # As a decorator

    def __call__(self, function: F) -> F:
        """A decorator that makes each call of a function a job, with the arguments of this one:

            @milepost.job("export")
            def export(path): ...

        It works for functions and for coroutine functions. Inside, `milepost.current()` is the job. The return value is
        not reported. With a fixed `id`, a call after the end of another one is the job's next attempt.
        """
        self._record.is_withdrawn = True
        self._wake()
        return with_jobs(function, self._begin_again)

    # As a context manager

    def __enter__(self: J) -> J:
        if self._record.begin():
            self._wake()
        self._tokens.append(_current.enter(self))
        hint_page(self.url)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        _current.leave(self, self._tokens.pop() if self._tokens else None)
        if error is None:
            self._end("completed", None)
        else:
            status, text = outcome_of(error)
            self._end(status, text)

    async def __aenter__(self: J) -> J:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _end_soon(self, status: str, text: Optional[str]) -> None:
        """Ends the job, for finalisers: at once if the lock is free, else the sender does it."""
        record, outbox = self._record, self._outbox
        if outbox.is_foreign or record.has_ended:
            return
        if not acquire_briefly():
            # Does not refer to this job, which may be gone by then.
            self._ends_soon = True
            outbox.later(record, lambda: record.end(status, text))
            return
        try:
            if record.end(status, text):
                outbox.wake(record)
        finally:
            LOCK.release()

    def __del__(self) -> None:
        try:
            if not self._ends_soon:
                self._end_soon("failed", "dropped without an outcome")
        except Exception:
            # While the interpreter goes down, anything may be gone.
            pass

    # In a notebook

    def _repr_html_(self) -> str:
        return html_of(self._record.describe(), self._outbox.server)

    def _ipython_display_(self) -> None:
        self._cells.show(self)

    def __repr__(self) -> str:
        return f"<milepost.Job {self.id} {self.status}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a job belongs to its process: report where it was begun, as in "
            "`for result in job.track(pool.imap_unordered(work, items), total=len(items))`"
        )


def _is_pool_child() -> bool:
    parent = getattr(sys.modules.get("multiprocessing.process"), "parent_process", None)
    return parent is not None and parent() is not None
