"""tqdm that also reports: `from milepost import tqdm`. Needs the extra `tqdm`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Iterable, Iterator
from typing import Any, Generic, Optional, TypeVar, Union, overload

from tqdm.asyncio import tqdm_asyncio
from tqdm.auto import tqdm as _base

from . import _notice
from ._bars import Reported
from ._job import Job

__all__ = ["tqdm", "trange"]


T = TypeVar("T")
_Items = Union[Iterable[T], AsyncIterable[T]]
_Given = Union[Job, str, None]


class tqdm(_base, Generic[T]):  # type: ignore[misc]
    """The bar of `tqdm.auto`, which also reports to a job.

        for frame in tqdm(frames, desc="render"):
            encode(frame)

    It belongs to `job`, if that is a job of `milepost.job()`; else to the job whose `with` block this code runs in;
    else to that of the bar in whose loop it was opened. Otherwise it begins a job of its own, with `job` as the id (the
    next attempt, if that has ended), or one made from `desc` or, without that, from the program's name; that ends with
    the bar: completed when the items are used up, or when a bar without items is closed and lacks nothing of its total;
    failed by an exception that the bar sees; cancelled when the loop is left, or the bar closed, before.

    The first open bar of a job is its progress, and `desc` its stage; bars nested in its loop refine it, and are shown
    in the metadata, `bars`. Updates go out when tqdm draws, and draw what it would. With `disable=True` nothing is
    reported; with `disable=None` and no terminal nothing is drawn. Reporting raises nothing, and waits for nobody.
    """

    @overload
    def __init__(self, iterable: _Items[T], *args: Any, job: _Given = None, **options: Any) -> None: ...

    @overload
    def __init__(self: tqdm[Any], iterable: None = None, *args: Any, job: _Given = None, **options: Any) -> None: ...

    def __init__(self, *args: Any, job: _Given = None, **options: Any) -> None:
        self._reported: Optional[Reported] = None
        self._is_dropped = False
        if _base is tqdm_asyncio and options.get("disable", False) is None and not _is_terminal(options.get("file")):
            options.update(disable=False, file=_Nowhere())
        super().__init__(*args, **options)
        if not self.disable:
            try:
                reported = Reported(self, job)
                reported.update(self)
                self._reported = reported
            except Exception as error:
                _notice.notify(f"a progress bar is not reported, because of an internal error: {error!r}")

    def __iter__(self) -> Iterator[T]:
        return super().__iter__()  # type: ignore[no-any-return]

    def display(self, *args: Any, **options: Any) -> Any:
        if self._reported is not None:
            self._quietly(lambda reported: reported.update(self))
        return super().display(*args, **options)

    def close(self) -> None:
        self._close(None)

    def _close(self, outcome: Optional[BaseException]) -> None:
        super().close()
        if self._reported is not None:
            self._quietly(lambda reported: reported.close(self, self._is_dropped, outcome))
            self._reported = None

    def __exit__(self, kind: Any, error: Optional[BaseException], traceback: Any) -> None:
        self._close(error)

    def __del__(self) -> None:
        self._is_dropped = True
        super().__del__()

    def _quietly(self, notify: Any) -> None:
        try:
            notify(self._reported)
        except Exception as error:
            self._reported = None
            _notice.notify(f"a progress bar is no longer reported, because of an internal error: {error!r}")


def trange(*args: Any, **options: Any) -> tqdm[int]:
    """`tqdm(range(…), …)`."""
    return tqdm(range(*args), **options)


class _Nowhere:
    """A file that keeps nothing."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def _is_terminal(file: Any) -> bool:
    try:
        return bool((sys.stderr if file is None else file).isatty())
    except Exception:
        return False
