"""How updates get to a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ._outcome import Outcome
from ._update import Encoded


class Outgoing(NamedTuple):
    """An update on its way."""

    job_id: str
    update: Encoded


class Transport(Protocol):
    """One thread owns it, and waits for each answer."""

    def send(self, updates: Sequence[Outgoing], timeout: float) -> list[Outcome]:
        """Sends the updates, which are at least one, and returns what became of each, in order.

        Raises Failure when that cannot be told, within `timeout` seconds at the latest.
        """

    def close(self) -> None:
        """Lets go of the connection. The next call makes a new one."""
