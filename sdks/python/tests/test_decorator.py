"""`@milepost.job("export")`: each call of a function is a job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from live_server import LiveServer
from reported import jobs, until
from reported import state as state_of

import milepost

Make = Callable[..., milepost.Reporter]


def test_each_call_is_a_job_and_the_definition_is_none(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)

    @make.job(f"{job_id}-export", total=2)
    def export(rows: int, *, fails: bool = False) -> int:
        """Writes rows."""
        job = milepost.current()
        assert job is not None
        job.advance(rows)
        if fails:
            raise ValueError("no space")
        return rows

    assert (export.__name__, export.__doc__) == ("export", "Writes rows.")
    assert make.flush(5)
    assert jobs(server, f"{job_id}-export") == []
    assert export(2) == 2
    with pytest.raises(ValueError, match="no space"):
        export(1, fails=True)
    assert make.flush(5)
    states = sorted((state["status"], state["progress"]) for state in jobs(server, f"{job_id}-export"))
    assert states == [("completed", 1.0), ("failed", 0.5)]


def test_a_fixed_id_is_the_next_attempt(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)

    @make.job(id=job_id)
    async def export() -> str:
        await asyncio.sleep(0)
        return "done"

    for attempt in (1, 2):
        assert asyncio.run(export()) == "done"
        assert make.flush(5)
        until(server, job_id, status="completed", attempt=attempt)


def test_without_a_server_the_function_runs_as_ever(reporter: Make) -> None:
    assert reporter(None).job("export")(lambda: 7)() == 7


def test_a_job_that_is_used_directly_is_reported(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    with make.job(id=job_id) as job:
        assert make.flush(5)
        state = state_of(server, job_id)
        assert state is not None
        assert state["status"] == "processing"
        job.advance()
    until(server, job_id, status="completed")
