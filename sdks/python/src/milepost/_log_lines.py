"""The lines of a job's log that are still to be sent."""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from datetime import datetime, timezone
from typing import Deque, NamedTuple, Optional

from ._json import clean

MAX_LINES = 512
"""The most lines of a job's log that wait to be sent, not counting a request in progress. Older ones are dropped."""
MAX_TEXT = 4_096
"""Characters of a line; the server cuts it at as many bytes."""
STREAMS = ("stdout", "stderr")


class Line(NamedTuple):
    number: int
    at: float
    """Seconds since 1970."""
    stream: Optional[str]
    text: str

    def encode(self) -> bytes:
        """The line as section 17 of the protocol has it, with its line feed."""
        fields = {"at": _timestamp(self.at), "stream": self.stream, "text": clean(self.text)}
        known = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(known, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class LogLines:
    """Written by any thread, signal handler or finaliser, and so without a lock: each step is one of the interpreter's
    own. Read by the sender."""

    def __init__(self) -> None:
        self._lines: Deque[Line] = deque(maxlen=MAX_LINES)
        self._numbers = itertools.count()
        self._next = 0
        """The number of the line that the sender expects next."""
        self.is_announced = False
        """Whether the sender knows that there are lines."""

    def append(self, text: str, stream: Optional[str], at: Optional[float]) -> None:
        now = time.time() if at is None else at
        for line in text.splitlines():
            self._lines.append(Line(next(self._numbers), now, stream, line[:MAX_TEXT]))

    def take(self) -> list[bytes]:
        """The lines, encoded. A line of its own says where lines were dropped."""
        encoded = []
        while self._lines:
            line = self._lines.popleft()
            if line.number > self._next:
                left_out = f"(milepost: {line.number - self._next} lines are left out here)"
                encoded.append(Line(0, line.at, None, left_out).encode())
            self._next = max(self._next, line.number + 1)
            encoded.append(line.encode())
        return encoded


def _timestamp(at: float) -> Optional[str]:
    """None if it is not a time, as in a record that a program made itself. Then the server's clock is used."""
    try:
        text = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return text.replace("+00:00", "Z")
