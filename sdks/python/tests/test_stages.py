"""Declared stages, on a real server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from live_server import LiveServer
from reported import until

import milepost
from milepost import _memory

Make = Callable[..., milepost.Reporter]


@pytest.fixture
def job(server: LiveServer, reporter: Make, job_id: str) -> milepost.Job:
    return reporter(server.url).job(id=job_id)


def test_the_progress_is_that_of_the_stages(server: LiveServer, job: milepost.Job) -> None:
    job.stages(["fetch", {"id": "encode", "label": "Encode", "weight": 2}, "upload"])
    with job.stage("fetch", total=10) as fetch:
        fetch.advance(5)
        assert until(server, job.id, stage="fetch", current=5)["progress"] == 0.125
        fetch.advance(5)
    # What was counted in the stage before is not counted in this one.
    encode = job.stage("encode")
    assert until(server, job.id, stage="encode")["progress"] == 0.25
    encode.progress = 0.5
    state = until(server, job.id, stage="encode", stage_progress=0.5)
    assert (state["progress"], state["stages"][1]["label"]) == (0.5, "Encode")
    # A part of the progress that the program chooses overrides the weights.
    job.stage("upload", total=4, within=(0.9, 1.0))
    assert until(server, job.id, stage="upload")["progress"] == 0.9
    job.complete()
    assert until(server, job.id, status="completed")["progress"] == 1.0


def test_invalid_stages_are_ignored(server: LiveServer, job: milepost.Job, warnings: Callable[[], list[str]]) -> None:
    job.stages([{"id": "fetch", "weight": 0}])
    job.stage("fetch", total=2).advance(1)
    state = until(server, job.id, stage="fetch", current=1)
    assert "stages" not in state
    assert state["progress"] == 0.5
    assert warnings() == [
        f"the stages of {job.id} are ignored: at most 64, each with an id, and a weight above 0 if any"
    ]


def test_what_labels_say_of_themselves_holds_no_lock(server: LiveServer, job: milepost.Job) -> None:
    held = []

    class Lazy:
        def __str__(self) -> str:
            held.append(_memory.is_held())
            return "Fetching"

    job.stages([{"id": "fetch", "label": Lazy()}])
    assert until(server, job.id, stages=[{"id": "fetch", "label": "Fetching"}])
    assert held == [False]
