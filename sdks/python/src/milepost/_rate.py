"""How fast a job counts."""

from __future__ import annotations

from collections import deque
from typing import Deque, Optional

from ._counter import Number

WINDOW = 10.0
LEAST = 1.0
SAMPLES = 64


class Rate:
    """Units per second over the last ten seconds; not known before the first second is over."""

    def __init__(self) -> None:
        self._seen: Deque[tuple[float, Number]] = deque()

    def sample(self, current: Number, now: float) -> Optional[float]:
        seen = self._seen
        if seen and current < seen[-1][1]:
            seen.clear()
        # One sample older than the window stays, so that a job that reports rarely has a rate as well.
        while len(seen) > 1 and (len(seen) >= SAMPLES or now - seen[1][0] > WINDOW):
            seen.popleft()
        seen.append((now, current))
        since, first = seen[0]
        took = now - since
        return (current - first) / took if took >= LEAST else None
