"""The fields that describe an attempt rather than a moment, and their valid values: section 2 of the
protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Callable, Optional

from . import _job_id

MAX_NAME_BYTES = 64
MAX_UNIT_BYTES = 32
MAX_TAGS = 16
_MAX_STAGE_BYTES = 256
MAX_LIST = 64
_MAX_BYTES = 8_192
MAX_SECONDS = 2_592_000

SERVER_FIELDS = frozenset(
    {
        "position",
        "stage_weights",
        "started_at",
        "paused_seconds",
        "paused_at",
        "last_seen_at",
        "progressed_at",
        "ended_at",
        "eta_basis",
        "health",
        "children",
        "requested",
        "log",
    }
)
"""Those that only the server sets."""


def is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_text(value: Any, max_bytes: int) -> bool:
    try:
        return isinstance(value, str) and 1 <= len(value.encode()) <= max_bytes
    except UnicodeEncodeError:
        return False


def _is_list(value: Any, most: int, is_such: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) <= most and all(map(is_such, value))


def _is_job_id(value: Any) -> bool:
    try:
        _job_id.parse(value)
    except (_job_id.InvalidJobId, TypeError):
        return False
    return isinstance(value, str)


def _is_seconds(value: Any) -> bool:
    return is_number(value) and 0 < value <= MAX_SECONDS


def _is_stage(value: Any) -> bool:
    if not isinstance(value, dict):
        return is_text(value, _MAX_STAGE_BYTES)
    label, weight = value.get("label"), value.get("weight")
    return (
        is_text(value.get("id"), _MAX_STAGE_BYTES)
        and (label is None or is_text(label, _MAX_STAGE_BYTES))
        and (weight is None or (is_number(weight) and weight > 0))
        and isinstance(value.get("skipped", False), bool)
    )


def _is_artifact(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    media_type, size = value.get("media_type"), value.get("size")
    texts = (value.get("name"), value.get("url"), "" if media_type is None else media_type)
    return all(isinstance(text, str) for text in texts) and (size is None or is_number(size))


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "name": lambda value: is_text(value, MAX_NAME_BYTES),
    "tags": lambda value: _is_list(value, MAX_TAGS, lambda tag: is_text(tag, MAX_NAME_BYTES)),
    "stages": lambda value: _is_list(value, MAX_LIST, _is_stage),
    "parent_id": _is_job_id,
    "weight": lambda value: is_number(value) and value > 0,
    "complete_when": lambda value: value == "all_ended",
    "children_expected": lambda value: type(value) is int and 0 <= value < 1 << 32,
    "unit": lambda value: is_text(value, MAX_UNIT_BYTES),
    "cancellable": lambda value: isinstance(value, bool),
    "heartbeat": _is_seconds,
    "stall_after": _is_seconds,
    "lost_after": _is_seconds,
    "artifacts": lambda value: _is_list(value, MAX_LIST, _is_artifact),
    "traceparent": lambda value: is_text(value, MAX_NAME_BYTES),
}

ATTRIBUTES = frozenset(_KINDS)


def accepts(name: str, value: Any, text: Optional[str] = None) -> bool:
    """Whether a value, and its JSON, is one of the attribute. Another one is a worker's own field."""
    return _KINDS[name](value) and (text is None or len(text.encode()) <= _MAX_BYTES)
