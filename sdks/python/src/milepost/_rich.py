"""The tasks of rich's progress displays, as bars of a job."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Optional, Union

from ._argument import given_text
from ._bars import Reported, Snapshot
from ._boundary import harmless
from ._counter import number
from ._current import current, of_other_threads
from ._default import job as begin_job
from ._job import Job
from ._left_block import outcome_of
from ._threads import RLock

_UNIT = "it"
_FIELD = "_milepost_tasks"


class _Bar:
    """A task of rich's, with what a bar of tqdm's has."""

    iterable = None

    def __init__(self, task: Any) -> None:
        self.unit = given_text(task.fields.get("unit")) or _UNIT
        self.postfix = ""
        self.reported: Optional[Reported] = None
        self.read(task)

    def read(self, task: Any) -> None:
        self.desc = _plain(task.description)
        self.n = task.completed
        self.total = task.total

    @property
    def lacks(self) -> Optional[str]:
        return Snapshot(number(self.n), number(self.total), "").lacks


class Tasks:
    """A `rich.progress.Progress` that reports to its job.

    The first task that is not finished is the job's progress, and its description the stage; the others are shown in
    the metadata, `bars`. A job of the display's own begins with the first task, and ends when the display stops.
    """

    def __init__(self, job: Union[Job, str, None] = None) -> None:
        self._given = job
        self._job: Optional[Job] = None
        self._owns = False
        self._bars: dict[int, _Bar] = {}
        # Reentrant: a signal handler may draw in the middle of this.
        self._lock = RLock()
        self._error: Optional[BaseException] = None
        """What the display's block was left by."""

    @harmless
    def changed(self, task: Any) -> None:
        """A task was added, or is further than before."""
        bar = self._bars.get(task.id)
        if bar is None:
            if task.finished:
                return
            bar = self._bars.setdefault(task.id, _Bar(task))
        bar.read(task)
        if bar.reported is None:
            bar.reported = Reported(bar, self._find(bar.desc))
        bar.reported.update(bar)
        if task.finished:
            self.removed(task.id)

    @harmless
    def removed(self, task_id: int) -> None:
        """A task is finished, or was removed."""
        bar = self._bars.pop(task_id, None)
        if bar is not None and bar.reported is not None:
            bar.reported.close(bar, False, None)

    @harmless
    def left(self, error: Optional[BaseException]) -> None:
        """The display's block was left by that exception; it is about to stop."""
        self._error = error

    @harmless
    def stopped(self) -> None:
        """The display has stopped."""
        lacks = next((bar.lacks for bar in self._bars.values() if bar.lacks is not None), None)
        for task_id in list(self._bars):
            self.removed(task_id)
        job, self._job = self._job, None
        if job is not None and self._owns:
            if self._error is not None:
                job._end(*outcome_of(self._error))
            elif lacks is not None:
                job._end("cancelled", f"the display was stopped at {lacks}")
            else:
                job._end("completed", None)
        self._error = None

    def __del__(self) -> None:
        # A display inside of another one's is neither started nor stopped.
        try:
            if self._job is not None and self._owns and not self._bars:
                self._job._end_soon("completed", None)
        except Exception:
            # While the interpreter goes down, anything may be gone.
            pass

    def _find(self, description: str) -> Job:
        with self._lock:
            if self._job is None:
                given = self._given
                known = given if isinstance(given, Job) else None
                if given is None:
                    known = current() or of_other_threads()
                self._owns = known is None
                self._job = known or begin_job(description, id=given, attempt=None if given is None else "next")
            return self._job


def _plain(description: object) -> str:
    """The text without rich's markup."""
    text = given_text(description)
    try:
        from rich.markup import render

        return render(text).plain
    except Exception:  # not markup
        return text


def of(progress: Any) -> Tasks:
    """The reported display, made on first use."""
    found = progress.__dict__.get(_FIELD)
    if found is None:
        found = progress.__dict__.setdefault(_FIELD, Tasks())
    return found  # type: ignore[no-any-return]


def report(progress: Any, task_id: Any) -> None:
    """A task of that display was added, or is further than before."""
    task = progress._tasks.get(task_id)
    if task is not None and not progress.disable:
        of(progress).changed(task)


def follow(module: Any) -> None:
    """From now on every display of `rich.progress`, which that module is, reports to the job whose block it is in."""
    kind = module.Progress
    if hasattr(kind, _FIELD):
        return
    setattr(kind, _FIELD, None)

    def then(name: str, after: Callable[..., None]) -> None:
        method, after = getattr(kind, name), harmless(after)

        # A task's fields may have any name, so the parameters here have none.
        @functools.wraps(method)
        def call(progress: Any, /, *arguments: Any, **named: Any) -> Any:
            result = method(progress, *arguments, **named)
            # Milepost's own displays report themselves.
            if not hasattr(progress, "_reports"):
                after(progress, result, *arguments, **named)
            return result

        setattr(kind, name, call)

    def added(progress: Any, task_id: Any, /, *arguments: Any, **named: Any) -> None:
        report(progress, task_id)

    def changed(progress: Any, result: None, /, task_id: Any, *arguments: Any, **named: Any) -> None:
        report(progress, task_id)

    then("add_task", added)
    then("update", changed)
    then("advance", changed)
    then("reset", changed)
    then("remove_task", lambda progress, result, /, task_id: of(progress).removed(task_id))
    then("stop", lambda progress, result, /: of(progress).stopped())
