"""Progress as users of task queues write it: a dictionary, by habit rather than by rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from ._counter import Number, number
from ._job import Job
from ._json import describe

_MESSAGES = ("message", "description", "status", "detail")
_COUNTED = frozenset({"current", "total", "unit", "rate"})
"""What the count itself puts into the metadata."""


class Meta(NamedTuple):
    """The progress in such a dictionary: `current` of `total` `unit`s; else `percent` (0…100), or `progress`, which is
    in percent if it is a whole number or above 1, else a part of 1; `stage`; the first text of `message`,
    `description`, `status` and `detail`. All of it is metadata as well."""

    current: Optional[Number] = None
    total: Optional[Number] = None
    progress: Optional[float] = None
    unit: Optional[str] = None
    stage: Optional[str] = None
    message: Optional[str] = None
    metadata: Optional[dict[str, Any]] = None

    @classmethod
    def read(cls, given: object) -> Meta:
        if not isinstance(given, Mapping):
            return cls() if given is None else cls(message=describe(given))
        total = number(given.get("total"))
        progress = number(given.get("progress"))
        percent = progress if isinstance(progress, int) or (progress is not None and progress > 1) else None
        if percent is None and progress is None and total is None:
            percent = number(given.get("percent"))
        if percent is not None:
            progress = percent / 100
        stage, unit = given.get("stage"), given.get("unit")
        texts = [given[name] for name in _MESSAGES if isinstance(given.get(name), str)]
        return cls(
            current=number(given.get("current")),
            total=total,
            progress=progress,
            unit=unit if isinstance(unit, str) else None,
            stage=stage if isinstance(stage, str) and stage else None,
            message=texts[0] if texts else None,
            metadata={str(name): value for name, value in given.items() if name not in _COUNTED} or None,
        )

    @property
    def share(self) -> Optional[float]:
        """The progress, 0…1, if it is known."""
        if self.progress is None and self.total and self.current is not None:
            return self.current / self.total
        return self.progress

    def show(self, job: Job, stage: Optional[str] = None) -> None:
        """Tells the job, the stage last named by the dictionary itself."""
        job._record.show(job._own)
        job.update(
            current=self.current,
            total=self.total,
            progress=self.progress,
            unit=self.unit,
            stage=self.stage or stage,
            message=self.message,
            metadata=self.metadata,
        )
