"""Counting, which a job and each of its stages have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from ._argument import given_number, given_progress, given_unit
from ._assignable import Assignable, is_assignable
from ._boundary import harmless
from ._counter import Counter, Number


class Counted:
    """What counts: `self._own` is its count."""

    _own: Counter

    if not TYPE_CHECKING:  # a type checker then knows which attributes there are

        def __setattr__(self, name: str, value: object) -> None:
            if name.startswith("_") or is_assignable(type(self), name):
                object.__setattr__(self, name, value)

    def _show(self) -> None:
        """Called before the count changes. A stage then shows its own count to watchers."""

    def advance(self, by: Number = 1) -> None:
        """Adds to the count, which is in `unit`s."""
        raise NotImplementedError

    def inc(self, by: Number = 1) -> None:
        """The same as `advance`."""
        self.advance(by)

    @property
    def total(self) -> Assignable[Number]:
        """The total of the count: `total = n`, or `total(n)`; None if it is not known."""
        return Assignable(self._own.total, self._set_total)

    @total.setter
    def total(self, total: Optional[Number]) -> None:
        self._set_total(total)

    @harmless
    def _set_total(self, total: Optional[Number]) -> None:
        self._show()
        self._own.set_total(given_number(total, "total"))

    @property
    def progress(self) -> Assignable[float]:
        """The progress, 0…1, if it does not come from the count: `progress = 0.4`, or `progress(0.4)`.
        It overrides the count. None removes it."""
        return Assignable(self._own.given, self._set_progress)

    @progress.setter
    def progress(self, progress: Optional[float]) -> None:
        self._set_progress(progress)

    @harmless
    def _set_progress(self, progress: Optional[float]) -> None:
        self._show()
        self._own.set_progress(given_progress(progress))

    def _update(
        self, current: Optional[Number], total: Optional[Number], progress: Optional[float], unit: Optional[str]
    ) -> None:
        self._show()
        self._own.update(
            given_number(current, "current"), given_number(total, "total"), given_progress(progress), given_unit(unit)
        )
