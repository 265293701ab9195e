"""JSON that a server takes, from whatever a worker has."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_DEEPEST = 100


class NotJson(ValueError):
    """It cannot be written as JSON; the message says why."""


def encode(value: object) -> str:
    """The value as JSON, without what JSON does not have: NaN becomes null, dates and such become text.

    Raises NotJson where it contains itself, or is nested more than 100 levels deep.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except Exception:
        pass
    else:
        return text
    try:
        return json.dumps(_plain(value, 0), allow_nan=False, separators=(",", ":"))
    except NotJson:
        raise
    except Exception as error:  # the worker's own methods may raise anything
        raise NotJson(describe(error)) from error


def _plain(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise NotJson(f"it contains itself, or is nested more than {_DEEPEST} levels deep")
    if value is None or value is True or value is False or type(value) is int:
        return value
    if isinstance(value, str):
        return clean(str(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int):
        return int(value)
    # A dataclass.
    fields = getattr(type(value), "__dataclass_fields__", None)
    if isinstance(fields, dict):
        return {each: _plain(getattr(value, each), depth + 1) for each in fields if hasattr(value, each)}
    if isinstance(value, Mapping):
        return {name(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth + 1) for item in value]
    # numpy's and pandas' arrays and numbers; dates and times.
    for method in ("tolist", "isoformat"):
        convert = getattr(value, method, None)
        if callable(convert) and not isinstance(value, type):
            return _plain(convert(), depth + 1)
    return clean(str(value))


def name(key: object) -> str:
    """A key of an object: as Python's json has it where that has one."""
    return clean(key if isinstance(key, str) else encode(key) if isinstance(key, (int, float)) else str(key))


def clean(text: str) -> str:
    """The text without lone surrogates, as in names of files that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def cut(text: str, limit: int) -> str:
    """At most so many bytes of it."""
    data = text.encode("utf-8", "replace")
    return data[:limit].decode("utf-8", "ignore") if len(data) > limit else clean(text)


def describe(value: object) -> str:
    """What a value says of itself, or its type's name if it says nothing."""
    if isinstance(value, str):
        return clean(value)
    try:
        return clean(str(value)) or type(value).__name__
    except Exception:
        return type(value).__name__


def describe_error(error: object) -> str:
    """For an exception its type, what it says, and where it was raised: `KeyError: 'x' (load.py:12 in read)`. For
    anything else what it says."""
    if not isinstance(error, BaseException):
        return describe(error)
    kind, text = type(error).__name__, describe(error)
    said = kind if text in ("", kind) else f"{kind}: {text}"
    place = _place_of(error)
    return f"{said} ({place})" if place else said


def _place_of(error: BaseException) -> str:
    """The last frame of an exception; empty where it was not raised."""
    try:
        trace = error.__traceback__
        if trace is None:
            return ""
        while trace.tb_next is not None:
            trace = trace.tb_next
        code = trace.tb_frame.f_code
        file = code.co_filename.replace("\\", "/").rpartition("/")[2]
        function = "" if code.co_name == "<module>" else f" in {code.co_name}"
        return clean(f"{file}:{trace.tb_lineno}{function}")
    except Exception:
        return ""
