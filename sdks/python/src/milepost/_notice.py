"""What a reporter has to say about itself: warnings of the logger `milepost`, and nothing else is ever heard of it."""

from __future__ import annotations

import logging

_LOGGER = logging.getLogger("milepost")


def tell(message: str) -> None:
    try:
        _LOGGER.warning("%s", message)
    except Exception:
        # A handler that raises is no reason for a job to fail.
        pass
