"""What is sent and when, with the time passed in."""

from __future__ import annotations

import random
from typing import Optional

import pytest

from milepost._outcome import Accepted, AttemptOver, Busy, Outcome, Refusal, Refused
from milepost._record import Record
from milepost._schedule import BATCH, GAP, Pace, Schedule
from milepost._update import Update

ACCEPTED = Accepted(1, "1-1")
SUPERSEDED = AttemptOver(Refusal("attempt-superseded", "another goes on", 3, "1-9"))
ENDED = AttemptOver(Refusal("attempt-ended", "it has ended", 3, "1-9"))
REFUSED = Refused(Refusal("invalid-update", "no"))


class Scene:
    """A schedule whose clock the test turns."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.schedule = Schedule(Pace(), random.Random(1))
        self.sent: list[tuple[float, str]] = []
        self.answer: Outcome = ACCEPTED

    def begin(self, job_id: str = "a", until_end: bool = True, after: Optional[Record] = None) -> Record:
        record = Record(job_id)
        self.schedule.add(record, until_end, None if after is None else after.key, self.now)
        return record

    def pass_time(self, seconds: float) -> list[float]:
        """Sends whatever is due meanwhile; returns when that was, from now on."""
        begun = self.now
        before = len(self.sent)
        while True:
            wake_at = self.schedule.wake_at()
            if wake_at is None or wake_at > begun + seconds:
                break
            self.now = max(self.now, wake_at)
            for record in self.schedule.due(self.now).send:
                self.sent.append((self.now, record.job_id))
                self.schedule.settle(record, self.answer, self.now)
        self.now = begun + seconds
        return [round(at - begun, 3) for at, _ in self.sent[before:]]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_job_that_counts_is_sent_five_times_a_second(scene: Scene) -> None:
    record = scene.begin()
    scene.pass_time(0.1)
    sent = 0
    for _ in range(1_000):
        record.own.advance(1)
        sent += len(scene.pass_time(0.01))
    assert sent == pytest.approx(50, abs=2)


def test_the_last_count_is_never_forgotten(scene: Scene) -> None:
    record = scene.begin()
    scene.pass_time(0.1)
    record.own.advance(1)
    assert len(scene.pass_time(1.0)) == 1
    assert scene.pass_time(5.0) == []


def test_a_job_that_does_not_change_has_a_heartbeat(scene: Scene) -> None:
    scene.begin()
    scene.pass_time(0.1)
    beats = scene.pass_time(35.0)
    assert [round(beat) for beat in beats] == [10, 20, 30]


def test_a_stage_is_sent_at_once_but_not_without_end(scene: Scene) -> None:
    record = scene.begin()
    scene.pass_time(1.0)
    record.enter("upload")
    scene.schedule.wake(record, scene.now)
    assert scene.pass_time(0.0) == [0.0]
    sent = 0
    for number in range(1_000):
        record.enter(f"stage {number}")
        scene.schedule.wake(record, scene.now)
        sent += len(scene.pass_time(0.001))
    assert sent <= 1.0 / GAP + 1


def test_an_end_does_not_wait_and_is_the_last(scene: Scene) -> None:
    record = scene.begin()
    scene.pass_time(1.0)
    record.enter("upload")
    scene.schedule.wake(record, scene.now)
    scene.pass_time(0.0)
    record.end("completed", None)
    scene.schedule.wake(record, scene.now)
    assert scene.pass_time(0.1) == [0.0]
    assert scene.pass_time(100.0) == []
    assert len(scene.schedule) == 0


def test_a_job_waits_for_the_end_of_an_earlier_one_of_its_id(scene: Scene) -> None:
    first = scene.begin()
    scene.pass_time(1.0)
    scene.answer = Busy("full")
    first.end("failed", "no")
    scene.schedule.wake(first, scene.now)
    second = scene.begin(after=first)
    scene.pass_time(60.0)
    assert second not in scene.schedule.due(scene.now).send
    scene.answer = ACCEPTED
    scene.pass_time(60.0)
    assert first.has_ended
    assert len(scene.schedule) == 1


def test_a_failure_is_notified_once_and_holds_everything_back(scene: Scene) -> None:
    records = [scene.begin("a"), scene.begin("b")]
    scene.now += 1
    due = scene.schedule.due(scene.now).send
    assert due == records
    assert scene.schedule.fail(due, None, scene.now)
    waits = []
    for _ in range(200):
        wake_at = scene.schedule.wake_at()
        assert wake_at is not None
        waits.append(wake_at - scene.now)
        scene.now = wake_at
        due = scene.schedule.due(scene.now).send
        assert len(due) == 2
        assert not scene.schedule.fail(due, None, scene.now)
    assert 25 < max(waits) <= 30
    assert min(waits[8:]) < 3
    due = scene.schedule.due(scene.now + 40).send
    scene.schedule.answered()
    assert scene.schedule.has_recovered()
    assert not scene.schedule.has_recovered()


def test_a_server_says_how_long_to_leave_it_alone(scene: Scene) -> None:
    record = scene.begin()
    scene.now += 1
    scene.schedule.fail(scene.schedule.due(scene.now).send, 60.0, scene.now)
    wake_at = scene.schedule.wake_at()
    assert wake_at is not None
    assert 60 <= wake_at - scene.now <= 75
    # No server is believed for ever.
    scene.now = wake_at
    scene.schedule.fail(scene.schedule.due(scene.now).send, 1e9, scene.now)
    wake_at = scene.schedule.wake_at()
    assert wake_at is not None
    assert wake_at - scene.now <= 375
    assert not record.has_ended


def test_a_rejection_is_notified_once_and_retried_with_backoff(scene: Scene) -> None:
    record = scene.begin()
    scene.now += 1
    warnings = tries = 0
    for _ in range(100):
        for each in scene.schedule.due(scene.now).send:
            tries += 1
            warnings += scene.schedule.settle(each, REFUSED, scene.now)
        record.own.advance(1)
        scene.now += 1.0
    assert warnings == 1
    assert 4 < tries < 40


def test_an_end_that_is_refused_is_given_up(scene: Scene) -> None:
    record = scene.begin()
    record.end("completed", None)
    scene.schedule.wake(record, scene.now)
    scene.answer = REFUSED
    assert len(scene.pass_time(100.0)) == 1
    assert len(scene.schedule) == 0


def test_an_end_for_which_there_is_no_room_is_not(scene: Scene) -> None:
    record = scene.begin()
    record.end("completed", None)
    scene.schedule.wake(record, scene.now)
    scene.answer = Busy("full")
    assert len(scene.pass_time(300.0)) > 5
    scene.answer = ACCEPTED
    scene.pass_time(60.0)
    assert len(scene.schedule) == 0


def test_nothing_more_is_said_of_an_attempt_that_is_over(scene: Scene) -> None:
    record = scene.begin()
    scene.answer = ENDED
    assert len(scene.pass_time(1.0)) == 1
    record.enter("more")
    scene.schedule.wake(record, scene.now)
    assert scene.pass_time(100.0) == []
    record.end("completed", None)
    scene.schedule.wake(record, scene.now)
    assert scene.pass_time(100.0) == []
    assert len(scene.schedule) == 0


def test_reopening_begins_the_next_attempt_unless_accepted(scene: Scene) -> None:
    record = scene.begin()
    record.reopens = True
    scene.now += 1
    (sent,) = scene.schedule.due(scene.now).send
    assert not scene.schedule.settle(sent, ENDED, scene.now)
    assert record.attempt == 4
    (sent,) = scene.schedule.due(scene.now).send
    scene.schedule.settle(sent, ACCEPTED, scene.now)

    zombie = scene.begin("b")
    zombie.reopens = True
    scene.pass_time(1.0)
    scene.answer = ENDED
    zombie.enter("more")
    scene.schedule.wake(zombie, scene.now)
    scene.pass_time(1.0)
    assert zombie.attempt is None


def test_who_may_join_takes_part_in_a_later_attempt_once(scene: Scene) -> None:
    record = scene.begin()
    record.joins = True
    scene.now += 1
    (sent,) = scene.schedule.due(scene.now).send
    assert not scene.schedule.settle(sent, SUPERSEDED, scene.now)
    assert record.attempt == 3
    (sent,) = scene.schedule.due(scene.now).send
    assert scene.schedule.settle(sent, SUPERSEDED, scene.now)
    assert record.attempt == 3


def test_what_is_given_as_it_is_has_no_heartbeat(scene: Scene) -> None:
    record = scene.begin(until_end=False)
    record.give(Update("a", "queued"), "queued", None)
    assert len(scene.pass_time(1.0)) == 1
    assert scene.pass_time(100.0) == []
    assert len(scene.schedule) == 0


def test_a_flush_waits_for_nothing_and_ends_in_time(scene: Scene) -> None:
    record = scene.begin()
    scene.pass_time(1.0)
    record.own.advance(1)
    scene.pass_time(0.3)
    record.own.advance(1)
    scene.schedule.flush(scene.now, scene.now + 2)
    assert scene.pass_time(0.0) == [0.0]
    assert scene.schedule.flush_over(scene.now) == 0
    assert scene.schedule.flush_over(scene.now) is None

    record.own.advance(1)
    scene.schedule.flush(scene.now, scene.now + 2)
    tries = 0
    while scene.schedule.flush_over(scene.now) is None:
        due = scene.schedule.due(scene.now).send
        if due:
            tries += 1
            scene.schedule.fail(due, None, scene.now)
        wake_at = scene.schedule.wake_at()
        assert wake_at is not None
        scene.now = max(scene.now, wake_at)
    assert tries > 4


def test_a_flush_is_over_at_once_after_a_long_retry_after(scene: Scene) -> None:
    scene.begin()
    scene.schedule.flush(scene.now, scene.now + 2)
    scene.schedule.fail(scene.schedule.due(scene.now).send, 60.0, scene.now)
    assert scene.schedule.flush_over(scene.now) == 1


def test_a_request_is_bounded_and_shrinks_after_a_413(scene: Scene) -> None:
    for number in range(BATCH + 10):
        scene.begin(str(number))
    scene.now += 1
    due = scene.schedule.due(scene.now).send
    assert len(due) == BATCH
    sizes = []
    while len(due) > 1:
        scene.schedule.reduce(due, scene.now)
        due = scene.schedule.due(scene.now).send
        sizes.append(len(due))
    assert sizes[-1] == 1
    for _ in range(12):
        scene.schedule.answered()
    scene.schedule.put_back(due, scene.now)
    assert len(scene.schedule.due(scene.now).send) == BATCH


def test_what_is_remembered_does_not_grow_with_what_is_said(scene: Scene) -> None:
    record = scene.begin()
    for number in range(20_000):
        record.enter(f"stage {number}")
        scene.schedule.wake(record, scene.now)
        scene.pass_time(0.001)
    assert len(scene.schedule._checks) < 50
