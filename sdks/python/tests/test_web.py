"""Jobs that real Flask and Django apps start, under gunicorn, as clients and watchers see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from live_server import LiveServer, eventually
from live_worker import LiveApp
from reported import state, until, without_frame

import milepost
import milepost.flask
from milepost import _web

APPS = {"flask": "flask_app:app", "django": "django_app:application"}
SECRET = "0123456789abcdef0123456789abcdef"


def start(framework: str, folder: Path, milepost_url: str, **environment: str) -> LiveApp:
    command = ["gunicorn", APPS[framework], "--bind", "127.0.0.1:PORT"]
    return LiveApp(folder, command, "Booting worker", milepost_url, **environment)


@pytest.fixture(scope="module", params=sorted(APPS))
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, shared_server: LiveServer, framework: str) -> Iterator[LiveApp]:
    app = start(framework, tmp_path_factory.mktemp("app"), shared_server.url)
    yield app
    app.worker.kill()


def test_the_answer_says_where_to_watch(server: LiveServer, app: LiveApp, gate: Path) -> None:
    answer = app.post("/videos", gate=gate)
    job_id = answer.json()["job_id"]
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/jobs/{job_id}/status")
    assert answer.json() == {
        "job_id": job_id,
        "status": "queued",
        "websocket_url": f"/ws/jobs/{job_id}",
        "status_url": f"/jobs/{job_id}/status",
        "message": "Job queued",
    }
    until(server, job_id, stage="rendering", progress=0.5)
    gate.touch()
    assert until(server, job_id, status="completed")["result"] == {"frames": 4}


def test_work_that_fails(server: LiveServer, app: LiveApp) -> None:
    answer = app.post("/failing")
    assert answer.status_code == 202
    error = until(server, answer.json()["job_id"], status="failed")["error"]
    assert without_frame(error) == "ValueError: no such video"
    eventually(lambda: "Traceback" in app.worker.said(), "the traceback")


def test_the_work_has_what_the_framework_gives(server: LiveServer, app: LiveApp, framework: str) -> None:
    end = until(server, app.post("/context").json()["job_id"], status="completed")
    if framework == "flask":
        assert end["result"] == "flask_app"
    else:
        # Its connection to the database is closed afterwards.
        eventually(lambda: "closed database" in str(app.post("/closed").json()["error"]), "the closed connection")


def test_a_job_that_another_runs(tmp_path: Path, framework: str) -> None:
    app = start(framework, tmp_path, "http://127.0.0.1:1")
    answer = app.post("/elsewhere")
    assert answer.status_code == 202
    assert answer.json()["websocket_url"] == "wss://progress.example.com/ws/jobs/video-7"
    assert answer.headers["Location"] == "https://progress.example.com/jobs/video-7/status"
    assert answer.json()["message"] == "Somebody else renders it"
    app.worker.kill()


def test_sigterm_lets_the_work_finish(server: LiveServer, tmp_path: Path, gate: Path, framework: str) -> None:
    app = start(framework, tmp_path, server.url)
    job_id = app.post("/videos", gate=gate).json()["job_id"]
    until(server, job_id, status="processing", progress=0.5)
    app.worker.terminate()
    gate.touch()
    app.worker.wait()
    # After this the process is gone, so the end has to be reported before.
    found = state(server, job_id)
    assert found is not None
    assert found["status"] == "completed"


def test_a_token_watches_that_job_and_no_other(tmp_path: Path, gate: Path, framework: str) -> None:
    key = "abcdef0123456789abcdef0123456789"
    server = LiveServer(tmp_path, environment={"MILEPOST_KEY": key, "MILEPOST_TOKEN_SECRET": SECRET})
    server.start()
    app = start(framework, tmp_path, server.url, MILEPOST_TOKEN=key, MILEPOST_TOKEN_SECRET=SECRET)
    gate.touch()
    first, second = (app.post("/videos", gate=gate).json() for _ in range(2))
    end = milepost.wait(first["job_id"], url=server.url, token=first["token"], timeout=60)
    assert end.result == {"frames": 4}
    with pytest.raises(milepost.WatchRefused):
        milepost.wait(second["job_id"], url=server.url, token=first["token"], timeout=60)
    app.worker.kill()
    server.stop()


def test_a_server_that_is_down_harms_no_answer(tmp_path: Path, gate: Path, framework: str) -> None:
    app = start(framework, tmp_path, "http://127.0.0.1:1")
    gate.touch()
    assert [app.post("/videos", gate=gate).status_code for _ in range(3)] == [202] * 3
    app.worker.kill()


def test_too_much_work_is_not_begun(
    server: LiveServer, gate: Path, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_web, "MAX_PENDING", 2)
    reporter = milepost.Reporter(server.url)
    app = Flask("app")
    answers = []
    with app.app_context():
        for number in range(3):
            job = reporter.job("video", id=f"{job_id}-{number}", queued=True)
            answers.append(milepost.flask.start(job, lambda job: eventually(gate.exists)))
    assert [answer.status_code for answer in answers] == [202, 202, 503]
    assert until(server, f"{job_id}-2", status="failed")["error"] == "too much work is waiting"
    gate.touch()
    for number in range(2):
        until(server, f"{job_id}-{number}", status="completed")
    reporter.close()


def test_tokens_need_a_secret_a_job_and_a_time() -> None:
    with pytest.raises(ValueError, match="MILEPOST_TOKEN_SECRET"):
        milepost.watch_token("a")
    with pytest.raises(milepost.InvalidJobId):
        milepost.watch_token("user:*", secret=SECRET)
    # To a server these are all jobs with that tag, or of that parent.
    for other in ("tag:red", "parent:batch-7"):
        with pytest.raises(ValueError, match="alone"):
            milepost.watch_token(other, secret=SECRET)
        assert "token" not in _web.accepted(other, None, SECRET)
    for seconds in (0, 86_401):
        with pytest.raises(ValueError, match="1 to 86400"):
            milepost.watch_token("a", seconds=seconds, secret=SECRET)
    assert "token" not in _web.accepted("no id", None, SECRET)
