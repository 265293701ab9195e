"""A job that is watched over a socket for many jobs: section 6 of the protocol. It does no I/O."""

from __future__ import annotations

from typing import Any, Optional

from ._backlog import Backlog
from ._cursor import Cursor
from ._forgotten import Forgotten
from ._refused import JobForgotten
from ._source import Query
from ._state import State


class Topic:
    """One subscription of the socket, and the loops that follow it.

    The server says nothing of whether a job goes on after an end, and sends nothing to a client that has the newest
    state. So after an end, and where a loop begins after a position, the client subscribes anew without a position. If
    the state that it gets is the one that it has, and an end, the loops are done.
    """

    def __init__(self, job_id: str, query: Query) -> None:
        self.job_id = job_id
        self.mode = query.mode
        self.max_rate = query.max_rate
        self.backlogs: list[Backlog] = []
        self.latest: Optional[State] = None
        """The newest state."""
        self.is_over = False
        """The job has ended, and its loops are done."""
        self.forgotten = Forgotten()
        self._cursor = Cursor(query.since)
        self._is_checking = False
        self._unanswered = 0
        """Subscriptions that the server has not confirmed: what comes before is of an earlier one."""

    def takes(self, query: Query) -> bool:
        """Whether another loop may follow this subscription: from the newest state on."""
        return query.since is None and (query.mode, query.max_rate) == (self.mode, self.max_rate) and not self.is_over

    def follow(self, backlog: Backlog) -> None:
        self.backlogs.append(backlog)
        if self.latest is not None:
            backlog.push(self.latest)

    def subscribe(self) -> dict[str, Any]:
        """The command that begins the subscription, on a new socket."""
        self._unanswered = 0
        has_end = self.latest is not None and self.latest.has_ended
        begins_after = self.latest is None and self._cursor.latest is not None
        return self._subscribe(has_end or begins_after)

    def _subscribe(self, is_checking: bool) -> dict[str, Any]:
        self._is_checking = is_checking
        self._unanswered += 1
        command: dict[str, Any] = {"type": "subscribe", "job_id": self.job_id}
        if self.mode != "all":
            command["mode"] = self.mode
        if self.max_rate is not None:
            command["max_rate"] = self.max_rate
        if not is_checking and self._cursor.latest is not None:
            command["since"] = self._cursor.latest
        return command

    def subscribed(self, is_known: bool, now: float) -> None:
        """The server has confirmed a subscription."""
        self._unanswered = max(0, self._unanswered - 1)
        if self._unanswered:
            return
        if is_known:
            self.forgotten.known()
        elif self._is_checking and self.latest is not None and self.latest.has_ended:
            # It was forgotten, which is the end of a job that had ended.
            self._is_checking = False
            self._finish()
        else:
            self._is_checking = False
            self.unknown(now)

    def unknown(self, now: float) -> None:
        """The server does not know the job. One of which there was a state, it has forgotten."""
        if self._cursor.latest is not None:
            self.forgotten.unknown(now)

    def give_up(self, now: float) -> bool:
        """Whether its loops are done, because it was forgotten, and nobody has reported it since."""
        if not self.forgotten.is_over(now):
            return False
        self.is_over = True
        self.finish(JobForgotten(self.job_id))
        return True

    def state(self, state: State) -> Optional[dict[str, Any]]:
        """A state has arrived. Returns a command to send, if any."""
        position = state.position
        if self._unanswered or position is None or self.is_over:
            return None
        self.forgotten.known()
        if self._is_checking:
            self._is_checking = False
            if self._cursor.is_newer(position):
                # There may be others before it.
                return self._subscribe(is_checking=False)
            if state.has_ended:
                self._finish()
            return None
        if not self._cursor.advance(position):
            return None
        self.latest = state
        # A loop that is gone leaves when it is woken.
        for backlog in list(self.backlogs):
            backlog.push(state)
        return self._subscribe(is_checking=True) if state.has_ended else None

    def _finish(self) -> None:
        self.is_over = True
        self.finish(None)

    def finish(self, error: Optional[BaseException]) -> None:
        """There are no more states for the loops."""
        for backlog in list(self.backlogs):
            backlog.finish(error)
