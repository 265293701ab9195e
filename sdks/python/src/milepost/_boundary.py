"""Where a fault of reporting ends: one warning, and nothing reaches the program."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from . import _notice
from ._json import describe

F = TypeVar("F", bound=Callable[..., Any])

MAX_WARNED = 256
"""So many different warnings are remembered; what is beyond is not said at all."""
_warned: set[str] = set()


def warn_once(text: str) -> None:
    """Warns, unless the very same was said in this process before."""
    if text not in _warned and len(_warned) < MAX_WARNED:
        _warned.add(text)
        _notice.notify(text)


def harmless(function: F) -> F:
    """The function, which raises nothing: whatever goes wrong in it is a warning, and it returns None."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except Exception as error:
            # What a value's own methods raise, too: its __float__, its __str__.
            warn_once(f"{function.__qualname__} reports nothing: {type(error).__name__}: {describe(error)}")
            return None

    return cast(F, call)
