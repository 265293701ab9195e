"""Updates that others wrote, as legacy workers leave them in Redis: section 2 of the protocol."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn, Optional

from ._attributes import ATTRIBUTES, SERVER_FIELDS
from ._update import ENDS, MAX_ATTEMPT, MAX_STAGE_BYTES, MAX_TTL, MAX_UPDATE_BYTES, Encoded, quote

STATUSES = ENDS | {"queued", "processing"}

_SPACE = re.compile(r"[ \t\r\n]*")
_TEXTS = frozenset({"stage", "message", "timestamp", "error"})


_MAX_DEPTH = 127
"""How deeply an update may be nested, itself included."""


class Unreadable(ValueError):
    """The message is not an update. The text says why."""


def _no_constant(name: str) -> NoReturn:
    raise Unreadable(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def read(job_id: str, data: bytes) -> Encoded:
    """The update, each field as it was written, to the last digit. Raises Unreadable."""
    if len(data) > MAX_UPDATE_BYTES:
        raise Unreadable("it is too large")
    try:
        given = _fields(data.decode())
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {error}") from None
    fields = {"job_id": quote(job_id), "status": quote("processing")}
    ended = []
    for name, (value, text) in given.items():
        kept = _field(job_id, name, value, text)
        if kept is not None:
            fields[name] = kept
        elif name in ATTRIBUTES:
            ended.append(name)
    return Encoded(fields, ended)


def _fields(text: str) -> dict[str, tuple[Any, str]]:
    fields: dict[str, tuple[Any, str]] = {}
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise Unreadable("it is not an object")
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        if fields:
            at = _skip(text, _expect(text, at, ","))
        name, at = _DECODER.raw_decode(text, at)
        if not isinstance(name, str):
            raise Unreadable("a field has no name")
        at = _skip(text, _expect(text, _skip(text, at), ":"))
        value, end = _DECODER.raw_decode(text, at)
        if name in fields:
            raise Unreadable(f"{name} is given twice")
        if _depth(value) > _MAX_DEPTH - 1:
            raise Unreadable(f"{name} is nested too deeply")
        # A state is one line. A value has no line breaks but between its tokens.
        fields[name] = (value, text[at:end].replace("\r", "").replace("\n", ""))
        at = _skip(text, end)
    if _skip(text, at + 1) != len(text):
        raise Unreadable("there is data after the object")
    return fields


def _depth(value: Any) -> int:
    """How deeply a value is nested, counted no further than one level beyond what is allowed."""
    level, depth = [value], 0
    while depth <= _MAX_DEPTH:
        level = [each for each in level if isinstance(each, (dict, list))]
        if not level:
            break
        depth += 1
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
    return depth


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, wanted: str) -> int:
    if text[at : at + 1] != wanted:
        raise Unreadable(f"expected {wanted!r}")
    return at + 1


def _field(job_id: str, name: str, value: Any, text: str) -> Optional[str]:
    """The field's value as it is kept; None if the field counts as absent."""
    if name in SERVER_FIELDS or (name in ATTRIBUTES and value is None):
        return None
    if name == "progress":
        return _progress(value, text)
    if name == "job_id":
        if value != job_id:
            raise Unreadable("job_id is another job's")
        return quote(job_id)
    if name not in _TEXTS and name not in ("status", "attempt", "ttl"):
        return text
    if value is None:
        return None
    if name in ("attempt", "ttl"):
        most = MAX_ATTEMPT if name == "attempt" else MAX_TTL
        if type(value) is not int or not 1 <= value <= most:
            raise Unreadable(f"{name} is not a number from 1 to {most}")
        return str(value)
    if not isinstance(value, str) or (name == "status" and value not in STATUSES):
        raise Unreadable(f"{name} has an unknown value")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise Unreadable(f"{name} is not a string") from None
    if name == "stage" and size > MAX_STAGE_BYTES:
        raise Unreadable("stage is too long")
    return quote(value) if name == "status" else text


def _progress(value: Any, text: str) -> str:
    if value is None:
        return text
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable("progress is not a number or null")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Unreadable("progress does not fit into a float")
    return "0.0" if number < 0 else "1.0" if number > 1 else text
