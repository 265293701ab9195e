"""The token that a server is sent: a text, or a function that supplies one for each connection."""

from __future__ import annotations

import inspect
import os
import re
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional, Union, cast

from ._outcome import Lost, RetryLater
from ._refused import InvalidToken, WatchRefused

if TYPE_CHECKING:
    import asyncio

Token = Union[str, Callable[[], Union[str, Awaitable[Optional[str]], None]], None]

PATIENCE = 30.0
"""A coroutine has so many seconds to supply a token."""
RECENTLY = 5.0
MOMENT = 1.0
"""A function that was asked less than `RECENTLY` seconds ago waits so many seconds before it is asked again."""
_VARIABLE = "MILEPOST_TOKEN"
_IN_A_HEADER = re.compile(r"[\t -~]*")


def usable(text: str, name: str = "token") -> Optional[str]:
    """The token without the white space around it, such as a file's last line break; None if nothing is left.

    Raises InvalidToken, which says that `name` is wrong, or the variable whose value it is.
    """
    trimmed = text.strip()
    if text == os.environ.get(_VARIABLE):
        name = _VARIABLE
    if _IN_A_HEADER.fullmatch(trimmed) is None:
        raise InvalidToken(f"{name} has a character that no key or token has: only printable ASCII can be sent")
    return trimmed or None


def known(given: Token) -> Token:
    """The token that was given, or else `MILEPOST_TOKEN`. Raises InvalidToken."""
    if given is not None and not isinstance(given, str):
        return given
    return usable(given or "") or usable(os.environ.get(_VARIABLE, ""))


def is_renewable(token: Token) -> bool:
    """Whether there can be another one."""
    return callable(token)


def is_async(token: Token) -> bool:
    """Whether only an event loop can ask for it."""
    return callable(token) and (inspect.iscoroutinefunction(token) or inspect.iscoroutinefunction(type(token).__call__))


def check_sync(token: Token) -> None:
    """Raises TypeError if only an event loop can ask for it."""
    if is_async(token):
        raise TypeError("an async function as a token needs `async for`; here, give a function that is not async")


def ask(token: Token) -> Optional[str]:
    """The token for a connection that is about to be made. Raises Lost if the function fails."""
    if token is None or isinstance(token, str):
        return token
    try:
        supplied: Any = token()
        if inspect.isawaitable(supplied):
            getattr(supplied, "close", lambda: None)()
            raise TypeError("it is async, and there is no event loop to run it")
        return None if supplied is None else usable(str(supplied), "what the function returned")
    except Exception as error:
        raise Lost(f"no token: {str(error) or type(error).__name__}") from error


class OfLoop(NamedTuple):
    """A function whose coroutine an event loop runs, for threads that need a token. Two of the same are equal."""

    function: Any
    loop: asyncio.AbstractEventLoop

    def __call__(self) -> Optional[str]:
        import asyncio

        async def supply() -> Optional[str]:
            supplied = self.function()
            return cast(Optional[str], await supplied if inspect.isawaitable(supplied) else supplied)

        supplying = supply()
        try:
            future = asyncio.run_coroutine_threadsafe(supplying, self.loop)
        except RuntimeError:
            supplying.close()
            raise
        try:
            return future.result(PATIENCE)
        finally:
            # Where it did not come in time.
            future.cancel()


class Rejections:
    """What follows when a server refuses a token: one time in a row, another token."""

    def __init__(self, token: Token) -> None:
        self._is_renewable = is_renewable(token)
        self._count = 0

    def accept(self) -> None:
        """The server has let it in."""
        self._count = 0

    def reject(self, detail: str, asked: float) -> Exception:
        """What to raise. `asked` is when the function was asked for the token, by `time.monotonic`."""
        self._count += 1
        # A new one that is refused as well is not a matter of time.
        if not self._is_renewable or self._count > 1:
            return WatchRefused(401, detail)
        return RetryLater(detail, MOMENT if time.monotonic() - asked < RECENTLY else 0.0)


def for_loop(token: Token, loop: asyncio.AbstractEventLoop) -> Token:
    """The same for a thread that works for this event loop. A function that is not async is called in the thread."""
    return cast(Token, OfLoop(token, loop)) if is_async(token) else token
