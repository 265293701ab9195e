"""spec/fixtures/reporter.json: what a worker calls and a server answers, and what is then sent when. The time is passed
in, so nothing waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from milepost import Job, Reporter
from milepost._http import Reply
from milepost._inbox import Flush
from milepost._outcome import Lost, Outcome
from milepost._problem import PREFIX, PROBLEMS
from milepost._sender import Sender
from milepost._stage import Stage
from milepost._threads import Thread
from milepost._transport import Outgoing

Case = dict[str, Any]
FIXTURES = Path(__file__).parents[3] / "spec" / "fixtures" / "reporter.json"
CASES: list[Case] = json.loads(FIXTURES.read_text("utf-8"))["cases"]
KEYS = {"name", "until", "calls", "answers", "requests", "more", "notices"}


class Wire:
    """A transport that keeps what is sent, and the clock, in seconds."""

    def __init__(self, answers: list[Case]) -> None:
        self.now = 0.0
        self.sent: list[tuple[float, list[Case]]] = []
        self._answers = [answer for answer in answers for _ in range(answer.get("times", 1))]

    def clock(self) -> float:
        return self.now

    def append_log(self, job_id: str, lines: bytes, timeout: float) -> None:
        raise AssertionError("no fixture has a log")

    def send(self, updates: Sequence[Outgoing], timeout: float) -> list[Outcome]:
        self.sent.append((self.now * 1000, [json.loads(update.update.data) for update in updates]))
        answer = self._answers.pop(0) if self._answers else {}
        assert set(answer) <= {"times", "status", "problem", "retry_after", "body", "lines", "requested", "of"}
        if answer.get("status") == 0:
            raise Lost("no answer")
        reply = _reply(answer, updates)
        return [reply.outcome(updates[0])] if len(updates) == 1 else reply.outcomes(updates)

    def close(self) -> None:
        pass


def _reply(answer: Case, updates: Sequence[Outgoing]) -> Reply:
    names = answer.get("lines") or [None] * len(updates)
    lines = [
        _problem(name)
        if name is not None
        else {"job_id": update.job_id, "position": "1-1", **_requested(answer, update)}
        for name, update in zip(names, updates)
    ]
    status, body = 200, "\n".join(map(json.dumps, lines))
    if "problem" in answer:
        status, body = PROBLEMS[answer["problem"]][0], json.dumps(_problem(answer["problem"]))
    return Reply(
        answer.get("status", status), "Whatever", answer.get("retry_after"), "", answer.get("body", body).encode()
    )


def _requested(answer: Case, update: Outgoing) -> Case:
    """`of` is the job that is meant; absent: each."""
    is_meant = "requested" in answer and answer.get("of", update.job_id) == update.job_id
    return {"requested": answer["requested"]} if is_meant else {}


def _problem(name: str) -> Case:
    status, title = PROBLEMS[name]
    return {"type": PREFIX + name, "status": status, "title": title, "detail": "because"}


def expanded(value: Any) -> Any:
    """`{"repeat": [text, times]}` stands for a long text, wherever it is."""
    if isinstance(value, dict):
        if "repeat" in value:
            text, times = value["repeat"]
            return text * times
        return {key: expanded(item) for key, item in value.items()}
    return [expanded(item) for item in value] if isinstance(value, list) else value


class Run:
    def __init__(self, case: Case) -> None:
        self.wire = Wire(case.get("answers", []))
        self.reporter = Reporter("http://127.0.0.1:1")
        # There is one already, as far as the reporter knows: this test is the thread.
        self.reporter._thread = Thread(lambda: None, "none")
        pace, inbox = self.reporter._pace, self.reporter._inbox
        self.sender = Sender(inbox, self.wire, pace, 10.0, "http://127.0.0.1:1", self.wire.clock)
        self.jobs: dict[str, Job] = {}
        self.stages: dict[str, Stage] = {}

    def call(self, call: Case) -> None:
        rest = {key: expanded(value) for key, value in call.items() if key not in ("at", "job", "jobs")}
        ((verb, value),) = rest.items()
        if verb == "flush":
            self.reporter._inbox.flush(Flush(self.wire.clock() + value / 1000, is_last=False))
        elif verb == "begin":
            for job_id in [f"job-{n}" for n in range(call["jobs"])] if "jobs" in call else [call["job"]]:
                self.jobs[job_id] = self.reporter.job(id=job_id, **value)
        elif verb == "cancel_requested":
            assert self.jobs[call["job"]].cancel_requested is value
        elif verb == "stage":
            stage = self.jobs[call["job"]].stage(value)
            # A declared stage has its own count.
            if self.jobs[call["job"]]._record.declares(value):
                self.stages[call["job"]] = stage
        elif verb == "progress":
            self.stages[call["job"]].progress = value
        elif verb == "advance" and call["job"] in self.stages:
            self.stages[call["job"]].advance(value)
        elif verb == "artifact":
            self.jobs[call["job"]].artifact(**value)
        elif verb in ("stages", "message", "advance", "metadata", "fail", "complete", "cancel", "acknowledge"):
            getattr(self.jobs[call["job"]], verb)(value)
        else:
            pytest.fail(f"no such call: {verb}")

    def run(self, case: Case) -> None:
        calls = list(case["calls"])
        while True:
            while calls and calls[0]["at"] / 1000 <= self.wire.now:
                self.call(calls.pop(0))
            mail, wake_at = self.reporter._inbox.wait(0), self.sender.wake_at()
            if mail or (wake_at is not None and wake_at <= self.wire.clock()):
                self.sender.turn(mail)
                wake_at = self.sender.wake_at()
            moments = [call["at"] / 1000 for call in calls[:1]] + ([] if wake_at is None else [wake_at])
            if not moments or min(moments) > case["until"] / 1000:
                return
            self.wire.now = max(self.wire.now, min(moments))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_what_is_sent_when(case: Case, warnings: Callable[[], list[str]]) -> None:
    assert set(case) <= KEYS
    run = Run(case)
    run.run(case)
    times = [at for at, _ in run.wire.sent]
    assert len(times) >= len(case["requests"]) if case.get("more") else len(times) == len(case["requests"]), times
    for (at, updates), wanted in zip(run.wire.sent, case["requests"]):
        first, last = wanted["at"]
        assert first - 0.01 <= at <= last + 0.01, times
        assert len(updates) == wanted.get("count", len(wanted.get("updates", updates)))
        for update, fields in zip(updates, wanted.get("updates", [])):
            check(update, fields)
    assert len(warnings()) == case.get("notices", 0), warnings()
    for job in run.jobs.values():
        job.cancel()


def check(update: Case, wanted: Case) -> None:
    """Equal in each field that is named; `null` means absent, but for `progress`. What is lost is always named."""
    assert not set(wanted.get("absent", ())) & set(update), update
    for field, value in wanted.items():
        if field == "absent":
            continue
        if field == "progress":
            assert update[field] == pytest.approx(value) if value is not None else update[field] is None
        else:
            assert update.get(field) == expanded(value), field
    for field in ("result", "error", "truncated"):
        assert field in wanted or field not in update
