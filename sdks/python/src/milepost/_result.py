"""Results that nobody asked to be shown: what a task or an endpoint's work happens to return."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

MAX_SMALL = 4_096
"""A value that a framework's function returns is reported up to about so many bytes of JSON. Larger ones are for
whoever asked for them; `job.result(value)` reports them all the same."""
_PLAIN = (date, time, Decimal, Enum, UUID)


def is_small(value: object) -> bool:
    """Whether it is worth showing, told after at most 4,096 steps, however large it is. What JSON does not know, a
    model's weights, say, is not."""
    left = MAX_SMALL
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        left -= 1
        if item is None or isinstance(item, (bool, float)):
            left -= 8
        elif isinstance(item, str):
            left -= len(item)
        elif isinstance(item, int):
            left -= item.bit_length() // 3
        elif isinstance(item, dict):
            left -= len(item)
            if left >= 0:
                pending.extend(item.keys())
                pending.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            left -= len(item)
            if left >= 0:
                pending.extend(item)
        elif isinstance(item, _PLAIN) or getattr(item, "ndim", None) == 0:
            left -= 24
        else:
            fields = getattr(type(item), "__dataclass_fields__", None)
            if not isinstance(fields, dict):
                return False
            pending.extend(getattr(item, name, None) for name in fields)
        if left < 0:
            return False
    return True
