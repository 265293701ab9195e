"""The states that wait for a loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Deque, Optional

from ._state import State

MAX_WAITING = 128
"""So many states wait for a loop that is slower than the job; then only the newest, and up to 8 ends."""
MAX_ENDS = 8


class Backlog:
    """Written by the thread that receives states, read by the loop. `wake` is called after each change."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._ready: Deque[State] = deque()
        self._error: Optional[BaseException] = None
        self._is_over = False
        self._wake = wake

    def push(self, state: State) -> None:
        with self._lock:
            if self._is_over:
                return
            self._ready.append(state)
            if len(self._ready) > MAX_WAITING:
                ends = [each for each in self._ready if each.has_ended and each is not state][-MAX_ENDS:]
                self._ready = deque([*ends, state])
        self._wake()

    def finish(self, error: Optional[BaseException]) -> None:
        """There are no more states, because of an error if there is one. The first call counts."""
        with self._lock:
            if self._is_over:
                return
            self._error = error
            self._is_over = True
        self._wake()

    def close(self) -> None:
        """The loop wants no more states."""
        with self._lock:
            self._ready.clear()
            self._error = None
            self._is_over = True
        self._wake()

    def abandon(self, error: BaseException) -> None:
        """In the child of a fork: as `finish`, whoever held the lock in the parent."""
        self._lock = threading.Lock()
        self.finish(error)

    @property
    def is_over(self) -> bool:
        """Whether the loop has everything that there is."""
        with self._lock:
            return self._is_over and not self._ready

    def take(self) -> Optional[State]:
        """The next state; None if there is none now, or none any more. Raises the error that ended it."""
        with self._lock:
            if self._ready:
                return self._ready.popleft()
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None
