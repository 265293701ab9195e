"""Ends that are too large for their server, or cannot be encoded: they arrive without what is in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from live_server import LiveServer, eventually
from reported import state as state_of

import milepost
from milepost import Reporter


@pytest.fixture
def small_server(tmp_path: Path) -> Iterator[LiveServer]:
    """A real server that takes updates of 2,048 bytes."""
    config = tmp_path / "milepost.toml"
    config.write_text("max_update_bytes = 2048\n")
    server = LiveServer(tmp_path, "--config", str(config))
    server.start()
    yield server
    server.stop()


Make = Callable[..., Reporter]
State = dict[str, Any]


def awaited(server: LiveServer, job_id: str, is_there: Callable[[State], bool]) -> State:
    """The job's state, once it is as wanted."""

    def find() -> Optional[State]:
        state = state_of(server, job_id)
        return state if state is not None and is_there(state) else None

    found = eventually(find, job_id)
    assert found is not None
    return found


def test_an_end_arrives_without_what_its_server_does_not_take(
    small_server: LiveServer, reporter: Make, job_id: str, warnings: Any
) -> None:
    with_result = reporter(small_server.url).job(id=f"{job_id}-result")
    with_result.metadata(loss=0.1)
    with_result.complete("x" * 5_000)
    with_metadata = reporter(small_server.url).job(id=f"{job_id}-metadata")
    with_metadata.metadata(notes="x" * 5_000)
    with_metadata.complete({"rows": 1})
    failed = reporter(small_server.url).job(id=f"{job_id}-error")
    failed.fail("x" * 5_000)

    state = awaited(small_server, f"{job_id}-result", lambda state: state["status"] == "completed")
    assert (state["truncated"], state["metadata"]) == (["result"], {"loss": 0.1})
    state = awaited(small_server, f"{job_id}-metadata", lambda state: state["status"] == "completed")
    assert (state["truncated"], state["result"]) == (["metadata"], {"rows": 1})
    state = awaited(small_server, f"{job_id}-error", lambda state: state["status"] == "failed")
    assert (state["truncated"], state["error"]) == (["error", "message"], "x" * 128)
    assert not any("refused" in warning for warning in warnings())


def test_a_job_whose_metadata_its_server_does_not_take_moves_on(
    small_server: LiveServer, reporter: Make, job_id: str
) -> None:
    job = reporter(small_server.url).job(id=job_id)
    job.metadata(notes="x" * 5_000)
    job.stage("reading")
    awaited(small_server, job_id, lambda state: state["stage"] == "reading")
    job.stage("writing")
    state = awaited(small_server, job_id, lambda state: state["stage"] == "writing")
    assert state["truncated"] == ["metadata"]


def test_what_cannot_be_encoded_is_left_out_alone(server: LiveServer, reporter: Make, job_id: str) -> None:
    loop: list[object] = []
    loop.append(loop)
    job = reporter(server.url).job(id=job_id)
    job.metadata({"loop": loop, "name": "a\udcff", "loss": float("nan")})
    job.complete({"loop": loop})
    state = awaited(server, job_id, lambda state: state["status"] == "completed")
    assert state["truncated"] == ["metadata", "result"]
    assert state["metadata"] == {"name": "a?", "loss": None}


def test_an_update_that_is_given_whole_too(
    small_server: LiveServer, reporter: Make, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milepost._default, "_reporter", reporter(small_server.url))
    milepost.report(job_id, status="completed", result="x" * 100_000, message="done")
    state = awaited(small_server, job_id, lambda state: state["status"] == "completed")
    assert (state["truncated"], state["message"]) == (["result"], "done")
