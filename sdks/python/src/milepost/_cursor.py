"""How far a job has been seen: section 4 of the protocol."""

from __future__ import annotations

import re
from typing import Optional

EPOCHS = 4
"""How many epochs are remembered. One follows another only when the job was forgotten or the broker lost its memory;
more than two are seen when instances disagree."""

_POSITION = re.compile(r"(0|[1-9a-f][0-9a-f]{0,15})-([1-9][0-9]{0,19})")


class Cursor:
    def __init__(self, since: Optional[str] = None) -> None:
        self._seen: list[tuple[str, int]] = []
        self.latest: Optional[str] = None
        """Where to resume."""
        if since is not None:
            self.advance(since)

    def is_newer(self, position: str) -> bool:
        """Whether a state at `position` has not been seen, nor a newer one of its epoch."""
        match = _POSITION.fullmatch(position)
        if match is None:
            return position != self.latest
        return all(int(match[2]) > number for epoch, number in self._seen if epoch == match[1])

    def advance(self, position: str) -> bool:
        """Moves on to `position`; False if a state as new as that, or newer, has been seen in its epoch."""
        match = _POSITION.fullmatch(position)
        if match is None:
            # Not read by this version: all that is known is whether it is the same.
            is_new = position != self.latest
            self.latest = position
            return is_new
        epoch, number = match[1], int(match[2])
        for seen in self._seen:
            if seen[0] == epoch:
                if number <= seen[1]:
                    return False
                self._seen.remove(seen)
                break
        self._seen.insert(0, (epoch, number))
        del self._seen[EPOCHS:]
        self.latest = position
        return True

    def misses_before(self, position: str) -> bool:
        """Whether there are states before `position` that have not been seen. They may be too old to be had."""
        match = _POSITION.fullmatch(position)
        if match is None:
            return False
        number = int(match[2])
        # The first of an epoch has none before it, and of others nothing is known without the latest one.
        latest = next((seen for epoch, seen in self._seen if epoch == match[1]), 0)
        return number > latest + 1
