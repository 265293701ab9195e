"""Loops that were left before their items were used up: by `break`, or by an exception.

In both cases Python closes the loop's generator in the same way, without naming the exception. But the current bytecode
of the loop's frame shows whether the loop was left in order. If not, an exception is propagating through the frame. We
learn which one when it is uncaught, at the end of the program or of the thread, or when the code that handles it opens
the next bar.
"""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any, Optional

from ._memory import is_held
from ._threads import Flag, Thread

PATIENCE = 5.0
"""How long an exception may propagate, for example through `finally` blocks, before it counts as caught, in seconds."""
MAX_PENDING = 64
"""The most loops that wait for their exception at once. Others do not wait."""

_IN_ORDER = ("POP_", "END_", "RETURN_", "YIELD_", "RESUME", "DELETE_FAST", "DELETE_NAME", "STORE_FAST", "STORE_NAME")
_IN_ORDER_TOO = frozenset({"SWAP", "ROT_TWO", "ROT_THREE", "ROT_FOUR", "NOP", "JUMP_FORWARD", "JUMP_BACKWARD"})

_pending: list[LeftLoop] = []
_watches_threads = False


class LeftLoop:
    """A loop that was left. `decide` is called once, with the exception that left it, or None."""

    def __init__(self, frame: FrameType, decide: Callable[[Optional[BaseException]], None]) -> None:
        self._frame_id = id(frame)
        self._code: CodeType = frame.f_code
        self._decide: Optional[Callable[[Optional[BaseException]], None]] = decide
        self._is_decided = Flag()

    def wait(self) -> None:
        """Decides within `PATIENCE` seconds."""
        try:
            Thread(self._run_out, "milepost-loop").start()
        except RuntimeError:
            self.settle(None)

    def _run_out(self) -> None:
        if not self._is_decided.wait(PATIENCE):
            self.settle(uncaught())

    def settle(self, error: Optional[BaseException]) -> None:
        """Decides, with that exception if it propagated through this loop, otherwise with None."""
        decide, self._decide = self._decide, None
        if decide is not None:
            if self in _pending:
                _pending.remove(self)
            self._is_decided.set()
            decide(error if error is not None and self._was_left_by(error.__traceback__) else None)

    def _was_left_by(self, trace: Optional[TracebackType]) -> bool:
        while trace is not None:
            if id(trace.tb_frame) == self._frame_id and trace.tb_frame.f_code is self._code:
                return True
            trace = trace.tb_next
        return False

    def matches(self, error: Optional[BaseException]) -> bool:
        return error is not None and self._was_left_by(error.__traceback__)


def left(decide: Callable[[Optional[BaseException]], None]) -> Optional[LeftLoop]:
    """Call it while the generator of a loop is being closed. Returns the loop if an exception is still propagating;
    otherwise `decide` has been called."""
    frame = _frame_of_loop()
    # If this thread holds the lock, this is a finaliser in the middle of a change, not the end of a loop.
    if frame is None or is_held() or len(_pending) >= MAX_PENDING or not _has_exception(frame):
        decide(None)
        return None
    loop = LeftLoop(frame, decide)
    _pending.append(loop)
    _watch_threads()
    loop.wait()
    return loop


def uncaught() -> Optional[BaseException]:
    """The uncaught exception that Python printed last."""
    found = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return found if isinstance(found, BaseException) else None


def check_handled() -> None:
    """If the calling code is handling an exception, settles the loops that it left."""
    if _pending:
        _settle_pending(sys.exc_info()[1])


def _settle_pending(error: Optional[BaseException]) -> None:
    for loop in list(_pending):
        if loop.matches(error):
            loop.settle(error)


def _watch_threads() -> None:
    global _watches_threads
    if _watches_threads:
        return
    _watches_threads = True
    before = threading.excepthook

    def hook(arguments: Any) -> None:
        _settle_pending(arguments.exc_value)
        before(arguments)

    threading.excepthook = hook


def _frame_of_loop() -> Optional[FrameType]:
    """The frame of the loop: the first one above the generators that are being closed."""
    frame: Optional[FrameType] = sys._getframe(1)
    is_inside = False
    while frame is not None:
        is_generator = frame.f_code.co_name in ("__iter__", "__aiter__")
        if is_inside and not is_generator:
            return frame
        is_inside = is_inside or is_generator
        frame = frame.f_back
    return None


def _has_exception(frame: FrameType) -> bool:
    try:
        name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    except IndexError:
        return False
    return not name.startswith(_IN_ORDER) and name not in _IN_ORDER_TOO
