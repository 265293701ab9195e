"""A job's state, as watchers are shown it: section 3 of the protocol."""

from __future__ import annotations

from typing import Any, Optional

from ._update import ENDS


class State(dict[str, Any]):
    """A job as the updates so far make it: its JSON, with the protocol's fields as attributes too.

    A field that the state does not have is None as an attribute, and missing as a key.
    """

    @property
    def job_id(self) -> str:
        return str(self["job_id"])

    @property
    def status(self) -> str:
        """`queued`, `processing`, or an end: `completed`, `failed`, `cancelled`."""
        return str(self["status"])

    @property
    def has_ended(self) -> bool:
        return self.get("status") in ENDS

    @property
    def stage(self) -> Optional[str]:
        return self.get("stage")

    @property
    def progress(self) -> Optional[float]:
        """0…1; None if the total is not known."""
        return self.get("progress")

    @property
    def message(self) -> Optional[str]:
        return self.get("message")

    @property
    def timestamp(self) -> Optional[str]:
        """The worker's clock, RFC 3339."""
        return self.get("timestamp")

    @property
    def metadata(self) -> Any:
        return self.get("metadata")

    @property
    def result(self) -> Any:
        """Of a job that is completed."""
        return self.get("result")

    @property
    def error(self) -> Optional[str]:
        """Of a job that has failed."""
        return self.get("error")

    @property
    def attempt(self) -> Optional[int]:
        return self.get("attempt")

    @property
    def position(self) -> Optional[str]:
        """Where in the job's life this state stands. Opaque: hand it back as `since`."""
        return self.get("position")
