"""The outage between here and the server: its beginning and its end are notified once, not for each job or try."""

from __future__ import annotations

from enum import IntEnum


class _Notified(IntEnum):
    NOTHING = 0
    SOME_WAIT = 1
    NOTHING_ARRIVES = 2


class Outage:
    def __init__(self) -> None:
        self._notified = _Notified.NOTHING
        self._is_failing = False
        """The latest request failed."""
        self._waiting: dict[int, bool] = {}
        """The jobs whose updates the server does not accept now. The value: whether an accepted end would show that the
        outage is over. Bounded by the number of jobs."""
        self._is_proven = False
        """The latest request shows that the server accepts updates again."""

    def failed(self) -> bool:
        """A request failed. Returns whether a notice is due."""
        self._is_failing = True
        return self._notify(_Notified.NOTHING_ARRIVES)

    def answered(self) -> None:
        """A request was answered. The following calls pass on its outcomes."""
        self._is_proven, self._is_failing = self._is_failing, False

    def delayed(self, key: int, is_end: bool, is_full: bool) -> bool:
        """The server does not accept an update now: it is full, or there is another reason. Returns whether a notice
        is due."""
        # A full server still accepts an end.
        self._waiting[key] = is_end or not is_full
        return self._notify(_Notified.SOME_WAIT)

    def accepted(self, key: int, is_end: bool) -> None:
        """An update was accepted."""
        waited = self._waiting.pop(key, False)
        if not is_end or waited:
            self._is_proven = True

    def gone(self, key: int) -> None:
        """The job has nothing more to send, or was rejected."""
        self._waiting.pop(key, None)

    def is_over(self) -> bool:
        """Returns whether the outage is over, and a notice is due. Called after all answers of a request."""
        is_proven, self._is_proven = self._is_proven, False
        if not is_proven or self._waiting:
            return False
        before, self._notified = self._notified, _Notified.NOTHING
        return before is not _Notified.NOTHING

    def _notify(self, what: _Notified) -> bool:
        is_new = what > self._notified
        self._notified = max(self._notified, what)
        return is_new
