"""The progress bars of a job: the first one is the job's progress, the nested ones are in its metadata."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Optional, Union

from ._argument import given_text, given_unit
from ._counter import Counter, Number, number
from ._current import current, of_other_threads
from ._default import job as begin_job
from ._job import Job
from ._json import describe
from ._left_block import outcome_of
from ._left_loop import LeftLoop, check_handled, left, uncaught
from ._memory import LOCK, acquire_briefly

_ROUNDING = 1e-9
"""A bar that lacks no more than this part of its total was counted in fractions, and is full."""
MAX_SHOWN = 8
"""The most nested bars in a job's metadata."""


class Bars:
    """The open bars of one job, in the order in which they were opened. The first one, the main bar, is the job's
    progress."""

    def __init__(self) -> None:
        self.open: list[Reported] = []
        self._has_nested = False

    def report_nested(self, job: Job) -> None:
        nested = [bar.describe() for bar in self.open[1 : 1 + MAX_SHOWN]]
        if nested or self._has_nested:
            self._has_nested = True
            job.metadata(bars=nested)


_of_job: weakref.WeakKeyDictionary[Job, Bars] = weakref.WeakKeyDictionary()
_of_place: dict[tuple[int, int], list[Reported]] = {}
"""The open bars of each thread and task. A bar that is opened inside the loop of another one belongs to the same job.
A place is removed with its last bar."""


class Snapshot(NamedTuple):
    """A bar at one moment."""

    current: Optional[Number]
    total: Optional[Number]
    message: str

    @property
    def is_full(self) -> bool:
        return self.total is not None and (self.current or 0) >= self.total * (1 - _ROUNDING) > 0

    @property
    def lacks(self) -> Optional[str]:
        """How far it is, if something is missing; None if it is full, or nobody knows its total."""
        return f"{self.current or 0} of {self.total}" if self.total and not self.is_full else None


