"""Follows the progress bars of a program that knows nothing of Milepost."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ._boundary import harmless

_FIELD = "_milepost_reported"


def follow_tqdm() -> bool:
    """From now on every bar of tqdm's reports to the job whose block it is opened in. Returns whether there is tqdm."""
    try:
        from tqdm.std import tqdm
    except ImportError:
        return False
    if not hasattr(tqdm, _FIELD):
        setattr(tqdm, _FIELD, None)
        tqdm.__init__ = _then(tqdm.__init__, _opened)
        tqdm.display = _then(tqdm.display, _drawn)
        tqdm.close = _then(tqdm.close, _closed)
    return True


def _then(method: Callable[..., Any], after: Callable[[Any], None]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(bar: Any, *arguments: Any, **named: Any) -> Any:
        result = method(bar, *arguments, **named)
        after(bar)
        return result

    return call


@harmless
def _opened(bar: Any) -> None:
    from ._bars import Reported

    # Milepost's own bars report themselves.
    if not bar.disable and not hasattr(bar, "_reported"):
        reported = Reported(bar, None)
        setattr(bar, _FIELD, reported)
        reported.look(bar)


@harmless
def _drawn(bar: Any) -> None:
    reported = getattr(bar, _FIELD, None)
    if reported is not None:
        reported.look(bar)


@harmless
def _closed(bar: Any) -> None:
    reported = getattr(bar, _FIELD, None)
    if reported is not None:
        setattr(bar, _FIELD, None)
        reported.close(bar, False, None)
