"""Updates as they are sent: section 2 of the protocol."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from enum import Enum
from typing import Optional

from ._json import clean, cut

MAX_UPDATE_BYTES = 65_536
MAX_STAGE_BYTES = 256
MAX_TEXT_BYTES = 8_192
MAX_TTL = 2_592_000
MAX_ATTEMPT = 4_294_967_295
ENDS = frozenset({"completed", "failed", "cancelled"})

_SHORT_TEXT_BYTES = 1_024


class LeftOut(Enum):
    """What had to be left out, so that the update is not larger than a server takes."""

    NOTHING = ""
    METADATA = "the metadata"
    RESULT = "the metadata and the result"
    TEXT = "the metadata, the result and the end of the message"


class Update:
    """An update's fields; each value that is a worker's own is JSON already."""

    __slots__ = ("_fields",)

    def __init__(self, job_id: str, status: str) -> None:
        self._fields = {"job_id": quote(job_id), "status": quote(status)}

    def text(self, name: str, value: Optional[str], limit: int = MAX_TEXT_BYTES) -> None:
        if value is not None:
            self._fields[name] = quote(cut(value, limit))

    def stage(self, value: Optional[str]) -> None:
        self.text("stage", value, MAX_STAGE_BYTES)

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

    def encode(self) -> tuple[Encoded, LeftOut]:
        """The update in UTF-8, at most 65,536 bytes: what does not fit is left out, the metadata first, then the
        result, and at last the texts are cut. So an end is never too large to be told."""
        fields = dict(self._fields)
        for left_out in (LeftOut.NOTHING, LeftOut.METADATA, LeftOut.RESULT):
            if left_out is not LeftOut.NOTHING:
                fields.pop(left_out.name.lower(), None)
            encoded = Encoded(fields)
            if len(encoded.data) <= MAX_UPDATE_BYTES:
                return encoded, left_out
        for name in ("message", "error"):
            if name in fields:
                fields[name] = quote(cut(json.loads(fields[name]), _SHORT_TEXT_BYTES))
        return Encoded(fields), LeftOut.TEXT


class Encoded:
    """An update that does not change any more: its fields as JSON, `job_id` first, `status` second."""

    __slots__ = ("data", "fields")

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields
        self.data = ("{" + ",".join(f"{quote(name)}:{value}" for name, value in fields.items()) + "}").encode()


def timestamp() -> str:
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def quote(value: str) -> str:
    """The text as JSON."""
    return json.dumps(clean(value), ensure_ascii=False)
