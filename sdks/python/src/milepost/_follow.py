"""Follows the progress bars of a program that knows nothing of Milepost."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Optional

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


def follow_rich() -> None:
    """From now on every progress display of rich's reports to the job whose block it is in. rich need not be there, and
    is not imported for this."""
    from . import _rich

    loaded = sys.modules.get("rich.progress")
    if loaded is not None:
        _rich.follow(loaded)
    else:
        sys.meta_path.insert(0, _OnImport("rich.progress", _rich.follow))


class _OnImport(MetaPathFinder):
    """Does something once a module was imported."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._then = harmless(then)

    def find_spec(
        self, name: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        if name != self._name:
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = find_spec(name)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            execute, then = loader.exec_module, self._then

            def execute_and_follow(module: ModuleType) -> None:
                execute(module)
                then(module)

            loader.exec_module = execute_and_follow
        return spec


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
        reported.update(bar)


@harmless
def _drawn(bar: Any) -> None:
    reported = getattr(bar, _FIELD, None)
    if reported is not None:
        reported.update(bar)


@harmless
def _closed(bar: Any) -> None:
    reported = getattr(bar, _FIELD, None)
    if reported is not None:
        setattr(bar, _FIELD, None)
        reported.close(bar, False, None)
