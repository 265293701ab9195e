"""The cases of spec/fixtures, as far as they concern who reports and who watches."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from milepost import _job_id, _problem
from milepost._cursor import Cursor
from milepost._http_source import read_state
from milepost._update import MAX_ATTEMPT, MAX_STAGE_BYTES, MAX_TTL

ELSEWHERE = {
    "update.json": "test_redis.py: the updates of others, taken from Redis; the server reads those that come by HTTP",
    "fold.json": "test_redis.py, but for cases that give an epoch: those are drawn for each job that begins",
    "close-codes.json": "of WebSockets, which this package does not speak",
    "redis-arguments.json": "test_redis.py",
    "children.json": "of the fold, which servers and the scripts of Redis run",
    "eta.json": "of the fold, which servers and the scripts of Redis run",
    "durations.json": "of what people read: this package shows no durations",
    "rate.json": "of what people read: this package shows no rate",
    "stage-weights.json": "of names, which servers and the Rust reporter keep",
    "time-left.json": "of what people read: this package shows no remaining time",
    "timeline.json": "of the fold, which servers and the scripts of Redis run",
    "timestamp.json": "a state's timestamp is handed on as the text that it is; nothing here reads or orders it",
}
"""The files whose cases are not run here, and where, or why not."""

FIXTURES = Path(__file__).parents[3] / "spec" / "fixtures"


def fixture(name: str, *keys: str) -> dict[str, Any]:
    """The file, which has just these keys, each with something in it."""
    document: dict[str, Any] = json.loads((FIXTURES / name).read_text("utf-8"))
    assert set(document) == set(keys)
    assert all(document.values())
    return document


def test_each_file_is_run_or_there_is_a_reason() -> None:
    here = {"job-id.json", "problems.json", "position.json", "reporter.json"}
    assert {path.name for path in FIXTURES.glob("*.json")} == here | set(ELSEWHERE)


def test_job_ids() -> None:
    cases = fixture("job-id.json", "accepted", "refused")
    for text in cases["accepted"]:
        assert _job_id.parse(text) == text
    for case in cases["refused"]:
        with pytest.raises(_job_id.InvalidJobId) as refused:
            _job_id.parse(case["text"])
        assert set(case) - {"text"} <= {"character", "length", "dots"}
        if "character" in case:
            assert repr(case["character"]) in str(refused.value), case
        elif "length" in case:
            assert f"not {case['length']}" in str(refused.value), case
        else:
            assert case["dots"] is True
            assert repr(case["text"]) in str(refused.value)


@pytest.mark.parametrize("name", ["", "render", "a b/c", "作业", "x" * 500, "...", "-"])
def test_an_id_that_is_made_is_one(name: str) -> None:
    first, second = _job_id.make(name), _job_id.make(name)
    assert _job_id.parse(first) != _job_id.parse(second)


def test_problems() -> None:
    cases = fixture("problems.json", "problems", "unknown", "documents")
    known = {name: (status, title) for name, (status, title) in _problem.PROBLEMS.items()}
    assert known == {case["name"]: (case["status"], case["title"]) for case in cases["problems"]}
    for case in cases["problems"]:
        assert _problem.name_of(case["type"]) == case["name"]
    for kind in cases["unknown"]:
        assert _problem.name_of(kind) == ""
    for case in cases["documents"]:
        document = case["document"]
        read = _problem.read(document)
        assert read is not None, case
        assert (read.name, read.status) == (_problem.name_of(document["type"]), document["status"])
        assert read.detail == document["detail"]
        assert (read.attempt, read.position) == (document.get("attempt"), document.get("position"))


def test_positions() -> None:
    """A watcher takes them as they are, but for not going back within an epoch."""
    cases = fixture("position.json", "accepted", "refused", "standings", "newer", "answers")
    for case in cases["accepted"]:
        cursor = Cursor(case["text"])
        assert cursor.latest == case["text"]
        assert not cursor.advance(case["text"])
        epoch, number = case["epoch"], int(case["number"])
        if number > 1:
            assert not Cursor(case["text"]).advance(f"{epoch}-{number - 1}")
        assert Cursor(f"{epoch}-{number}").advance(f"{epoch}-{number + 1}")
    for case in cases["newer"]:
        if "left" in case:
            # Only brokers know which epoch the job has left.
            continue
        cursor = Cursor(case["seen"])
        if case["is_newer"]:
            assert cursor.misses_before(case["state"]) == case["has_gap"], case
        assert cursor.advance(case["state"]) == case["is_newer"], case
    for text in cases["refused"]:
        # Whatever else a server of a later version says, it is handed back.
        assert Cursor(text).latest == text


def test_states_are_read_as_they_come() -> None:
    cases = json.loads((FIXTURES / "update.json").read_text("utf-8"))["accepted"]
    folds = json.loads((FIXTURES / "fold.json").read_text("utf-8"))["cases"]
    steps = [*cases, *(step for case in folds for step in case["steps"])]
    texts = [step["state_text"] for step in steps if "state_text" in step]
    texts += [json.dumps(step["state"]) for step in steps if "state" in step]
    assert len(texts) > 100
    for text in texts:
        state = read_state(text.encode())
        assert state is not None
        # Dictionaries keep the last of two fields of the same name, and floats not every digit.
        assert state == json.loads(text)
        assert state.job_id == "j1"
        assert re.fullmatch(r"[0-9a-f]+-[0-9]+", state.position or "")


def test_the_limits_are_those_of_the_fixtures() -> None:
    cases = json.loads((FIXTURES / "update.json").read_text("utf-8"))["accepted"]
    updates = [case["update"] for case in cases if "update" in case]
    assert max(update.get("attempt") or 0 for update in updates) == MAX_ATTEMPT
    assert max(update.get("ttl") or 0 for update in updates) == MAX_TTL
    assert max(len((update.get("stage") or "").encode()) for update in updates) == MAX_STAGE_BYTES
