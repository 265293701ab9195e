"""What to send, and when: no I/O and no clock.

Updates are absolute, so each job has one delivery, however often its worker reports. The delivery records which state
the server has, and when to check the job again. The check finds changes, so counting need not wake the sender. All
times are seconds of one monotonic clock.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from typing import NamedTuple, Optional

from ._backoff import Backoff
from ._outage import Outage
from ._outcome import Accepted, AttemptOver, Busy, Outcome, Refused, Unacceptable
from ._record import Record, Snapshot, StateId

GAP = 0.02
"""In seconds. Changes within this time are sent together. A job whose stage changes all the time is sent at most this
often."""
LONGEST_RETRY_AFTER = 300.0
FLUSH_RETRY = 0.25
"""The longest wait between two tries during a flush, in seconds."""
BATCH = 1_000
"""Updates in one request, at most (a server takes 10,000)."""
_AT_ONCE = float("-inf")


class Pace(NamedTuple):
    interval: float = 0.2
    """The shortest time between two routine updates of a job, in seconds."""
    heartbeat: float = 10.0
    """The longest time between two updates of a job that does not change, in seconds."""


class Delivery:
    """Which state of one job the server has, and when to send the next."""

    def __init__(self, record: Record, until_end: bool, dice: random.Random) -> None:
        self.record = record
        self.until_end = until_end
        """Whether to keep this until the job's end is acknowledged; otherwise, until its present state is."""
        self.check_at: Optional[float] = None
        """When to check the job; None while it is in flight, or waits for another."""
        self.settled: Optional[StateId] = None
        """The last state that the server accepted or rejected."""
        self.settled_urgent: Optional[int] = None
        self.sent_at: Optional[float] = None
        self.in_flight: Optional[Snapshot] = None
        self.was_accepted = False
        self.is_over = False
        """The server answered that the attempt is over."""
        self.backoff = Backoff(dice)
        """For rejections and delays of this job alone."""
        self.not_before: Optional[float] = None
        self.after: Optional[int] = None
        """An earlier job of the same id, whose end is sent first."""
        self.then: Optional[int] = None
        """The job that waits for this one."""

    def when(self, seen: Snapshot, now: float, pace: Pace, is_flushing: bool) -> Optional[float]:
        """When to send it: at once, if that is not later than `now`; None if there is nothing more to send."""
        is_last = seen.ended or not self.until_end
        if self.is_over or self.record.is_withdrawn:
            return None if is_last else now + pace.heartbeat
        if self.settled == seen.state:
            if is_last:
                return None
            at = now if self.sent_at is None else self.sent_at + pace.heartbeat
            return at if self.not_before is None else max(at, self.not_before)
        if self.sent_at is None or seen.ended or is_flushing:
            at = now
        elif seen.urgent != self.settled_urgent:
            at = self.sent_at + GAP
        else:
            at = self.sent_at + pace.interval
        return at if self.not_before is None else max(at, self.not_before)


class Due(NamedTuple):
    send: list[Record]
    done: list[tuple[Record, Snapshot]]
    """Jobs without anything more to send. The schedule has already removed them."""


