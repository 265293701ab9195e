"""What comes of a job whose block is left by an exception."""

from __future__ import annotations

from . import _json
from ._request import CancelRequested


def outcome_of(error: BaseException) -> tuple[str, str]:
    """The status and the text of a job whose block is left by that exception."""
    if isinstance(error, CancelRequested):
        return "cancelled", error.request.describe()
    if isinstance(error, Exception):
        # Python 3.7's CancelledError was one; concurrent.futures' still is.
        return (
            ("cancelled", "cancelled")
            if type(error).__name__ == "CancelledError"
            else ("failed", _json.describe_error(error))
        )
    if isinstance(error, KeyboardInterrupt):
        return "cancelled", "interrupted"
    if isinstance(error, SystemExit):
        return _outcome_of_exit(error.code)
    if isinstance(error, GeneratorExit) or type(error).__name__ in ("CancelledError", "GreenletExit"):
        return "cancelled", "cancelled"
    return "failed", _json.describe_error(error)


def _outcome_of_exit(code: object) -> tuple[str, str]:
    # An exit with 0 may mean that the work is done, or that it was stopped. A wrong "completed" would be worse.
    if code is None or (isinstance(code, int) and code == 0):
        return "cancelled", "the process exits"
    if isinstance(code, int):
        # As in shells: ended by that signal.
        if 128 < code < 160:
            return "cancelled", f"ended by signal {code - 128}"
        return "failed", f"exit status {_json.describe(code)}"
    return "failed", _json.describe(code)
