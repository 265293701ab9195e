"""No call raises, whatever its arguments are: each costs no more than itself."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Iterator
from enum import Enum, IntEnum
from typing import Any

import pytest
from fake_server import FakeServer, accept
from live_server import LiveServer
from reported import until

import milepost
from milepost import Job, Stage
from milepost._boundary import MAX_WARNED
from milepost._record import Record

Make = Callable[..., milepost.Reporter]
Warnings = Callable[[], list[str]]


class Colour(Enum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Word(str, Enum):
    ROWS = "rows"


class Rude:
    """Whatever is asked of it, it raises."""

    def __float__(self) -> float:
        raise RuntimeError("rude")

    __int__ = __str__ = __repr__ = __len__ = __iter__ = __eq__ = __bool__ = __hash__ = __float__  # type: ignore[assignment]


def around() -> list[object]:
    """A list that contains itself."""
    found: list[object] = []
    found.append(found)
    return found


ODD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "an int": lambda: 5,
    "a negative int": lambda: -1,
    "a huge int": lambda: 10**5000,
    "a large int": lambda: 10**308,
    "not a number": lambda: float("nan"),
    "infinite": lambda: float("inf"),
    "the largest float": lambda: sys.float_info.max,
    "bytes": lambda: b"\xff",
    "an enum": lambda: Colour.RED,
    "an enum of ints": lambda: Number.ONE,
    "an enum of texts": lambda: Word.ROWS,
    "rude": Rude,
    "a text": lambda: "text",
    "no text": lambda: "",
    "a long text": lambda: "x" * 100_000,
    "a lone surrogate": lambda: "\ud800",
    "a dict": lambda: {"a": 1},
    "a dict of odd keys": lambda: {10**5000: 1, b"b": 2, None: 3, Colour.RED: 4},
    "a list": lambda: [1, "a"],
    "around": around,
    "a generator": lambda: (n for n in range(3)),
    "without end": itertools.count,
    "an object": object,
    "a type": lambda: Rude,
}

VALID: dict[str, Any] = {
    "action": "cancel",
    "count": 1,
    "error": "no memory",
    "id": "report",
    "items": "abc",
    "name": "name",
    "progress": 0.5,
    "stages": ["one"],
    "text": "text",
    "total": 2,
    "url": "https://example.org/a",
    "value": 1,
}
"""The arguments that a call needs."""

# What the program passes to be called or to be signed is not reported, and `milepost.watch_token` is for watchers.
NOT_HERE = {"watch_token"}


def calls_of(kind: type) -> Iterator[tuple[str, str]]:
    """Each parameter of each public method, and what may be assigned."""
    for name, found in inspect.getmembers(kind):
        if name.startswith("_") or name in NOT_HERE:
            continue
        if isinstance(found, property):
            if found.fset is not None:
                yield name, "="
                yield name, "()"
        else:
            for parameter in list(inspect.signature(found).parameters)[1:]:
                yield name, parameter


def parameters_of(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def pass_odd(call: Any, odd: str, value: Any) -> Any:
    """Calls it with the odd value for that parameter, and what is needed for the others."""
    positional, named = [], {}
    for name, parameter in inspect.signature(call).parameters.items():
        if name != odd and parameter.default is not parameter.empty:
            continue
        given = value if name == odd else VALID.get(name)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(given)
        elif parameter.kind is parameter.VAR_KEYWORD:
            named.update({"odd": given} if name == odd and name == "more" else {})
        else:
            named[name] = given
    return call(*positional, **named)


def use(on: Any, name: str, parameter: str, value: Any) -> None:
    if parameter == "=":
        setattr(on, name, value)
    elif parameter == "()":
        getattr(on, name)(value)
    else:
        found = pass_odd(getattr(on, name), parameter, value)
        if isinstance(found, Stage):
            found.advance()
        elif name == "track" and parameter != "items":
            assert len(list(found)) == 3
        elif isinstance(found, Job):
            found.complete()


@pytest.mark.parametrize(("name", "parameter"), list(calls_of(Job)))
def test_a_job_ends_whatever_it_is_told(
    server: LiveServer, reporter: Make, job_id: str, name: str, parameter: str
) -> None:
    make = reporter(server.url)
    with make.job(id=f"{job_id}-bystander", total=2) as bystander:
        jobs = []
        for number, odd in enumerate(ODD.values()):
            with make.job(id=f"{job_id}-{number}", total=10) as job:
                job.advance(3)
                use(job, name, parameter, odd())
                job.advance(1)
            jobs.append(job)
        bystander.advance()
    assert make.flush(60)
    assert [job.refused for job in [*jobs, bystander]] == [None] * (len(jobs) + 1)
    assert all(job.has_ended for job in jobs)
    for job in jobs:
        assert until(server, job.id, status=job.status)
    assert until(server, bystander.id, status="completed", current=1)


@pytest.mark.parametrize(("name", "parameter"), list(calls_of(Stage)))
def test_a_stage_is_told_anything(server: LiveServer, reporter: Make, job_id: str, name: str, parameter: str) -> None:
    make = reporter(server.url)
    jobs = []
    for number, odd in enumerate(ODD.values()):
        with make.job(id=f"{job_id}-{number}") as job, job.stage("one", total=4) as stage:
            use(stage, name, parameter, odd())
            stage.advance()
        jobs.append(job)
    assert make.flush(60)
    assert [job.refused for job in jobs] == [None] * len(jobs)
    assert until(server, jobs[-1].id, status="completed")


@pytest.mark.parametrize("parameter", [name for name in parameters_of(milepost.job) if name != "id"])
def test_a_job_begins_with_anything(
    server: LiveServer, reporter: Make, job_id: str, monkeypatch: pytest.MonkeyPatch, parameter: str
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    make = reporter(server.url)
    jobs = []
    for number, odd in enumerate(ODD.values()):
        with make.job(**{"name": "n", "id": f"{job_id}-{number}", parameter: odd()}) as job:
            for _ in job.track(range(3)):
                pass
        jobs.append(job)
    assert make.flush(60)
    assert [job.refused for job in jobs] == [None] * len(jobs)
    for job in jobs:
        assert until(server, job.id, status="completed")


def test_what_is_no_id_hinders_no_other_job(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    for odd in ODD.values():
        for options in ({}, {"per_rank": True}, {"parent": odd()}):
            with make.job(id=odd(), **options) as job:
                job.advance()
    with make.job(id=job_id):
        pass
    assert make.flush(60)
    assert until(server, job_id, status="completed")


@pytest.mark.parametrize("parameter", parameters_of(milepost.report))
def test_anything_is_reported_without_a_job(server: LiveServer, job_id: str, parameter: str) -> None:
    reporter = milepost.configure(server.url)
    try:
        for number, odd in enumerate(ODD.values()):
            given = {"id": f"{job_id}-{number}", "metadata": {"n": number}, parameter: odd()}
            milepost.report(**given)
        milepost.report(job_id, status="completed")
        assert milepost.flush(60)
        assert until(server, job_id, status="completed")
        if parameter != "id":
            for number in range(len(ODD)):
                assert until(server, f"{job_id}-{number}")
    finally:
        reporter.close()


@pytest.mark.parametrize("parameter", [name for name in parameters_of(milepost.configure) if name != "url"])
def test_a_reporter_is_configured_with_anything(
    fake: Callable[..., FakeServer], reporter: Make, parameter: str
) -> None:
    server = fake(accept)
    for odd in ODD.values():
        # A token that no header can have is an outage, which nobody waits for here.
        make = reporter(server.url, **{"flush_timeout": 0.01, parameter: odd()})
        make.job(id="a").complete()
        make.close()
        if parameter == "flush_timeout":
            make.flush(odd())


def test_what_is_no_token_costs_nothing_else(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url, token=5)
    make.job(id=job_id).complete()
    assert make.flush(60)
    assert until(server, job_id, status="completed")


def test_a_report_without_an_id_hinders_no_other_job(server: LiveServer, job_id: str, warnings: Warnings) -> None:
    reporter = milepost.configure(server.url)
    try:
        milepost.report(None, status="completed")
        milepost.report(job_id, status="completed")
        assert milepost.flush(60)
        assert until(server, job_id, status="completed")
        assert warnings() == ["report reports nothing: it takes the id of a job"]
    finally:
        reporter.close()


def test_a_bar_with_any_unit_is_reported(server: LiveServer, job_id: str, warnings: Warnings) -> None:
    tqdm = pytest.importorskip("tqdm") and milepost.tqdm
    reporter = milepost.configure(server.url)
    try:
        for number, unit in enumerate(["x" * 100_000, "\ud800", "rows"]):
            for _ in tqdm(range(3), unit=unit, job=f"{job_id}-{number}", disable=None):
                pass
        assert milepost.flush(60)
        for number in range(3):
            assert until(server, f"{job_id}-{number}", status="completed", current=3)
    finally:
        reporter.close()


def test_a_unit_that_is_none_costs_the_unit(
    server: LiveServer, reporter: Make, job_id: str, warnings: Warnings
) -> None:
    make = reporter(server.url)
    with make.job(id=job_id) as job:
        for _ in job.track(range(5), unit=5):  # type: ignore[call-overload]
            pass
        job.update(unit=b"rows", message="counted")  # type: ignore[arg-type]
    state = until(server, job_id, status="completed", current=5, total=5)
    assert "unit" not in state
    assert warnings() == ["unit is ignored: it takes a text of at most 32 bytes, not 5"]


def test_an_update_that_cannot_be_made_costs_itself(
    server: LiveServer, reporter: Make, job_id: str, warnings: Warnings
) -> None:
    """Whatever nobody has thought of: the end arrives all the same, and other jobs do."""
    make = reporter(server.url)
    with make.job(id=f"{job_id}-other", total=2) as other, make.job(id=job_id, total=2) as job:
        # No call lets it get there.
        job._own.unit = object()  # type: ignore[assignment]
        job.advance(1)
        assert until(server, job_id, status="processing", truncated=["metadata"])
        other.advance(1)
        assert until(server, other.id, current=1)
    assert until(server, job_id, status="completed", truncated=["metadata"])
    assert until(server, other.id, status="completed")
    (warning,) = warnings()
    assert warning.startswith(f"part of {job_id} is not reported: an internal error: ")


def test_an_error_of_a_turn_does_not_end_reporting(
    server: LiveServer, reporter: Make, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = reporter(server.url)
    with make.job(id=job_id) as job:
        assert until(server, job_id)
        with monkeypatch.context() as context:
            context.setattr(Record, "encode", lambda record, now: 1 / 0)
            job.message("not yet")
            assert not make.flush(0.3)
        job.message("now")
    assert make.flush(60)
    assert until(server, job_id, status="completed")


def test_warnings_are_few(reporter: Make, warnings: Warnings) -> None:
    job = reporter(None).job(id="a")
    for _ in range(3):
        for odd in ODD.values():
            job.advance(odd())
            job.update(unit=odd(), current=odd())
    assert len(warnings()) == 3 < MAX_WARNED
    assert sorted(warning.split(" ")[0] for warning in warnings()) == ["advance", "current", "unit"]
