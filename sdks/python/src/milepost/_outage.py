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
        """The latest request came to nothing."""
        self._waiting: dict[int, bool] = {}
        """The jobs that the server does not take now; of each, whether it would prove something if it took its end.
        Bounded by the number of jobs."""
        self._is_proven = False
        """The latest request shows that the server takes updates again."""

    def failed(self) -> bool:
        """A request came to nothing. Returns whether that is news."""
        self._is_failing = True
        return self._tell(_Notified.NOTHING_ARRIVES)

    def answered(self) -> None:
        """A request was answered; what follows says how."""
        self._is_proven, self._is_failing = self._is_failing, False

    def delayed(self, key: int, is_end: bool, is_full: bool) -> bool:
        """An update is not taken now: the server is full, or it is another reason. Returns whether that is news."""
        # A full server takes an end all the same.
        self._waiting[key] = is_end or not is_full
        return self._tell(_Notified.SOME_WAIT)

    def taken(self, key: int, is_end: bool) -> None:
        """An update was taken."""
        waited = self._waiting.pop(key, False)
        if not is_end or waited:
            self._is_proven = True

    def gone(self, key: int) -> None:
        """Nothing more is to be sent of that job, or it was refused for good."""
        self._waiting.pop(key, None)

    def is_over(self) -> bool:
        """After all answers of a request: whether it is news that it is over."""
        is_proven, self._is_proven = self._is_proven, False
        if not is_proven or self._waiting:
            return False
        told, self._notified = self._notified, _Notified.NOTHING
        return told is not _Notified.NOTHING

    def _tell(self, what: _Notified) -> bool:
        is_news = what > self._notified
        self._notified = max(self._notified, what)
        return is_news
