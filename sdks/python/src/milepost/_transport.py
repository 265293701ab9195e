"""How updates get to a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional, Protocol, Union

from ._outcome import Busy, Outcome, Refused
from ._update import Encoded


class Outgoing(NamedTuple):
    """An update on its way."""

    job_id: str
    update: Encoded


class Transport(Protocol):
    """One thread owns it, and waits for each answer."""

    def send(self, updates: Sequence[Outgoing], timeout: float) -> list[Outcome]:
        """Sends the updates, which are at least one, and returns what became of each, in order.

        Raises Failure if the outcome is not known, within `timeout` seconds at the latest.
        """

    def append_log(self, job_id: str, lines: bytes, timeout: float) -> Optional[Union[Busy, Refused]]:
        """Appends lines to a job's log: JSON lines, at most 4,096. Returns why they were not taken, if so.

        Raises Failure if the outcome is not known, within `timeout` seconds at the latest.
        """

    def close(self) -> None:
        """Lets go of the connection. The next call makes a new one."""
