"""Each example runs as a process of its own against a real server, which then knows this of its jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from live_server import ENVIRONMENT, PATIENCE, LiveServer, eventually, free_port
from reported import history, state, until

EXAMPLES = Path(__file__).parents[1] / "examples"
# The first one is that of a job that has not entered any.
STAGES = ("processing", "uploading", "analyzing", "captioning", "cropping", "complete")
SOURCES = Path(__file__).parents[1] / "src"


def environment(server: LiveServer, **more: str) -> dict[str, str]:
    return {**ENVIRONMENT, "PYTHONPATH": str(SOURCES), "MILEPOST_URL": server.url, **more}


def run(server: LiveServer, example: str, *arguments: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{example}.py"), *arguments],
        env=environment(server, **more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def known(server: LiveServer, job_id: str) -> dict[str, Any]:
    found = state(server, job_id)
    assert found is not None
    return found


def test_video_rendering(server: LiveServer, job_id: str, tmp_path: Path) -> None:
    run(server, "video_rendering", job_id, "12", TMPDIR=str(tmp_path))
    end = known(server, job_id)
    assert (end["status"], end["stage"], end["progress"]) == ("completed", "complete", 1.0)
    metadata = end["metadata"]
    assert (metadata["current"], metadata["total"], metadata["unit"], metadata["resolution"]) == (
        12,
        12,
        "frames",
        [64, 36],
    )
    video = Path(end["result"]["video"]).read_bytes()
    assert video.startswith(b"YUV4MPEG2 W64 H36 ")
    assert len(video) == end["result"]["bytes"] > 12 * 64 * 36


def test_ai_pipeline(server: LiveServer, job_id: str) -> None:
    run(server, "ai_pipeline", job_id)
    end = known(server, job_id)
    assert end["status"] == "completed"
    assert end["result"]["caption"] == "A picture in blue and green"
    assert end["result"]["crop"] == {"left": 80, "top": 16, "side": 32}
    # A stage that is over in a moment may not be seen.
    seen = [stage for stage in dict.fromkeys(each["stage"] for each in history(server, job_id)) if stage]
    assert seen == [stage for stage in STAGES if stage in seen]
    shares = [each["progress"] for each in history(server, job_id) if each["progress"] is not None]
    assert shares == sorted(shares)


def test_batch(server: LiveServer, job_id: str) -> None:
    assert run(server, "batch", job_id, "4") == "4 videos processed\n"
    whole = known(server, job_id)
    assert (whole["status"], whole["result"]) == ("completed", {"videos": 4})
    assert (whole["metadata"]["current"], whole["metadata"]["total"]) == (4, 4)
    parts = [known(server, f"{job_id}-{number}") for number in range(1, 5)]
    assert {part["status"] for part in parts} == {"completed"}
    assert len({part["result"]["checksum"] for part in parts}) == 4


def test_error_handling(server: LiveServer, job_id: str) -> None:
    run(server, "error_handling", job_id)
    errors = {name: known(server, f"{job_id}-{name}")["error"] for name in ("reported", "raised", "forgotten")}
    assert errors["reported"].startswith("not a number: ")
    assert "twenty-three" in errors["raised"]
    assert errors["forgotten"] == "dropped without an outcome"
    end = known(server, f"{job_id}-retried")
    assert (end["status"], end["attempt"], end["result"]) == ("completed", 2, 46)


def test_check_status(server: LiveServer, job_id: str) -> None:
    before, half, after = run(server, "check_status", job_id).splitlines()
    assert before == f"{job_id}: not known"
    assert half == f"{job_id}: processing at 0.6: Counted 1438 primes"
    assert after == f"{job_id}: completed at 1.0: Job completed"
    assert known(server, job_id)["result"] == {"primes": 2262}


@pytest.fixture
def endpoint(server: LiveServer, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "http_endpoint.py"), str(port)],
            env=environment(server),
            stderr=log,
            stdout=log,
        )
    try:
        eventually(lambda: "Uvicorn running on" in (tmp_path / "log").read_text(), "the endpoint")
        yield f"http://127.0.0.1:{port}/videos"
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_http_endpoint(server: LiveServer, endpoint: str) -> None:
    answer = httpx.post(endpoint, timeout=PATIENCE)
    assert answer.status_code == 202
    body = answer.json()
    job_id = body["job_id"]
    assert job_id.startswith("video-")
    assert (body["status"], body["websocket_url"]) == ("queued", f"/ws/jobs/{job_id}")
    assert len(until(server, job_id, status="completed")["result"]["checksum"]) == 64


def test_without_a_server_the_work_is_done(tmp_path: Path) -> None:
    nowhere = {**ENVIRONMENT, "PYTHONPATH": str(SOURCES), "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(EXAMPLES / "video_rendering.py"), "quiet", "2"]
    done = subprocess.run(command, env=nowhere, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'quiet.y4m'}{os.linesep}", "")
