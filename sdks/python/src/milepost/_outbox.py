"""What a job sends its updates and its log with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional, Protocol

from ._record import Record


class Outbox(Protocol):
    """Sends the updates of jobs."""

    @property
    def is_foreign(self) -> bool:
        """Whether it belongs to the process that this one was forked from."""

    def wake(self, record: Record) -> None: ...

    def write_log(self, record: Record, text: str, stream: Optional[str], at: Optional[float]) -> None: ...

    def later(self, record: Record, change: Callable[[], object]) -> None: ...

    def deliver(self, record: Record, timeout: float) -> None: ...

    def page_of(self, job_id: str) -> Optional[str]: ...

    @property
    def server(self) -> Optional[str]: ...
