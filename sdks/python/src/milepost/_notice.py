"""A reporter's notices to its program: warnings of the logger `milepost`."""

from __future__ import annotations

import logging
from collections import deque
from typing import Deque

from . import _memory, _threads

_LOGGER = logging.getLogger("milepost")
_MAX_DEFERRED = 16
_deferred: Deque[str] = deque(maxlen=_MAX_DEFERRED)
"""Notices that could not be logged at once. The next call that can logs them. The latest 16 are kept."""


def notify(message: str) -> None:
    """Logs a warning, or defers it if logging is not safe now."""
    if _may_log():
        _log(message)
    else:
        _deferred.append(message)


def notify_deferred() -> None:
    """Logs the deferred notices."""
    while _deferred and _may_log():
        try:
            _log(_deferred.popleft())
        except IndexError:
            # Another thread took it.
            return


def _may_log() -> bool:
    # A log handler takes locks. If the program's threads are greenlets, a native thread must not wait for those.
    return not _memory.is_held() and not (_threads.is_own() and _threads.are_greenlets())


def _log(message: str) -> None:
    try:
        # Without a logging configuration, only the text is printed, so it names its source.
        _LOGGER.warning("milepost: %s", message)
    except Exception:
        # An error of a log handler must not fail the job.
        pass
