"""Lets signals end the process by an exception, if the program wants that."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn, Optional


def exit_on_signal(*signals: int) -> None:
    """Lets these signals, SIGTERM if none is given, end the process by SystemExit instead of at once.

    So `with` blocks are left, and jobs end as cancelled. The exit waits for that, two seconds at most. The exit code is
    128 + signal, as in shells. Milepost never does this by itself. Without it, Python dies of SIGTERM at once, and
    watchers see the job stand still. Call it in the main thread.
    """
    for each in signals or (signal.SIGTERM,):
        signal.signal(each, _exit)


def _exit(number: int, frame: Optional[FrameType]) -> NoReturn:
    # Whoever sends a second one does not want to wait.
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)
