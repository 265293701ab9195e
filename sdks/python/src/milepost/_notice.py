"""What a reporter says about itself: warnings of the logger `milepost`, and nowhere else."""

from __future__ import annotations

import logging
from collections import deque
from typing import Deque

from . import _threads

_LOGGER = logging.getLogger("milepost")
_MAX_DEFERRED = 16
_deferred: Deque[str] = deque(maxlen=_MAX_DEFERRED)
"""Said by the sender where the program's threads are greenlets: their locks, logging's among them, are not for a real
thread. The program's next call passes it on; of more than 16, the latest."""


def notify(message: str) -> None:
    if _threads.is_own() and _threads.are_greenlets():
        _deferred.append(message)
    else:
        _log(message)


def notify_deferred() -> None:
    """Passes on what the sender could not say itself. Called by the program's own threads."""
    while _deferred and not _threads.is_own():
        try:
            _log(_deferred.popleft())
        except IndexError:
            # Another thread was quicker.
            return


def _log(message: str) -> None:
    try:
        # Whoever has not set up logging sees the bare text, and has to learn who speaks.
        _LOGGER.warning("milepost: %s", message)
    except Exception:
        # A handler that raises is no reason for a job to fail.
        pass
