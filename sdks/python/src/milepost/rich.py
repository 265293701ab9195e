"""rich's progress display, which also reports: `from milepost.rich import Progress`. Needs the package rich."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Optional, Union

try:
    from rich import progress as _rich
except ModuleNotFoundError as error:
    raise ImportError("milepost.rich needs the package rich: `pip install 'milepost[rich]'`") from error

from ._job import Job
from ._rich import Tasks

__all__ = ["Progress"]


class Progress(_rich.Progress):
    """`rich.progress.Progress`, with the same arguments, which also reports to the watchers of a job.

        with Progress() as progress:
            for frame in progress.track(frames, description="render"):
                encode(frame)

    It belongs to `job`, if that is a job of `milepost.job()`; else to the job whose `with` block this code runs in.
    Otherwise it begins a job of its own with its first task. `job` is the id (the next attempt, if that has ended); by
    default the id is made from the task's description. That job ends when the display stops: completed; failed if its
    `with` block raises; or cancelled if a task has not reached its total.

    The first task that is not finished is the job's progress, and its description the stage; other tasks are shown in
    the metadata, `bars`. A task's field `unit` is its unit. With `disable=True` nothing is reported. Reporting raises
    nothing, and waits for nobody.
    """

    def __init__(self, *columns: Any, job: Union[Job, str, None] = None, **options: Any) -> None:
        self._reports = Tasks(job)
        super().__init__(*columns, **options)

    def add_task(self, description: str, *arguments: Any, **fields: Any) -> _rich.TaskID:
        task_id = super().add_task(description, *arguments, **fields)
        self._report(task_id)
        return task_id

    def update(self, task_id: _rich.TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._report(task_id)

    def advance(self, task_id: _rich.TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._report(task_id)

    def reset(self, task_id: _rich.TaskID, **changes: Any) -> None:
        super().reset(task_id, **changes)
        self._report(task_id)

    def remove_task(self, task_id: _rich.TaskID) -> None:
        super().remove_task(task_id)
        self._reports.removed(task_id)

    def stop(self) -> None:
        super().stop()
        self._reports.stopped()

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._reports.left(error)
        super().__exit__(kind, error, traceback)

    def _report(self, task_id: _rich.TaskID) -> None:
        task = self._tasks.get(task_id)
        if task is not None and not self.disable:
            self._reports.changed(task)