class Reported:
    """A bar of tqdm that reports to its job.

    tqdm draws and closes bars under a lock of its own, perhaps in a finaliser. So a change then waits only briefly for
    the lock under which jobs change. If that is not free by then, the job's sender makes the change.
    """

    def __init__(self, bar: Any, job: Union[Job, str, None]) -> None:
        check_handled()
        self._bar = weakref.ref(bar)
        self._counter = Counter(unit=given_unit(describe(bar.unit).strip() or None))
        self._stage = _description(bar)
        self._message: Optional[str] = None
        self._left: Optional[LeftLoop] = None
        """Set while the exception that left the loop is still being raised."""
        self._furthest = 0.0
        """The progress of nested bars in the main bar's present item. It does not go back when one follows another."""
        self._place = _place()
        self._is_closed = False
        self._handled = id(sys.exc_info()[1])
        """The exception that was being handled when the bar was opened. It is not the bar's outcome."""
        self._owns = False
        self.job = self._find(job)
        if self._owns:
            self.job._finish = self._leave
        with LOCK:
            self._bars = _of_job.setdefault(self.job, Bars())
            self._bars.open.append(self)
            _of_place.setdefault(self._place, []).append(self)
            if self._bars.open[0] is self:
                self._show()

    def _find(self, job: Union[Job, str, None]) -> Job:
        if isinstance(job, Job):
            return job
        if job is None:
            here = [bar for bar in _of_place.get(self._place, []) if not bar._is_closed]
            for bar in here:
                # It was never closed, but it is full: a new bar belongs to another job.
                if bar._owns and bar._is_full:
                    bar._leave()
            around = [bar.job for bar in reversed(here) if not bar._is_closed and not bar._is_full]
            found = current() or next(iter(around), None) or of_other_threads()
            if found is not None:
                return found
        self._owns = True
        return begin_job(self._stage, id=job, attempt=None if job is None else "next")

    def _show(self) -> None:
        if self._stage:
            self.job._enter(self._stage, self._counter)
        else:
            self.job._record.show(self._counter)

    @property
    def _is_full(self) -> bool:
        total, done = self._counter.total, self._counter.current
        bar = self._bar()
        if bar is not None:
            # It may have counted since it was drawn last.
            return self._read(bar).is_full
        return total is not None and done >= total > 0

    def _leave(self) -> None:
        """Ends a bar that will not be closed."""
        bar, error = self._bar(), uncaught()
        if bar is not None and not self._is_closed:
            if self._is_full or error is not None:
                self.close(bar, True, None if self._is_full else error)
            else:
                self.update(bar)
        elif self._left is not None:
            self._left.settle(error)

    def describe(self) -> dict[str, object]:
        known: dict[str, object] = {"current": self._counter.current}
        if self._counter.total is not None:
            known["total"] = self._counter.total
        if self._counter.unit is not None:
            known["unit"] = self._counter.unit
        if self._stage:
            known["desc"] = self._stage
        return known

    def update(self, bar: Any) -> None:
        """Reports the bar as it is now."""
        if not self.job._outbox.is_foreign:
            snapshot = self._read(bar)
            self._change(lambda: self._apply(snapshot))

    def _read(self, bar: Any) -> Snapshot:
        description = _description(bar)
        parts = [description if description != self._stage else "", given_text(bar.postfix)]
        return Snapshot(number(bar.n), number(bar.total), ", ".join(part for part in parts if part))

    def _apply(self, snapshot: Snapshot) -> None:
        if self not in self._bars.open:
            return
        before = self._counter.current
        self._counter.update(snapshot.current, snapshot.total, None, None)
        if self._counter.current != before:
            self._furthest = 0.0
        self._bars.open[0]._set_progress()
        if self._bars.open[0] is not self:
            self._bars.report_nested(self.job)
        elif snapshot.message and snapshot.message != self._message:
            self._message = snapshot.message
            self.job.message(snapshot.message)

    def _change(self, change: Callable[[], None]) -> bool:
        """Makes a change under the lock, or lets the sender make it. Returns whether it was made."""
        if not acquire_briefly():
            outbox, record = self.job._outbox, self.job._record

            def change_later() -> None:
                with LOCK:
                    change()

            outbox.later(record, change_later)
            return False
        try:
            change()
        finally:
            LOCK.release()
        return True

    def _set_progress(self) -> None:
        """Sets the main bar's progress. Nested bars in its loop count as a part of its present item."""
        total = self._counter.total
        nested = [bar for bar in self._bars.open[1:] if bar._place == self._place]
        if not total or (not nested and not self._furthest):
            self._counter.set_progress(None)
            return
        part = 0.0
        for bar in reversed(nested):
            of = bar._counter.total
            part = min(1.0, (bar._counter.current + part) / of) if of else 0.0
        self._furthest = max(self._furthest, part)
        self._counter.set_progress((self._counter.current + self._furthest) / total)

    def close(self, bar: Any, is_dropped: bool, outcome: Optional[BaseException]) -> None:
        """Closes the bar. If it began its job, the job ends too. `outcome` is the exception that left its block."""
        if self._is_closed:
            return
        self._is_closed = True
        snapshot = self._read(bar)
        if not self.job._outbox.is_foreign:
            self._change(lambda: self._remove(snapshot))
        if self._owns:
            # A bar of items is closed by its loop, which knows better whether they are used up.
            lacks = snapshot.lacks if bar.iterable is None else None
            self._end(is_dropped and not snapshot.is_full, outcome or self._error(), lacks)

    def _remove(self, snapshot: Snapshot) -> None:
        self._apply(snapshot)
        was_main = self._bars.open[0] is self
        self._bars.open.remove(self)
        here = _of_place.get(self._place, [])
        if self in here:
            here.remove(self)
        if not here:
            _of_place.pop(self._place, None)
        self._bars.report_nested(self.job)
        if was_main and self._bars.open:
            self._bars.open[0]._show()

    def _error(self) -> Optional[BaseException]:
        error = sys.exc_info()[1]
        if error is None or id(error) == self._handled or isinstance(error, (StopIteration, StopAsyncIteration)):
            return None
        return error

    def _end(self, is_abandoned: bool, error: Optional[BaseException], lacks: Optional[str]) -> None:
        if isinstance(error, GeneratorExit):
            self._left = left(self._end_left)
        elif error is not None:
            self.job._end_soon(*outcome_of(error))
        elif is_abandoned:
            self.job._end_soon("failed", "dropped without an outcome")
        elif lacks is not None:
            self.job._end_soon("cancelled", f"the bar was closed at {lacks}")
        else:
            self.job._end_soon("completed", None)
        self.job._deliver_in_pool()

    def _end_left(self, error: Optional[BaseException]) -> None:
        if error is not None:
            self.job._end_soon(*outcome_of(error))
        else:
            of = "" if self._counter.total is None else f" of {self._counter.total}"
            self.job._end_soon("cancelled", f"the loop was left at {self._counter.current}{of}")


def _description(bar: Any) -> str:
    text = given_text(bar.desc).strip()
    return text[:-1].rstrip() if text.endswith(":") else text


def _place() -> tuple[int, int]:
    """This thread, and the task in it."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident(), id(task) if task is not None else 0
