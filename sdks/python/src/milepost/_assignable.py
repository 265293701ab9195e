"""Values that may be assigned or called: `job.progress = 0.5` and `job.progress(0.5)` do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Optional, TypeVar

from ._counter import Number

V = TypeVar("V")


class Assignable(Generic[V]):
    """What `job.progress` and `job.total` are. `value` is what was last set, or None."""

    __slots__ = ("_set", "value")

    def __init__(self, value: Optional[Number], set_value: Callable[[Optional[V]], None]) -> None:
        self.value = value
        self._set = set_value

    def __call__(self, value: Optional[V]) -> None:
        self._set(value)

    def __float__(self) -> float:
        return float("nan") if self.value is None else float(self.value)

    def __repr__(self) -> str:
        return repr(self.value)
