"""Celery's groups, chords and chains: each is a job, and its tasks are the children of that job.

The id of a group or a chord is the group's id. A chain has no id: its job is `chain:` and the id of its result. The
server ends such a job once all of its tasks have ended.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

from celery import uuid
from celery.backends.base import Backend
from celery.canvas import _chain, _chord, group

from ._boundary import harmless
from ._task import Task, begin_whole, is_cancelled, quietly

PARENT_HEADER = "milepost_parent"
"""The header of a message that names the job whose child the task is."""

REPLACES_HEADER = "milepost_replaces"
"""The header of a message by which a task goes on that was replaced: which attempt that is."""

_next: dict[str, Iterable[str]] = {}
"""For each task that runs in this process, the ids of what comes next in its chain."""
_successors: dict[str, str] = {}
"""The ids of the tasks, groups and chords that come next in the chains of the tasks that run in this process, and the
jobs of those chains."""


class Canvas:
    """A group, a chord or a chain whose tasks are being sent."""

    def __init__(
        self, kind: str, job_id: str, enclosing: Optional[Canvas], parent: Optional[str], chain: Any, expected: int
    ) -> None:
        self.kind = kind
        self.chain = chain
        """What follows the canvas, if it is in a chain: the last task first."""
        self.expected = expected
        """How many children are sent by the workers."""
        self.job_id = job_id
        """Empty while a chain has sent nothing: it is not known before."""
        self.children = 0
        self._enclosing = enclosing
        self._parent = parent
        self._of = ""

    def add(self, name: str, chain: Any, counts: Callable[[object], bool]) -> Optional[str]:
        """Adds a child of that name, which `chain` follows, if it is in a chain. Returns the id of the parent."""
        if self.kind == "chain" and not chain:
            # A chain of one task is only that task.
            return self.parent(name, chain, counts)
        if self.kind == "chain":
            self.job_id = self.job_id or job_of_chain(chain)
            self.children += sum(1 for each in chain if counts(each["task"]))
        self.children += 1
        self._of = self._of or name
        return self.job_id

    def parent(self, name: str, chain: Any, counts: Callable[[object], bool]) -> Optional[str]:
        """The job whose child the canvas is."""
        return self._parent if self._enclosing is None else self._enclosing.add(name, chain, counts)

    @property
    def name(self) -> str:
        return f"{self.kind} of {self._of}"


_sending: contextvars.ContextVar[Optional[Canvas]] = contextvars.ContextVar("milepost_canvas", default=None)


class Canvases:
    """Follows the canvases that this process sends.

    `counts` is called with a task's name, and returns whether the task is reported. `running` has the tasks that run in
    this process.
    """

    def __init__(self, counts: Callable[[object], bool], running: Mapping[str, Task]) -> None:
        self._counts = counts
        self._running = running

    def install(self) -> None:
        group.apply_async = self._sends_group(group.apply_async)
        _chord.run = self._sends_chord(_chord.run)
        _chain.run = self._sends_chain(_chain.run)
        Backend.chord_error_from_stack = self._fails_chord(Backend.chord_error_from_stack)
        Backend.mark_as_failure = self._fails_task(Backend.mark_as_failure)

    def parent_of(self, headers: Mapping[str, Any], body: Any) -> Optional[str]:
        """The job whose child the task of a message is that is about to be sent."""
        known = headers.get(PARENT_HEADER)
        if known is not None:
            return str(known) or None
        canvas = _sending.get()
        if canvas is not None:
            embedded = body[2] if isinstance(body, (tuple, list)) and len(body) == 3 else {}
            return canvas.add(str(headers.get("task")), embedded.get("chain"), self._counts)
        found = _successors.get(str(headers["id"])) or headers.get("group")
        return None if found is None else str(found)

    def abandon(self, chain: Any, parent: Optional[str], why: str) -> None:
        """The rest of a chain will never run. `parent` is that of the task before it."""
        for sig in chain or ():
            if self._counts(sig["task"]):
                known = _named(sig["options"])
                is_cancelled(
                    _job_of(sig), f"Not run: {why}", _job_of_rest(chain, parent) if known is None else known or None
                )

    @contextmanager
    def _follow(self, canvas: Optional[Canvas]) -> Iterator[None]:
        token = _sending.set(canvas)
        try:
            yield
        finally:
            _sending.reset(token)
        # What was not sent is not counted, so a canvas that could not be sent has no job.
        self._report(canvas)

    @quietly
    def _report(self, canvas: Optional[Canvas]) -> None:
        if canvas is not None and canvas.children and canvas.job_id not in _successors.values():
            parent = canvas.parent(canvas.name, canvas.chain, self._counts)
            begin_whole(canvas.job_id, canvas.name, canvas.children + canvas.expected, parent)

    def _begin(self, kind: str, job_id: str, group_id: object, options: dict[str, Any], expected: int = 0) -> Canvas:
        known = _take_name(options)
        parent = known or _successors.get(job_id) or (None if group_id in (None, job_id) else str(group_id))
        chain = None if kind == "chain" else options.get("chain")
        if kind == "chain" and known:
            # The callback of a chord. It may lead to the same result as a chain around the chord.
            job_id = _job_of_callback(known)
        return Canvas(kind, job_id, _sending.get(), parent, chain, expected)

    def _sends_group(self, apply_async: Callable[..., Any]) -> Callable[..., Any]:
        @harmless
        def begin(this: Any, options: dict[str, Any]) -> Optional[Canvas]:
            job_id = options["task_id"] = options.get("task_id") or this.options.get("task_id") or uuid()
            enclosing = _sending.get()
            if enclosing is not None and enclosing.job_id == job_id:
                # The header of a chord is a group with the chord's id.
                return enclosing
            if "headers" in this.options:
                options.setdefault("headers", this.options.pop("headers"))
            return self._begin("group", job_id, this.options.get("group_id"), options)

        @functools.wraps(apply_async)
        def applying(this: Any, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> Any:
            if this.app.conf.task_always_eager:
                return apply_async(this, args, kwargs, *more, **options)
            canvas = begin(this, options)
            if canvas is not None and canvas is _sending.get():
                return apply_async(this, args, kwargs, *more, **options)
            with self._follow(canvas):
                return apply_async(this, args, kwargs, *more, **options)

        return applying

    def _sends_chord(self, run: Callable[..., Any]) -> Callable[..., Any]:
        @harmless
        def begin(this: Any, header: Any, body: Any, options: dict[str, Any]) -> Canvas:
            job_id = header.options["task_id"] = header.options.get("task_id") or uuid()
            replaced = self._running.get(str(options.get("task_id") or body.options.get("task_id")))
            # A task that is replaced by a chord is the chord's body. It stays where it was.
            if replaced is None:
                _name(body, job_id)
            else:
                _hand_over(replaced, body)
            expected = 1 if replaced is None and self._counts(body["task"]) else 0
            canvas = self._begin("chord", job_id, options.get("group_id"), options, expected)
            headers = options.get("headers") or this.options.get("headers")
            if headers and replaced is None:
                # They replace the body's.
                options["headers"] = {**headers, PARENT_HEADER: job_id}
            return canvas

        @functools.wraps(run)
        def running(this: Any, header: Any, body: Any, *more: Any, **options: Any) -> Any:
            with self._follow(begin(this, header, body, options)):
                return run(this, header, body, *more, **options)

        return running

    def _sends_chain(self, run: Callable[..., Any]) -> Callable[..., Any]:
        @harmless
        def begin(this: Any, options: dict[str, Any]) -> Optional[Canvas]:
            replaced = self._running.get(str(options.get("task_id")))
            if replaced is not None:
                # A task that is replaced by a chain is the last one of it, and stays where it was.
                _hand_over(replaced, this.tasks[-1])
                return None
            return self._begin("chain", "", options.get("group_id"), options)

        @functools.wraps(run)
        def running(this: Any, *more: Any, **options: Any) -> Any:
            with self._follow(begin(this, options)):
                return run(this, *more, **options)

        return running

    def _fails_task(self, fail: Callable[..., Any]) -> Callable[..., Any]:
        """For the parent of a child that was lost, or took too long. Its signals do not say what follows the task."""

        @functools.wraps(fail)
        def failing(backend: Any, task_id: Any, exc: Any, *more: Any, **named: Any) -> Any:
            self._lost(task_id, named.get("request"))
            return fail(backend, task_id, exc, *more, **named)

        return failing

    @quietly
    def _lost(self, task_id: Any, request: Any) -> None:
        if task_id not in self._running and getattr(request, "chain", None):
            self.abandon(request.chain, request.get(PARENT_HEADER), f"{request.task} failed")

    def _fails_chord(self, fail: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fail)
        def failing(backend: Any, callback: Any, exc: Any = None, *more: Any, **named: Any) -> Any:
            self._body_is_not_run(callback, exc)
            return fail(backend, callback, exc, *more, **named)

        return failing

    @quietly
    def _body_is_not_run(self, callback: Any, exc: Any) -> None:
        parent = _named(callback["options"]) or None
        if self._counts(callback["task"]):
            is_chain = callback.get("subtask_type") == "chain" and parent is not None
            job_id = _job_of_callback(str(parent)) if is_chain else _job_of(callback)
            is_cancelled(job_id, f"Not run: {exc}", parent)
        self.abandon(callback["options"].get("chain"), None, str(exc))


def begins(task_id: str, chain: Any, parent: Optional[str]) -> None:
    """A task with that parent runs in this process, and that chain follows it."""
    if chain:
        _next[task_id] = ids = _ids_of(chain[-1])
        _successors.update(dict.fromkeys(ids, _job_of_rest(chain, parent)))


def ends(task_id: str) -> None:
    """The task is done here."""
    for each in _next.pop(task_id, ()):
        _successors.pop(each, None)


def job_of_chain(chain: Any) -> str:
    """The id of a chain's job; `chain` is the rest of it, the last task first."""
    return f"chain:{_result_of(chain[0])}"


