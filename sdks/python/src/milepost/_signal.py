"""Signals, for those who ask for it."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn, Optional


def exit_on_signal(*signals: int) -> None:
    """Lets these signals, SIGTERM if none is given, end the process by SystemExit instead of at once.

    So `with` blocks are left, jobs are told to be cancelled, and the process's exit waits for that, two seconds at
    most; the exit code is the shells' 128 + signal. Milepost never does this on its own account: without it, Python
    dies of SIGTERM on the spot, and watchers see the job stand still. To be called in the main thread.
    """
    for each in signals or (signal.SIGTERM,):
        signal.signal(each, _exit)


def _exit(number: int, frame: Optional[FrameType]) -> NoReturn:
    # Whoever sends a second one does not want to wait.
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)
