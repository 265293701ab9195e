"""A loop that is a job: `for row in milepost.track(rows, "export")`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, Optional, TypeVar

from ._counter import Number
from ._default import job as begin_job
from ._job import Job
from ._left_block import outcome_of
from ._left_loop import check_handled, left, uncaught
from ._track import length_of

T = TypeVar("T")


class Tracked(Generic[T]):
    """Items whose loop is a job of its own; each loop over it is another one."""

    def __init__(
        self,
        items: Iterable[T],
        name: str,
        id: Optional[object],
        total: Optional[Number],
        unit: Optional[str],
        cancellable: bool,
    ) -> None:
        self._items = items
        self._name = name
        self._id = id
        self._total = total
        self._unit = unit
        self._cancellable = cancellable

    def __len__(self) -> int:
        length = length_of(self._items)
        if length is None:
            raise TypeError("the tracked items have no len()")
        return length

    def __bool__(self) -> bool:
        return length_of(self._items) != 0

    def __iter__(self) -> Iterator[T]:
        check_handled()
        job = begin_job(self._name, id=self._id, unit=self._unit, attempt="next")
        try:
            yield from job.track(self._items, self._total, cancellable=self._cancellable)
        except GeneratorExit:
            # `break` and an exception in the loop's body look the same from here.
            loop = left(lambda error: _end_left(job, error))
            if loop is not None:
                job._finish = lambda: loop.settle(uncaught())
            raise
        except BaseException as error:
            job._end(*outcome_of(error))
            raise
        job.complete()


def _end_left(job: Job, error: Optional[BaseException]) -> None:
    # The loop's generator may be closed by the garbage collector.
    if error is not None:
        job._end_soon(*outcome_of(error))
    else:
        of = "" if job._own.total is None else f" of {job._own.total}"
        job._end_soon("cancelled", f"the loop was left at {max(0, job._own.current)}{of}")


def track(
    items: Iterable[T],
    name: str = "",
    *,
    id: Optional[object] = None,
    total: Optional[Number] = None,
    unit: Optional[str] = None,
    cancellable: bool = False,
) -> Tracked[T]:
    """The items, for `for`; the loop is a job, which begins and ends with it.

        for row in milepost.track(rows, "export"):
            write(row)

    It is completed when the items are used up, failed by an exception, cancelled if the loop is left before. `id`,
    `total` and `unit` as for `job()`; with an `id` that was used before it is the next attempt. If `cancellable`, the
    loop raises `milepost.CancelRequested` once watchers request that it be cancelled.
    """
    return Tracked(items, name, id, total, unit, cancellable)
