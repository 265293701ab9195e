"""A stage of a job, which counts on its own."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import Any, Optional, TypeVar, overload

from ._argument import given_number, given_text
from ._boundary import harmless
from ._counted import Counted
from ._counter import Counter, Number
from ._record import Record
from ._track import AsyncTrack, Track, track

T = TypeVar("T")
S = TypeVar("S", bound="Stage")


class Stage(Counted):
    """A stage of a job, made by `Job.stage()`. Its methods count within the stage, and are as harmless as the job's.

    As a context manager it ends nothing: a job's stage is over when another one is entered, or the job ends.
    """

    def __init__(self, name: str, record: Record, counter: Counter) -> None:
        self._name = given_text(name)
        self._record = record
        self._own = counter
        self._has_left = False

    @property
    def name(self) -> str:
        return self._name

    @harmless
    def advance(self, by: Number = 1) -> None:
        """So many more are done, of the stage's total. It takes bytes as well as counts: `on_chunk=s.advance`."""
        self._show()
        self._own.advance(by)

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
        self._update(current, total, progress, unit)

    @overload
    def track(self, items: AsyncIterable[T], total: Optional[Number] = None) -> AsyncTrack[T]: ...

    @overload
    def track(self, items: Iterable[T], total: Optional[Number] = None) -> Track[T]: ...

    def track(self, items: Any, total: Optional[Number] = None) -> Any:
        """The items, counted in this stage: see `Job.track()`."""
        self._show()
        return track(items, self._own, given_number(total, "total"))

    def _show(self) -> None:
        if self._record.counter is not self._own and not self._has_left:
            self._record.show(self._own)

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
        if error is None and self._record.counter is self._own and own.is_used:
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
