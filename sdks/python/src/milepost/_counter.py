"""How far a job, or a stage of it, has counted."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from itertools import repeat
from operator import itemgetter, length_hint
from typing import NamedTuple, Optional, TypeVar, Union

from ._memory import LOCK

T = TypeVar("T")
Number = Union[int, float]
LARGEST = 10**300
"""The largest number that counts as one: what is computed from it is finite, and its digits are few."""
_item = itemgetter(1)


class Count(NamedTuple):
    """A counter at one moment."""

    current: Number
    total: Optional[Number]
    given: Optional[float]

    @property
    def has_moved(self) -> bool:
        return self.current > 0 or self.given is not None

    @property
    def is_counted(self) -> bool:
        return bool(self.current) or self.total is not None


class Counter:
    """A count, its total and its unit; or a given progress, which overrides the count.

    Counting in a loop runs no Python code: `track` zips the items with an iterator of ticks, and the number of
    remaining ticks shows how far all the loops of this counter are.
    """

    __slots__ = ("_base", "_begun", "_given", "_ticks", "_total", "end", "start", "unit")

    def __init__(self, within: tuple[float, float] = (0.0, 1.0), unit: Optional[str] = None) -> None:
        start, end = (float(min(1.0, max(0.0, bound))) for bound in within)
        self.start = start
        self.end = max(start, end)
        self.unit = unit
        self._base: Number = 0
        self._total: Optional[Number] = None
        self._given: Optional[float] = None
        self._ticks = repeat(None, sys.maxsize)
        self._begun = 0

    def advance(self, by: Number) -> None:
        if type(by) is int and by == 1:
            # A tick is counted without the lock: iterators of the standard library take one step at a time.
            next(self._ticks)
            return
        value = number(by)
        if value is None:
            # Imported here: what is wrong with arguments is known above this.
            from ._argument import given_number

            given_number(by, "advance")
            return
        with LOCK:
            self._base = _bounded(self._base + value)

    def set(self, current: Number) -> None:
        with LOCK:
            self._base = _bounded(current - self._tracked())

    def set_total(self, total: Optional[Number]) -> None:
        self._total = _bounded(total) if total is not None and total >= 0 else None

    def set_progress(self, progress: Optional[float]) -> None:
        self._given = None if progress is None else min(1.0, max(0.0, progress))

    def update(
        self,
        current: Optional[Number],
        total: Optional[Number],
        progress: Optional[float],
        unit: Optional[str],
    ) -> None:
        """What is None stays as it is."""
        with LOCK:
            if total is not None:
                self.set_total(total)
            if current is not None:
                self.set(current)
            if progress is not None:
                self.set_progress(progress)
            if unit is not None:
                self.unit = unit

    def expect(self, more: Number) -> None:
        """So many are about to be counted. A total that was set, and is still ahead, stands."""
        with LOCK:
            current = self.current
            if self._total is None or self._total <= current:
                self._total = _bounded(current + more)

    def track(self, items: Iterable[T]) -> Iterator[T]:
        """The items. Each is counted when the next one is requested."""
        with LOCK:
            # The tick comes before the item: in each loop, one more was requested than is done.
            self._begun += 1
        return map(_item, zip(self._ticks, items))

    def _tracked(self) -> int:
        return max(0, sys.maxsize - length_hint(self._ticks) - self._begun)

    @property
    def current(self) -> Number:
        return self._base + self._tracked()

    @property
    def total(self) -> Optional[Number]:
        return self._total

    @property
    def given(self) -> Optional[float]:
        """The progress that was given outright."""
        return self._given

    @property
    def is_used(self) -> bool:
        """Whether it has anything to show."""
        return self._total is not None or self._given is not None or bool(self._begun or self._base)

    def count(self) -> Count:
        with LOCK:
            return Count(max(0, self.current), self._total, self._given)

    @property
    def is_part(self) -> bool:
        """Whether it counts within a part of the job's progress that the program chose."""
        return self.start > 0.0 or self.end < 1.0

    def progress(self, count: Count) -> Optional[float]:
        """The job's progress at that count, 0…1; None if the total is not known. Within a range, what has
        begun is at its start."""
        own = count.given
        if own is None and count.total:
            own = min(1.0, count.current / count.total)
        if own is None:
            if not self.is_part:
                return None
            own = 0.0
        return self.start + (self.end - self.start) * own


def number(value: object) -> Optional[Number]:
    """A finite number, whatever kind of number it comes as (numpy's, Decimal, …); None for what is none, or too large
    for JSON."""
    if type(value) is int:
        return value if -LARGEST <= value <= LARGEST else None
    if value is None:
        return None
    try:
        as_float = float(value)  # type: ignore[arg-type]
    except Exception:  # its own methods may raise anything
        return None
    if not (math.isfinite(as_float) and abs(as_float) <= LARGEST):
        return None
    return int(as_float) if as_float.is_integer() and abs(as_float) < 2**53 else as_float


def _bounded(value: Number) -> Number:
    return min(LARGEST, max(-LARGEST, value))
