"""Catches errors of reporting: each is one warning, and none reaches the program."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Optional, TypeVar, cast

from . import _notice
from ._json import describe

F = TypeVar("F", bound=Callable[..., Any])

MAX_WARNED = 256
"""The most different warnings that are remembered. Others are dropped."""
_warned: set[str] = set()


def warn_once(text: str, about: Optional[str] = None) -> None:
    """Warns, unless this process has already warned about the same: by default, with the same text."""
    about = text if about is None else about
    if about not in _warned and len(_warned) < MAX_WARNED:
        _warned.add(about)
        _notice.notify(text)


def harmless(function: F) -> F:
    """Wraps a function so that it never raises: an exception becomes a warning, and the result is None."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except Exception as error:
            # This includes exceptions of a value's own methods, such as __float__ and __str__.
            warn_once(f"{function.__qualname__} reports nothing: {type(error).__name__}: {describe(error)}")
            return None

    return cast(F, call)