def _job_of_rest(chain: Any, parent: Optional[str]) -> str:
    """The job of a chain, of which a task with that parent has been sent."""
    return parent if parent is not None and parent.startswith("chain:") else job_of_chain(chain)


def _job_of_callback(chord_id: str) -> str:
    """The id of the job of a chain that is the callback of a chord."""
    return f"chain:{chord_id}"


def _result_of(sig: Any) -> object:
    """The id of what a signature leads to."""
    kind = sig.get("subtask_type")
    if kind == "chord":
        return _result_of(sig["kwargs"]["body"])
    return _result_of(sig["kwargs"]["tasks"][-1]) if kind == "chain" else sig["options"].get("task_id")


def _job_of(sig: Any) -> str:
    """The id of the job that a signature is."""
    kind, task_id = sig.get("subtask_type"), sig["options"].get("task_id")
    if kind == "chain":
        return f"chain:{_result_of(sig)}"
    if kind == "chord":
        return str(_header_of(sig) or task_id)
    return str(task_id)


def _header_of(sig: Any) -> object:
    header = sig["kwargs"].get("header")
    return header["options"].get("task_id") if isinstance(header, dict) else None


def _name(sig: Any, parent: Optional[str]) -> None:
    """Puts the task's parent into the headers of its message; None if it has none."""
    sig["options"]["headers"] = {**(sig["options"].get("headers") or {}), PARENT_HEADER: parent or ""}


def _hand_over(run: Task, sig: Any) -> None:
    """The task that runs goes on as that signature, later: as its next attempt."""
    _name(sig, run.parent)
    sig["options"]["headers"][REPLACES_HEADER] = run.attempt + 1
    run.hand_over(run.attempt + 1, "Replaced")


def _named(options: Mapping[str, Any]) -> Optional[str]:
    """The parent in the headers of a message with these options; empty if there is none; None if they do not say."""
    return (options.get("headers") or {}).get(PARENT_HEADER)


def _take_name(options: dict[str, Any]) -> Optional[str]:
    """The same. The messages of a canvas do not name the parent of that canvas."""
    found = _named(options)
    if found is not None:
        options["headers"] = {name: value for name, value in options["headers"].items() if name != PARENT_HEADER}
    return found


def _ids_of(sig: Any) -> Iterable[str]:
    return {str(sig["options"].get("task_id")), _job_of(sig)}
