"""Jobs that a real FastAPI app starts, under uvicorn, as clients and watchers see them."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_server import Answer, FakeServer, Request, accept
from fastapi import BackgroundTasks, Response
from live_server import LiveServer, eventually
from live_worker import LiveApp
from reported import state, until

import milepost
from milepost.fastapi import Jobs


def start(folder: Path, milepost_url: str) -> LiveApp:
    command = ["uvicorn", "fastapi_app:app", "--host", "127.0.0.1", "--port", "PORT"]
    return LiveApp(folder, command, "Uvicorn running on", milepost_url)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, shared_server: LiveServer) -> Iterator[LiveApp]:
    app = start(tmp_path_factory.mktemp("app"), shared_server.url)
    yield app
    app.worker.kill()


def test_the_answer_says_where_to_watch(server: LiveServer, app: LiveApp, gate: Path) -> None:
    answer = app.post("/videos", gate=gate)
    body = answer.json()
    job_id = body["job_id"]
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{job_id}/status"
    assert body == {
        "job_id": job_id,
        "status": "queued",
        "websocket_url": f"/ws/jobs/{job_id}",
        "status_url": f"/jobs/{job_id}/status",
        "message": "Job queued",
        "token": None,
    }
    # The work goes on while the client has its answer, which leads to the job.
    until(server, job_id, stage="rendering", progress=0.5)
    assert httpx.get(server.url + answer.headers["Location"]).json()["progress"] == 0.5
    gate.touch()
    states = list(milepost.watch(job_id, url=server.url))
    assert states[-1].status == "completed"
    assert states[-1]["result"] == {"frames": 4}


def test_what_it_needs_can_be_read_before_python_3_10() -> None:
    """Before Python 3.10, FastAPI does not resolve annotations that are text."""
    parameters = inspect.signature(Jobs).parameters
    assert [parameter.annotation for parameter in parameters.values()] == [BackgroundTasks, Response]


def test_work_that_is_a_coroutine(server: LiveServer, app: LiveApp, gate: Path) -> None:
    job_id = app.post("/async", gate=gate).json()["job_id"]
    until(server, job_id, status="processing", stage="rendering")
    gate.touch()
    assert until(server, job_id, status="completed")["result"] == "async"


def test_work_that_fails(server: LiveServer, app: LiveApp) -> None:
    answer = app.post("/failing")
    assert answer.status_code == 202
    error = until(server, answer.json()["job_id"], status="failed")["error"]
    assert error.startswith("ValueError: no such video (fastapi_app.py:")
    # It is the log's business as well.
    eventually(lambda: "ValueError: no such video" in app.worker.said(), "the traceback")


def test_an_endpoint_that_raises_after_all(server: LiveServer, app: LiveApp, job_id: str) -> None:
    assert app.post("/rejected", job_id=job_id).status_code == 409
    # The exception may keep hold of the job until then.
    app.post("/collect")
    assert until(server, job_id, status="failed")["error"] == "dropped without an outcome"


def test_a_job_that_another_runs(app: LiveApp) -> None:
    answer = app.post("/elsewhere")
    assert answer.status_code == 202
    body: dict[str, Any] = answer.json()
    assert body["websocket_url"] == "wss://progress.example.com/ws/jobs/video-7"
    assert body["status_url"] == "https://progress.example.com/jobs/video-7/status"
    assert body["message"] == "Somebody else renders it"


def test_sigterm_lets_the_work_finish(server: LiveServer, tmp_path: Path, gate: Path) -> None:
    app = start(tmp_path, server.url)
    job_id = app.post("/videos", gate=gate).json()["job_id"]
    until(server, job_id, status="processing", progress=0.5)
    app.worker.terminate()
    gate.touch()
    app.worker.wait()
    # After this the process is gone, so the end has to be reported before.
    found = state(server, job_id)
    assert found is not None
    assert found["status"] == "completed"


@pytest.mark.parametrize("path", ["/videos", "/async"])
def test_sigterm_waits_for_an_end_that_takes_its_time(
    fake: Callable[..., FakeServer], tmp_path: Path, gate: Path, path: str
) -> None:
    def slowly(request: Request) -> Answer:
        time.sleep(0.08)
        return accept(request)

    milepost_server = fake(slowly)
    app = start(tmp_path, milepost_server.url)
    ids = {app.post(path, gate=gate).json()["job_id"] for _ in range(3)}
    gate.touch()
    app.worker.terminate()
    app.worker.wait()
    ended = {update["job_id"] for update in milepost_server.updates if update["status"] == "completed"}
    assert ended == ids


def test_a_large_result_that_nobody_asked_for(server: LiveServer, app: LiveApp) -> None:
    end = until(server, app.post("/large").json()["job_id"], status="completed")
    assert "result" not in end


def test_a_server_that_is_down_harms_no_answer(tmp_path: Path, gate: Path) -> None:
    app = start(tmp_path, "http://127.0.0.1:1")
    gate.touch()
    assert [app.post("/videos", gate=gate).status_code for _ in range(3)] == [202] * 3
    app.worker.kill()
