"""The options with which a job begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal, NamedTuple, Optional, Union

from ._counter import Number


class JobOptions(NamedTuple):
    """The arguments of `milepost.job()`, as the program gave them."""

    name: str
    id: Optional[object] = None
    total: Optional[Number] = None
    unit: Optional[str] = None
    stage: Optional[str] = None
    message: Optional[str] = None
    metadata: Optional[Mapping[str, object]] = None
    attempt: Union[int, Literal["next"], None] = None
    ttl: Union[float, timedelta, None] = None
    queued: bool = False
    tags: Sequence[str] = ()
    parent: Optional[object] = None
    weight: Optional[float] = None
    per_rank: bool = False
    is_of_queue: bool = False
    """Whether a queue runs the job as a task of its own, and counts the attempts."""

    @property
    def is_next(self) -> bool:
        # Compared only if it is a text: an array of numpy's compares each of its elements.
        return isinstance(self.attempt, str) and str.__str__(self.attempt) == "next"

    def again(self) -> JobOptions:
        """The options of another job like this one."""
        is_next = self.attempt is None and self.id is not None
        return self._replace(attempt="next") if is_next else self
