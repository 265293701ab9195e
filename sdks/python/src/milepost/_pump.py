"""A watch for an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Deque, Optional

from ._state import State

if TYPE_CHECKING:
    from ._watch import Watch

MAX_WAITING = 128
"""So many states wait for an `async for` that is slower than the job; then only the newest, and up to 8 ends."""
MAX_ENDS = 8


class Pump:
    """Watches in a thread, for an event loop."""

    def __init__(self, watch: Watch) -> None:
        self._outer = watch
        self._watch = watch._again()
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._ready: Deque[State] = deque()
        self._error: Optional[BaseException] = None
        self._is_over = False
        self._news = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="milepost-watch", daemon=True)
        watch._sources.add(self)
        self._thread.start()

    def _run(self) -> None:
        error: Optional[BaseException] = None
        try:
            for state in self._watch:
                with self._lock:
                    self._push(state)
                self._wake()
        except Exception as raised:
            error = raised
        with self._lock:
            self._error = error
            self._is_over = True
        self._wake()

    def _push(self, state: State) -> None:
        self._ready.append(state)
        if len(self._ready) > MAX_WAITING:
            ends = [each for each in self._ready if each.has_ended and each is not state][-MAX_ENDS:]
            self._ready = deque([*ends, state])

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            # The loop is closed: nobody listens any more.
            self._watch.close()

    async def next(self) -> Optional[State]:
        while True:
            self._news.clear()
            with self._lock:
                if self._ready:
                    state = self._ready.popleft()
                    self._outer._state = state
                    return state
                if self._is_over:
                    if self._error is not None:
                        raise self._error
                    return None
            await self._news.wait()

    def stop(self) -> None:
        self._outer._sources.discard(self)
        self._watch.close()

    # As one of the outer watch's sources

    def close(self) -> None:
        self._watch.close()