class Schedule:
    def __init__(self, pace: Pace, dice: random.Random) -> None:
        self._pace = pace
        self._dice = dice
        self._deliveries: dict[int, Delivery] = {}
        self._checks: list[tuple[float, int]] = []
        """A heap of checks. One whose time differs from its delivery's `check_at` is void."""
        self._last_pass: Optional[float] = None
        self._hold: Optional[float] = None
        """Send nothing before this time: the server did not answer, or sent `Retry-After`."""
        self._backoff = Backoff(dice)
        self._outage = Outage()
        self._flush_deadline: Optional[float] = None
        self._flush_pending: set[int] = set()
        self._most = BATCH

    def __len__(self) -> int:
        return len(self._deliveries)

    def add(self, record: Record, until_end: bool, after: Optional[int], now: float) -> None:
        """A job has begun. Its first state is sent after `GAP`, so that it includes the worker's next calls."""
        delivery = Delivery(record, until_end, self._dice)
        self._deliveries[record.key] = delivery
        earlier = self._deliveries.get(after) if after is not None else None
        if earlier is not None:
            earlier.then = record.key
            delivery.after = after
        self._plan_check(record.key, now + GAP)

    def wake(self, record: Record, now: float) -> None:
        """A job has changed in a way that watchers should see at once."""
        delivery = self._deliveries.get(record.key)
        if delivery is None:
            return
        if record.has_ended:
            delivery.not_before = None
        earliest = _AT_ONCE if delivery.sent_at is None else delivery.sent_at + GAP
        self._plan_check(record.key, _AT_ONCE if record.has_ended or earliest <= now else earliest)

    def due(self, now: float) -> Due:
        """The jobs to send now: those that were woken, then those that have waited longest. They are in flight until
        `settle` or `fail` is called for them."""
        due = Due([], [])
        if self._hold is not None and now < self._hold:
            return due
        self._last_pass = now
        while len(due.send) < self._most and self._checks and self._checks[0][0] <= now:
            at, key = heapq.heappop(self._checks)
            delivery = self._deliveries.get(key)
            if delivery is None or delivery.check_at != at:
                continue
            delivery.check_at = None
            seen = delivery.record.snapshot()
            if delivery.settled == seen.state or delivery.is_over:
                self._flush_pending.discard(key)
            when = delivery.when(seen, now, self._pace, key in self._flush_pending)
            if when is None:
                self._remove(key, now)
                due.done.append((delivery.record, seen))
            elif when <= now:
                delivery.in_flight = seen
                delivery.sent_at = now
                due.send.append(delivery.record)
            else:
                self._plan_check(key, min(when, now + self._pace.interval))
        return due

    def settle(self, record: Record, outcome: Outcome, now: float) -> bool:
        """Records the outcome of an update. Returns whether it is worth a notice."""
        delivery = self._deliveries.get(record.key)
        if delivery is None or delivery.in_flight is None:
            return False
        sent, delivery.in_flight = delivery.in_flight, None
        next_check = now if sent.ended or not delivery.until_end else now + self._pace.interval
        is_settled = True
        is_news = False
        if isinstance(outcome, Accepted):
            delivery.backoff.reset()
            delivery.not_before = None
            delivery.was_accepted = True
            self._outage.accepted(record.key, sent.ended)
        elif isinstance(outcome, (Refused, Unacceptable)):
            self._outage.gone(record.key)
            is_news = delivery.backoff.failures == 0
            delivery.not_before = now + delivery.backoff.next()
        elif isinstance(outcome, Busy):
            is_settled = False
            if outcome.retry_after is None and self._flush_deadline is not None:
                wait = FLUSH_RETRY * self._dice.random()
            else:
                wait = max(delivery.backoff.next(), outcome.retry_after or 0.0)
            next_check = delivery.not_before = now + min(LONGEST_RETRY_AFTER, wait)
            is_news = self._outage.delayed(record.key, sent.ended, outcome.is_full)
        elif self._reopens(delivery, outcome):
            is_settled = False
            next_check = _AT_ONCE
        else:
            self._outage.gone(record.key)
            delivery.is_over = True
            is_news = True
        if is_settled:
            delivery.settled = sent.state
            delivery.settled_urgent = sent.urgent
            self._flush_pending.discard(record.key)
        self._plan_check(record.key, next_check)
        return is_news

    def sent(self, record: Record) -> Optional[Snapshot]:
        """The job's snapshot in flight, if any."""
        delivery = self._deliveries.get(record.key)
        return None if delivery is None else delivery.in_flight

    def send_again(self, record: Record) -> None:
        """The server did not accept the update in flight. It is sent again at once, in another form."""
        delivery = self._deliveries.get(record.key)
        if delivery is not None:
            delivery.in_flight = delivery.sent_at = None
            self._plan_check(record.key, _AT_ONCE)

    def _reopens(self, delivery: Delivery, outcome: AttemptOver) -> bool:
        """If no update of this worker was accepted yet, and the job has ended or is at a later attempt: begins the next
        attempt, or joins the later one, if the record allows it."""
        refusal, record = outcome.refusal, delivery.record
        if delivery.was_accepted or refusal.attempt is None:
            return False
        if refusal.problem == "attempt-ended" and record.reopens:
            record.reopens = False
            attempt = refusal.attempt + 1
        elif refusal.problem == "attempt-superseded" and record.joins:
            record.joins = False
            attempt = refusal.attempt
        else:
            return False
        delivery.sent_at = None
        record.reopen(attempt)
        return True

    def answered(self) -> None:
        """A request was answered. Call `settle` for each outcome next."""
        self._backoff.reset()
        self._hold = None
        self._most = min(BATCH, self._most * 2)
        self._outage.answered()

    def has_recovered(self) -> bool:
        """After the outcomes of a request: whether an outage has just ended."""
        return self._outage.is_over()

    def fail(self, records: Iterable[Record], retry_after: Optional[float], now: float) -> bool:
        """The request with these records was not answered, or the server asked to retry later. All are due again.
        Returns whether an outage has just begun."""
        self.put_back(records, now)
        if retry_after is not None:
            # Up to a quarter more, so that clients with the same `Retry-After` do not all return at once.
            wait = min(LONGEST_RETRY_AFTER, retry_after) * (1 + self._dice.random() / 4)
        elif self._flush_deadline is not None:
            wait = FLUSH_RETRY * self._dice.random()
        else:
            wait = self._backoff.next()
        self._hold = now + wait
        return self._outage.failed()

    def reduce(self, records: list[Record], now: float) -> None:
        """The server rejected a batch of this size. Its updates are due again, in batches of half the size."""
        self.put_back(records, now)
        self._most = max(1, len(records) // 2)

    def put_back(self, records: Iterable[Record], now: float) -> None:
        """These were not sent after all."""
        for record in records:
            delivery = self._deliveries.get(record.key)
            if delivery is not None:
                sent, delivery.in_flight, delivery.sent_at = delivery.in_flight, None, None
                self._plan_check(record.key, _AT_ONCE if sent is not None and sent.ended else now)

    def flush(self, now: float, deadline: float) -> None:
        """Sends all changes so far by `deadline`, without waiting for their usual times."""
        self._hold = None
        self._flush_pending.update(self._deliveries)
        for key in self._flush_pending:
            delivery = self._deliveries.get(key)
            if delivery is not None:
                delivery.not_before = None
                self._plan_check(key, now)
        self._flush_deadline = deadline if self._flush_deadline is None else max(self._flush_deadline, deadline)

    def flush_over(self, now: float) -> Optional[int]:
        """None during the flush; then the number of jobs that it has not sent. It is over when no job is
        pending, its time is up, or the server asked to wait for longer than that."""
        deadline = self._flush_deadline
        if deadline is None:
            return None
        is_hopeless = self._hold is not None and self._hold >= deadline
        if self._flush_pending and now < deadline and not is_hopeless:
            return None
        left = len(self._flush_pending)
        self._flush_pending.clear()
        self._flush_deadline = None
        return left

    def time_left(self, now: float) -> Optional[float]:
        """How long a request may take during a flush, in seconds."""
        return None if self._flush_deadline is None else max(0.0, self._flush_deadline - now)

    def wake_at(self) -> Optional[float]:
        """When there is something to do, unless a call wakes the sender before."""
        while self._checks and not self._is_valid(self._checks[0]):
            heapq.heappop(self._checks)
        if not self._checks:
            return self._flush_deadline
        at = self._checks[0][0]
        if at != _AT_ONCE and self._last_pass is not None:
            at = max(at, self._last_pass + GAP)
        if self._hold is not None:
            at = max(at, self._hold)
        return at if self._flush_deadline is None else min(at, self._flush_deadline)

    def _is_valid(self, check: tuple[float, int]) -> bool:
        delivery = self._deliveries.get(check[1])
        return delivery is not None and delivery.check_at == check[0]

    def _plan_check(self, key: int, at: float) -> None:
        """Checks a job at `at`, or earlier if that is planned already."""
        delivery = self._deliveries.get(key)
        if delivery is None or delivery.after is not None or delivery.in_flight is not None:
            return
        if delivery.check_at is not None and delivery.check_at <= at:
            return
        delivery.check_at = at
        heapq.heappush(self._checks, (at, key))

    def _remove(self, key: int, now: float) -> None:
        self._flush_pending.discard(key)
        self._outage.gone(key)
        delivery = self._deliveries.pop(key)
        waiting = self._deliveries.get(delivery.then) if delivery.then is not None else None
        if waiting is not None:
            waiting.after = None
            self._plan_check(waiting.record.key, now)
