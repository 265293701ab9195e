"""What a reporter says about itself: warnings of the logger `milepost`, and nowhere else."""

from __future__ import annotations

import logging
from collections import deque
from typing import Deque

from . import _memory, _threads

_LOGGER = logging.getLogger("milepost")
_MAX_DEFERRED = 16
_deferred: Deque[str] = deque(maxlen=_MAX_DEFERRED)
"""What could not be logged where it came up. The next call that can passes it on; of more than 16, the latest."""


def notify(message: str) -> None:
    """Logs a warning, now or soon."""
    if _may_log():
        _log(message)
    else:
        _deferred.append(message)


def notify_deferred() -> None:
    """Logs what could not be logged where it came up."""
    while _deferred and _may_log():
        try:
            _log(_deferred.popleft())
        except IndexError:
            # Another thread was quicker.
            return


def _may_log() -> bool:
    # A handler waits for locks of its own. Where the program's threads are greenlets, these are not for a real thread.
    return not _memory.is_held() and not (_threads.is_own() and _threads.are_greenlets())


def _log(message: str) -> None:
    try:
        # Whoever has not set up logging sees the bare text, and has to learn who speaks.
        _LOGGER.warning("milepost: %s", message)
    except Exception:
        # A handler that raises is no reason for a job to fail.
        pass
