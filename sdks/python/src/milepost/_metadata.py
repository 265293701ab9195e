"""A job's metadata: the worker's own, and what the count adds."""

from __future__ import annotations

from typing import Optional

from . import _json
from ._counter import Count

MAX_METADATA_BYTES = 49_152
"""The bound of a job's own metadata, so that there is room for the rest of an update."""


class Metadata:
    """The worker's own metadata, as JSON texts by key. Its owner holds the lock."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._bytes = 0

    def set(self, key: str, text: str) -> bool:
        """Returns whether there was room for the value."""
        present = _size(key, self.values[key]) if key in self.values else 0
        size = self._bytes - present + _size(key, text)
        if size > MAX_METADATA_BYTES:
            return False
        # A new dictionary each time, because the sender may be reading the old one.
        self.values = {**self.values, key: text}
        self._bytes = size
        return True


def counted(count: Count, unit: Optional[str], rate: Optional[float]) -> dict[str, str]:
    """The known values that the count adds to the metadata. The worker's own metadata override them. When the job
    completes is for the server to estimate."""
    if not count.is_counted:
        return {}
    known = {"current": _json.encode(count.current)}
    if count.total is not None:
        known["total"] = _json.encode(count.total)
    if unit is not None:
        known["unit"] = _json.encode(unit)
    if rate is not None:
        known["rate"] = _json.encode(round(rate, 1))
    return known


def _size(key: str, text: str) -> int:
    """The size in an update, with quotes, colon and comma."""
    return len(key.encode("utf-8", "replace")) + len(text.encode()) + 4
