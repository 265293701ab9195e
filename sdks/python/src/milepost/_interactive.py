"""Hints for people at a terminal: where to watch, or what to set. Each is printed once."""

from __future__ import annotations

import os
import sys
from typing import Optional

_has_shown_page = False
_has_hinted = False


def is_interactive() -> bool:
    """Whether the standard error is a terminal or a notebook."""
    try:
        return sys.stderr.isatty()
    except Exception:
        return False


def hint_page(url: Optional[str]) -> None:
    """Shows where the first job is watched."""
    global _has_shown_page
    if url is not None and not _has_shown_page and is_interactive():
        _has_shown_page = True
        _write(f"watch at {url}")


def hint_no_server() -> None:
    """Nothing is reported, because no server is configured."""
    global _has_hinted
    if not _has_hinted and is_interactive() and "MILEPOST_URL" not in os.environ:
        _has_hinted = True
        _write("nothing is reported: MILEPOST_URL is not set. `milepost serve` is at http://localhost:8084 by default")


def _write(text: str) -> None:
    try:
        sys.stderr.write(f"milepost: {text}\n")
    except Exception:
        # Whatever stands in for the terminal.
        pass
