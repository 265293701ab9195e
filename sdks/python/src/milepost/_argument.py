"""What callers pass: understood where it is clear what they mean, else ignored with one warning."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import islice
from typing import Any, Optional

from ._attributes import MAX_UNIT_BYTES
from ._boundary import warn_once
from ._counter import Number, number
from ._json import clean, describe

_MAX_TEXTS = 64
"""Of a list of texts, no more are read: it may have no end."""
_ROUNDING = 0.001
"""A progress so far outside of 0…1 is one that was rounded, not one in percent."""


def given_number(value: object, name: str) -> Optional[Number]:
    """A finite number; None for None, and for what is none."""
    found = number(value)
    if found is None and value is not None:
        # The next value is most likely another one, and as wrong.
        warn_once(f"{name} is ignored: it takes a finite number, not {_shown(value)}", f"{name} is no number")
    return found


def given_progress(value: object, name: str = "progress") -> Optional[float]:
    """A number between 0 and 1."""
    found = given_number(value, name)
    if found is not None and not -_ROUNDING <= found <= 1 + _ROUNDING:
        text = f"{name} must be between 0 and 1, so {found} counts as {min(1, max(0, found))}; 50 % is 0.5"
        warn_once(text, f"{name} is outside")
    return found


def given_whole(value: object, name: str) -> Optional[int]:
    """A whole number, as an attempt is."""
    found = given_number(value, name)
    return None if found is None else int(found)


def given_seconds(value: object, name: str) -> Optional[int]:
    """Whole seconds, also of a timedelta."""
    return given_whole(value.total_seconds() if isinstance(value, timedelta) else value, name)


def given_part(value: object, name: str) -> Optional[tuple[float, float]]:
    """A part of the whole, such as (0.25, 1.0)."""
    if value is None:
        return None
    try:
        start, end = (number(bound) for bound in value)  # type: ignore[attr-defined]
    except Exception:
        start = end = None
    if start is None or end is None:
        warn_once(f"{name} is ignored: it takes two numbers such as (0.25, 1.0), not {_shown(value)}")
        return None
    for bound in (start, end):
        given_progress(bound, name)
    if start > end:
        warn_once(f"{name} takes the smaller number first, so {_shown(value)} counts as nothing of the whole")
    return start, end


def given_weight(value: object, name: str = "weight") -> Optional[Number]:
    """A number above 0."""
    found = given_number(value, name)
    if found is None or found > 0:
        return found
    warn_once(f"{name} is ignored: it takes a number above 0, not {_shown(value)}", f"{name} is no weight")
    return None


def given_flag(value: object, name: str) -> bool:
    """Whether it is true. Not everything can be asked that: an array of numpy cannot."""
    try:
        return bool(value)
    except Exception:
        warn_once(f"{name} is ignored: it takes True or False, not {_shown(value)}")
        return False


def given_text(value: object) -> str:
    """A text; empty for None."""
    return "" if value is None else str.__str__(value) if isinstance(value, str) else describe(value)


def given_unit(value: object, name: str = "unit") -> Optional[str]:
    """What is counted: a short text. It is in every update, so another value would cost each of them."""
    if value is None:
        return None
    text = clean(str.__str__(value)) if isinstance(value, str) else None
    if text is not None and len(text) <= MAX_UNIT_BYTES and len(text.encode()) <= MAX_UNIT_BYTES:
        return text
    expected = f"a text of at most {MAX_UNIT_BYTES} bytes"
    warn_once(f"{name} is ignored: it takes {expected}, not {_shown(value)}", f"{name} is no unit")
    return None


def given_token(value: object, name: str = "token") -> Any:
    """A text, or a function that supplies one. What is in it is for the server to judge."""
    if value is None or isinstance(value, str) or callable(value):
        return value
    # Not shown: it may be a secret all the same.
    warn_once(f"{name} is ignored: it takes a text or a function, not a value of the type {type(value).__name__}")
    return None


def given_texts(value: object, name: str) -> list[str]:
    """Several texts. A single one counts as a list of one."""
    if value is None or isinstance(value, str):
        return [value] if value else []
    try:
        return [given_text(each) for each in islice(iter(value), _MAX_TEXTS)]  # type: ignore[call-overload]
    except Exception:
        warn_once(f"{name} is ignored: it takes a list of strings, not {_shown(value)}")
        return []


def given_mapping(value: object, name: str) -> Optional[Mapping[Any, object]]:
    if value is None or isinstance(value, Mapping):
        return value
    warn_once(f"{name} is ignored: it takes a dictionary, not {_shown(value)}")
    return None


def _shown(value: object) -> str:
    try:
        text = clean(repr(value))
    except Exception:
        text = ""
    kind = type(value).__name__
    return text if 0 < len(text) <= 40 else f"a value of the type {kind}"
