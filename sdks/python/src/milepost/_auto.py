"""`MILEPOST_AUTO=1 python train.py` is `python -m milepost train.py`: `milepost.pth` calls this as Python starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Optional

_WITH_VALUE = ("-X", "-W", "--check-hash-based-pycs")
"""Options of Python's that take the next argument."""


def start() -> None:
    """Runs the program that this Python was started for as a job, in this process' place. Does nothing where it was
    started for something else than a file."""
    # Child processes of the program are not jobs.
    if os.environ.pop("MILEPOST_AUTO", "").lower() not in ("1", "true", "yes", "on") or os.name == "nt":
        return
    try:
        command = as_job(_command_line())
        if command is not None:
            os.execv(sys.executable, command)
    except Exception as error:
        print(f"milepost: MILEPOST_AUTO has no effect: {error}", file=sys.stderr)


def _command_line() -> list[str]:
    known: Optional[list[str]] = getattr(sys, "orig_argv", None)
    if known is not None:
        return known
    # Python 3.9, as far as the operating system has it.
    try:
        return [os.fsdecode(part) for part in Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]]
    except OSError:
        return []


def as_job(command: list[str]) -> Optional[list[str]]:
    """The command line that runs the same file as a job; None if it runs no file."""
    at = 1
    while at < len(command) and len(command[at]) > 1 and command[at].startswith("-"):
        option = command[at]
        if option in _WITH_VALUE:
            at += 2
        elif option.startswith(("-X", "-W", "--")):
            at += 1
        elif set(option) & set("cmhV?"):
            # Code, a module, or a question about Python itself.
            return None
        else:
            at += 1
    if at >= len(command) or not Path(command[at]).is_file():
        return None
    return [command[0], *command[1:at], "-m", "milepost", *command[at:]]
