"""Updates as they are sent: section 2 of the protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Optional

from ._attributes import ATTRIBUTES, accepts, is_number
from ._json import clean, cut

MAX_UPDATE_BYTES = 65_536
MAX_STAGE_BYTES = 256
MAX_TEXT_BYTES = 8_192
MAX_TTL = 2_592_000
MAX_ATTEMPT = 4_294_967_295
ENDS = frozenset({"completed", "failed", "cancelled"})

_SHORT_TEXTS = (1_024, 128)
"""The lengths to which texts are cut, one after the other, where dropping metadata and result was not enough."""
_LARGE = ("metadata", "result")
TEXTS = ("error", "message")


class Update:
    """An update's fields; each value that is a worker's own is JSON already."""

    __slots__ = ("_fields", "_truncated")

    def __init__(self, job_id: str, status: str) -> None:
        self._fields = {"job_id": quote(job_id), "status": quote(status)}
        self._truncated: set[str] = set()

    @property
    def truncated(self) -> tuple[str, ...]:
        """The names of the parts that the update lacks, or has in a shorter form."""
        return tuple(sorted(self._truncated))

    def mark_truncated(self, *names: str) -> None:
        """Parts that were given are missing or cut: watchers see their names as `truncated`."""
        self._truncated.update(names)

    def text(self, name: str, value: Optional[str]) -> None:
        """The error or the message. A longer one is cut, which `truncated` says."""
        if value is not None:
            short = cut(value, MAX_TEXT_BYTES)
            self._fields[name] = quote(short)
            if len(short) < len(value):
                self.mark_truncated(name)

    def stage(self, value: Optional[str]) -> None:
        if value is not None:
            self._fields["stage"] = quote(cut(value, MAX_STAGE_BYTES))

    def progress(self, value: Optional[float]) -> None:
        self._fields["progress"] = "null" if value is None else repr(float(value))

    def number(self, name: str, value: Optional[int]) -> None:
        if value is not None:
            self._fields[name] = str(int(value))

    def json(self, name: str, value: Optional[str]) -> None:
        if value is not None:
            self._fields[name] = value

    def members(self, name: str, values: dict[str, str]) -> None:
        if values:
            self._fields[name] = "{" + ",".join(f"{quote(key)}:{text}" for key, text in values.items()) + "}"

    def now(self) -> None:
        """The worker's clock: RFC 3339 in UTC. It orders nothing."""
        self._fields["timestamp"] = quote(timestamp())

    def encode(self) -> Encoded:
        """The update in UTF-8, at most 65,536 bytes: shrunk as often as it takes. So an end is never too large to be
        sent."""
        while True:
            fields = dict(self._fields)
            if self._truncated:
                fields["truncated"] = json.dumps(self.truncated, separators=(",", ":"))
            encoded = Encoded(fields)
            if len(encoded.data) <= MAX_UPDATE_BYTES or not self.reduce():
                return encoded

    def reduce(self) -> bool:
        """Drops the larger one of metadata and result; without either, cuts the texts. Returns whether there was
        anything left to drop or cut: after four times, there is not."""
        large = [name for name in _LARGE if name in self._fields]
        if large:
            dropped = max(large, key=lambda name: len(self._fields[name].encode()))
            del self._fields[dropped]
            self.mark_truncated(dropped)
            return True
        for limit in _SHORT_TEXTS:
            longer = [name for name in TEXTS if len(self._text_of(name).encode()) > limit]
            for name in longer:
                self._fields[name] = quote(cut(self._text_of(name), limit))
            self.mark_truncated(*longer)
            if longer:
                return True
        return False

    def _text_of(self, name: str) -> str:
        text: str = json.loads(self._fields.get(name, '""'))
        return text


class Encoded:
    """An update that does not change any more: its fields as JSON, `job_id` first, `status` second."""

    __slots__ = ("data", "ended", "fields")

    def __init__(self, fields: dict[str, str], ended: Sequence[str] = ()) -> None:
        cleared = [name for name, text in fields.items() if text == "null" and name in ATTRIBUTES]
        self.fields = {name: text for name, text in fields.items() if name not in cleared} if cleared else fields
        self.ended = (*ended, *cleared)
        """The attributes that are null."""
        self.data = ("{" + ",".join(f"{quote(name)}:{value}" for name, value in fields.items()) + "}").encode()

    def number(self, name: str) -> Optional[str]:
        """The field as it is written, if it is a number."""
        text = self.fields.get(name)
        return text if text is not None and is_number(json.loads(text)) else None

    def attributes(self) -> Optional[str]:
        """The attributes that it sets or ends, as attempt.lua reads them; None for most updates, which have none."""
        given = {name: text for name, text in self.fields.items() if name in ATTRIBUTES}
        lines = [f',"{name}":{text if accepts(name, json.loads(text), text) else ""}\n' for name, text in given.items()]
        lines += [f',"{name}":\n' for name in self.ended]
        return "".join(lines) or None


def bounded_attempt(attempt: Optional[int]) -> Optional[int]:
    return None if attempt is None else min(MAX_ATTEMPT, max(1, attempt))


def bounded_ttl(ttl: Optional[int]) -> Optional[int]:
    return None if ttl is None else min(MAX_TTL, max(1, ttl))


def timestamp() -> str:
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def quote(value: str) -> str:
    """The text as JSON."""
    return json.dumps(clean(value), ensure_ascii=False)
