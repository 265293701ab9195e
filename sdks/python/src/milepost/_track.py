"""Loops whose items are counted."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, Optional, TypeVar

from ._counter import Counter, Number

T = TypeVar("T")


class Track(Generic[T]):
    """Items that are counted: `Job.track()`. An iterable, and an iterator; a loop over it costs no Python code for each
    item. What the items themselves raise is raised."""

    def __init__(self, items: Iterable[T], counter: Counter, total: Optional[Number] = None) -> None:
        self._items = items
        self._counter = counter
        self._total = total
        self._iterator: Optional[Iterator[T]] = None

    def __iter__(self) -> Iterator[T]:
        if self._iterator is not None:
            return self._iterator
        iterator = iter(self._items)
        expect(self._items, self._counter, self._total)
        return self._counter.track(iterator)

    def __next__(self) -> T:
        if self._iterator is None:
            self._iterator = iter(self)
        return next(self._iterator)

    def __len__(self) -> int:
        length = length_of(self._items)
        if length is None:
            raise TypeError("the tracked items have no len()")
        return length

    def __bool__(self) -> bool:
        return length_of(self._items) != 0

    async def __aiter__(self) -> AsyncIterator[T]:
        """For `async for` over an iterable that is not async."""
        for item in self:
            yield item


class AsyncTrack(Generic[T]):
    """Items that are counted, for `async for`: `Job.track()`."""

    def __init__(self, items: AsyncIterable[T], counter: Counter, total: Optional[Number] = None) -> None:
        self._items = items
        self._counter = counter
        self._total = total

    async def __aiter__(self) -> AsyncIterator[T]:
        counter = self._counter
        expect(self._items, counter, self._total)
        async for item in self._items:
            yield item
            counter.advance(1)


def track(items: Any, counter: Counter, total: Optional[Number]) -> Any:
    kind = AsyncTrack if _is_async(items) else Track
    return kind(items, counter, total)


class Checked(Generic[T]):
    """Items before each of which `check` is called."""

    def __init__(self, items: Iterable[T], check: Callable[[], None]) -> None:
        self._items = items
        self._check = check

    def __iter__(self) -> Iterator[T]:
        check = self._check
        check()
        for item in self._items:
            yield item
            check()

    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]


class AsyncChecked(Generic[T]):
    """The same for `async for`."""

    def __init__(self, items: AsyncIterable[T], check: Callable[[], None]) -> None:
        self._items = items
        self._check = check

    async def __aiter__(self) -> AsyncIterator[T]:
        check = self._check
        check()
        async for item in self._items:
            yield item
            check()

    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]


def checked(items: Any, check: Callable[[], None]) -> Any:
    """The items. `check` is called before each, and may raise."""
    return AsyncChecked(items, check) if _is_async(items) else Checked(items, check)


def _is_async(items: object) -> bool:
    return hasattr(items, "__aiter__") and not hasattr(items, "__iter__")


def expect(items: object, counter: Counter, total: Optional[Number]) -> None:
    """Sets the counter's total: what was counted before, and what comes now."""
    if total is not None:
        counter.set_total(counter.current + total)
        return
    length = length_of(items)
    if length is not None:
        counter.expect(length)


def length_of(items: object) -> Optional[int]:
    """How many items there are, if they know it."""
    try:
        return len(items)  # type: ignore[arg-type]
    except Exception:
        # No length, or one that fails: then it is not known.
        return None
