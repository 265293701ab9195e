"""A training as a job, whatever library runs it: epochs, steps and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union

from ._boundary import harmless
from ._counter import number
from ._current import current
from ._default import job as begin_job
from ._job import Job
from ._left_block import outcome_of

MAX_METRICS = 64
"""Of one report; more are left out."""

Given = Union[Job, str, None]


class Training:
    """What a callback of a training library reports: to `job`, if that is one; else to the job whose `with` block the
    code runs in. Otherwise the training is a job of its own, with `job` as the id (the next attempt, if that has
    ended)."""

    def __init__(self, job: Given, name: str) -> None:
        self._given = job
        self._name = name
        self._job: Optional[Job] = None
        self._owns = False

    @property
    def job(self) -> Optional[Job]:
        """The job, while the training runs."""
        return self._job

    @harmless
    def begin(self, total: object, unit: str, stage: str) -> None:
        """The training begins. `total` is its number of steps or epochs; None if it is not known."""
        given = self._given
        known = given if isinstance(given, Job) else current() if given is None else None
        self._owns = known is None
        self._job = known or begin_job(self._name, id=given, attempt=None if given is None else "next")
        self._job.stage(stage)
        self._job.update(current=0, total=number(total) or None, unit=unit)

    @harmless
    def at(self, current: object, message: Optional[str] = None) -> None:
        """So many steps or epochs are done."""
        if self._job is not None:
            self._job.update(current=number(current), message=message)

    @harmless
    def stage(self, name: str) -> None:
        if self._job is not None:
            self._job.stage(name)

    @harmless
    def metrics(self, values: Optional[Mapping[Any, Any]]) -> None:
        """The numbers among them are the job's metadata."""
        if self._job is not None and values:
            found = {str(name): number(value) for name, value in list(values.items())[:MAX_METRICS]}
            self._job.metadata({name: value for name, value in found.items() if value is not None})

    @harmless
    def end(self, error: Optional[BaseException] = None) -> None:
        """The training is over."""
        job, self._job = self._job, None
        if job is not None and self._owns:
            job._end(*(("completed", None) if error is None else outcome_of(error)))
