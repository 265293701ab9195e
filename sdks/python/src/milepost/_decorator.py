"""Functions of which each call is a job."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def with_jobs(function: F, begin: Callable[[], AbstractContextManager[object]]) -> F:
    """The function, or coroutine function, of which each call is within a job of its own, which `begin` begins."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*arguments: Any, **named: Any) -> Any:
            with begin():
                return await function(*arguments, **named)

        return cast(F, call_async)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with begin():
            return function(*arguments, **named)

    return cast(F, call)
