"""A stage of a job, which counts on its own."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import Any, Optional, TypeVar, overload

from ._argument import given_number, given_progress
from ._assignable import Assignable
from ._boundary import harmless
from ._counter import Counter, Number
from ._record import Record
from ._track import AsyncTrack, Track, track

T = TypeVar("T")
S = TypeVar("S", bound="Stage")


class Stage:
    """A stage of a job, made by `Job.stage()`. Its methods count within the stage, and are as harmless as the job's.

    As a context manager it ends nothing: a job's stage is over when another one is entered, or the job ends.
    """

    def __init__(self, name: str, record: Record, counter: Counter) -> None:
        self._name = name
        self._record = record
        self._counter = counter
        self._has_left = False

    @property
    def name(self) -> str:
        return self._name

    @harmless
    def advance(self, by: Number = 1) -> None:
        """So many more are done, of the stage's total. It takes bytes as well as counts: `on_chunk=s.advance`."""
        self._show()
        self._counter.advance(by)

    def inc(self, by: Number = 1) -> None:
        """The same as `advance`."""
        self.advance(by)

    @property
    def total(self) -> Assignable[Number]:
        """How many there are to do in this stage: `total = n`, or `total(n)`; None: not known."""
        return Assignable(self._counter.total, self._set_total)

    @total.setter
    def total(self, total: Optional[Number]) -> None:
        self._set_total(total)

    @harmless
    def _set_total(self, total: Optional[Number]) -> None:
        self._show()
        self._counter.set_total(given_number(total, "total"))

    @property
    def progress(self) -> Assignable[float]:
        """How far the stage is, 0…1, where that is not counted: `progress = 0.4`, or `progress(0.4)`.
        It overrides the count; None: as counted."""
        return Assignable(self._counter.given, self._set_progress)

    @progress.setter
    def progress(self, progress: Optional[float]) -> None:
        self._set_progress(progress)

    @harmless
    def _set_progress(self, progress: Optional[float]) -> None:
        self._show()
        self._counter.set_progress(given_progress(progress))

    @harmless
    def update(
        self,
        *,
        current: Optional[Number] = None,
        total: Optional[Number] = None,
        progress: Optional[float] = None,
        unit: Optional[str] = None,
    ) -> None:
        """Several things at once; what is None stays as it is. `current` is how many are done."""
        self._show()
        self._counter.update(
            given_number(current, "current"), given_number(total, "total"), given_progress(progress), unit
        )

    @overload
    def track(self, items: AsyncIterable[T], total: Optional[Number] = None) -> AsyncTrack[T]: ...

    @overload
    def track(self, items: Iterable[T], total: Optional[Number] = None) -> Track[T]: ...

    def track(self, items: Any, total: Optional[Number] = None) -> Any:
        """The items, counted in this stage: see `Job.track()`."""
        self._show()
        return track(items, self._counter, given_number(total, "total"))

    def _show(self) -> None:
        if self._record.counter is not self._counter and not self._has_left:
            self._record.show(self._counter)

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._has_left = True
        # With an exception on its way, the job most likely ends here: how far the stage was is what counts.
        own = self._record.own
        if error is None and self._record.counter is self._counter and own.is_used:
            self._record.show(own)

    async def __aenter__(self: S) -> S:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"<milepost.Stage {self._name!r} of {self._record.job_id}>"
