"""How long a job is waited for that was known, and is not any more."""

from __future__ import annotations

from typing import Optional

PATIENCE = 60.0
"""In seconds, in which a worker that still runs would report it again, as after a restart of a server that keeps
nothing. What passes without a connection does not count."""


class Forgotten:
    """It does no I/O and reads no clock."""

    def __init__(self) -> None:
        self._left = PATIENCE
        self.until: Optional[float] = None
        """When to give the job up; None while it is known, or there is no connection."""

    def unknown(self, now: float) -> None:
        """The server does not know the job."""
        if self.until is None:
            self.until = now + self._left

    def known(self) -> None:
        """There is a state of it."""
        self._left = PATIENCE
        self.until = None

    def disconnected(self, now: float) -> None:
        if self.until is not None:
            self._left = max(0.0, self.until - now)
            self.until = None

    def is_over(self, now: float) -> bool:
        """Whether nobody has reported it for so long."""
        return self.until is not None and self.until <= now
