"""Return values of tasks and of endpoints' work, which are reported if they are small."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

MAX_SMALL = 4_096
"""About how many bytes of JSON a function's return value may have to be reported. `job.result(value)` also reports
larger values."""
_PLAIN = (date, time, Decimal, Enum, UUID)


def is_small(value: object) -> bool:
    """Whether the value is small, decided in at most 4,096 steps. Values that are not JSON, such as a model's weights,
    are not."""
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
