"""Variables of the environment that are misspelt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from ._boundary import warn_once

_VARIABLES = (
    "MILEPOST_URL",
    "MILEPOST_TOKEN",
    "MILEPOST_TOKEN_SECRET",
    "MILEPOST_JOB",
    "MILEPOST_ATTEMPT",
    "MILEPOST_PARENT",
    "MILEPOST_RUN",
    "MILEPOST_AUTO",
)


def warn_of_misspelt(names: Iterable[str]) -> None:
    """Warns once of each name that was probably meant to be one of Milepost's variables."""
    for name in names:
        meant = meant_by(name)
        if meant is not None:
            warn_once(f"the environment variable {name} has no effect: did you mean {meant}?")


def meant_by(name: str) -> Optional[str]:
    """The variable that differs from the name by case or by one letter; None if there is none, or the name is right."""
    if name in _VARIABLES:
        return None
    upper = name.upper()
    return next((variable for variable in _VARIABLES if _is_one_edit_away(upper, variable)), None)


def _is_one_edit_away(a: str, b: str) -> bool:
    """Whether at most one letter was added, dropped or replaced, or two neighbours changed places."""
    if abs(len(a) - len(b)) > 1:
        return False
    while a and b and a[0] == b[0]:
        a, b = a[1:], b[1:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    return max(len(a), len(b)) <= 1 or (len(a) == 2 and a == b[::-1])
