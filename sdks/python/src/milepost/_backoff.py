"""How long to leave alone whoever does not answer: section 7 of the protocol."""

from __future__ import annotations

import random

FIRST = 1.0
LONGEST = 30.0
LONGEST_WAIT = 600.0
"""The longest wait that a server can ask a watcher for, in seconds."""
STABLE = 5.0
"""A watcher's connection that lasted so many seconds resets the backoff."""


class Backoff:
    """Drawn from the whole of a span that starts at a second and doubles with each failure, up to 30 s, so that
    those who lost the same server do not come back together."""

    __slots__ = ("_random", "failures")

    def __init__(self, dice: random.Random) -> None:
        self.failures = 0
        self._random = dice

    def next(self) -> float:
        """The wait, in seconds, after one more failure."""
        span = min(LONGEST, FIRST * 2 ** min(self.failures, 5))
        self.failures += 1
        drawn: float = span * self._random.random()
        return drawn

    def reset(self) -> None:
        self.failures = 0
