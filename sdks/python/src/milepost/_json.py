"""JSON that a server takes, from whatever a worker has."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

MAX_BYTES = 65_536
"""Of the JSON of one value: an update has no room for more."""
_DEEPEST = 100
_MAX_DESCRIPTION = 16_384


class NotJson(ValueError):
    """The value cannot be written as JSON. The message says why."""


class TooLarge(NotJson):
    def __init__(self) -> None:
        super().__init__(f"it is larger than {MAX_BYTES} bytes")


class _Budget:
    """How many bytes of JSON a value may still take, at least. It ends before time and memory are spent."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_BYTES

    def spend(self, size: int) -> None:
        self._left -= size
        self.check(0)

    def check(self, size: int) -> None:
        """That many bytes are to be spent, not yet: before something is converted."""
        if size > self._left:
            raise TooLarge


def encode(value: object) -> str:
    """The value as JSON, without what JSON does not have: NaN becomes null, dates and such become text.

    Raises NotJson where it contains itself, is nested more than 100 levels deep, or is larger than 65,536 bytes. It
    stops there: a huge value costs no more than one that just fits.
    """
    try:
        text = json.dumps(_plain(value, 0, _Budget()), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if len(text.encode()) > MAX_BYTES:
            raise TooLarge
        return text
    except NotJson:
        raise
    except Exception as error:  # the worker's own methods may raise anything
        raise NotJson(describe(error)) from error


def _plain(value: Any, depth: int, budget: _Budget) -> Any:
    if depth > _DEEPEST:
        raise NotJson(f"it contains itself, or is nested more than {_DEEPEST} levels deep")
    if isinstance(value, str):
        return _text(str.__str__(value), budget)
    if value is None or isinstance(value, bool):
        budget.spend(4)
        return value
    if isinstance(value, float):
        budget.spend(1)
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int):
        # A digit has less than four bits.
        budget.spend(max(1, value.bit_length() // 4))
        return int(value)
    # A dataclass.
    fields = getattr(type(value), "__dataclass_fields__", None)
    if isinstance(fields, dict):
        known = {each: getattr(value, each) for each in fields if hasattr(value, each)}
        return {each: _plain(item, depth + 1, budget) for each, item in known.items()}
    if isinstance(value, Mapping):
        budget.check(2 * len(value))
        return {_text(name(key), budget): _plain(item, depth + 1, budget) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        budget.check(2 * len(value))
        return [_item(item, depth + 1, budget) for item in value]
    if not isinstance(value, type):
        budget.check(_size_of(value))
        # numpy's and pandas' arrays and numbers; dates and times.
        for method in ("tolist", "isoformat"):
            convert = getattr(value, method, None)
            if callable(convert):
                return _plain(convert(), depth + 1, budget)
    return _text(str(value), budget)


def _item(item: Any, depth: int, budget: _Budget) -> Any:
    budget.spend(1)
    return _plain(item, depth, budget)


def _text(text: str, budget: _Budget) -> str:
    budget.spend(len(text) + 2)
    return clean(text)


def _size_of(value: Any) -> int:
    """How many items an array has, or bytes: known before it is converted, and no more than its JSON has bytes."""
    for attribute in ("size", "numel", "__len__"):
        found = getattr(value, attribute, None)
        if callable(found):
            try:
                found = found()
            except Exception:
                continue
        if isinstance(found, int):
            return found
    return 0


def name(key: object) -> str:
    """A key of an object: as Python's json has it where that has one."""
    if isinstance(key, str):
        return clean(str.__str__(key))
    return encode(key) if key is None or isinstance(key, (int, float)) else clean(str(key))


def clean(text: str) -> str:
    """The text without lone surrogates, as in names of files that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def cut(text: str, limit: int) -> str:
    """The text, cut to at most `limit` bytes."""
    data = text[: limit + 1].encode("utf-8", "replace")
    return data[:limit].decode("utf-8", "ignore")


def describe(value: object) -> str:
    """A value as text, or its type's name if the text is empty."""
    if isinstance(value, str):
        return clean(str.__str__(value))
    try:
        return clean(str(value)[:_MAX_DESCRIPTION]) or type(value).__name__
    except Exception:
        return type(value).__name__


def describe_error(error: object) -> str:
    """For an exception its type, what it says, and where it was raised: `KeyError: 'x' (load.py:12 in read)`. For
    anything else what it says."""
    if not isinstance(error, BaseException):
        return describe(error)
    kind, text = type(error).__name__, describe(error)
    detail = kind if text in ("", kind) else f"{kind}: {text}"
    place = _place_of(error)
    return f"{detail} ({place})" if place else detail


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
