"""Values that may be assigned or called: `job.progress = 0.5` and `job.progress(0.5)` do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Optional, TypeVar

from ._boundary import warn_once
from ._counter import Number

V = TypeVar("V")


class Assignable(Generic[V]):
    """What `job.progress` and `job.total` are. `value` is what was last set, or None."""

    __slots__ = ("_set", "value")

    def __init__(self, value: Optional[Number], set_value: Callable[[Optional[V]], None]) -> None:
        self.value = value
        self._set = set_value

    def __call__(self, value: Optional[V]) -> None:
        self._set(value)

    def __float__(self) -> float:
        return float("nan") if self.value is None else float(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


def is_assignable(kind: type, name: str) -> bool:
    """Whether to assign to that attribute. What reports nothing is warned of. A name that is not known is the program's
    own, or misspelt; a method must stay one, because a call of it may follow."""
    known = getattr(kind, name, None)
    if isinstance(known, property) and known.fset is not None:
        return True
    what = f"{kind.__name__}.{name}"
    if known is None:
        # Imported here: hardly any program needs it.
        from difflib import get_close_matches

        close = get_close_matches(name, [each for each in dir(kind) if not each.startswith("_")], 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        warn_once(f"assigning to {what} reports nothing: there is no such attribute.{hint}")
    elif callable(known):
        warn_once(f"assigning to {what} is ignored: it is a method. Call {name}(…)")
    else:
        warn_once(f"assigning to {what} is ignored: it cannot be set")
    return known is None
