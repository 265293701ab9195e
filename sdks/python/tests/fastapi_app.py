"""A web service that starts jobs."""

# No `annotations` from the future: FastAPI reads these.
import asyncio
import gc
import os
import time
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException

import milepost
from milepost.fastapi import Accepted, Jobs

app = FastAPI()
Here = Annotated[Jobs, Depends()]


class Elsewhere(Jobs):
    public_url = "https://progress.example.com/"


def wait_for(gate: str) -> None:
    deadline = time.monotonic() + 60
    while not Path(gate).exists():
        assert time.monotonic() < deadline, f"nobody opens {gate}"
        time.sleep(0.01)


def render(job: milepost.Job, frames: int, gate: str) -> dict[str, int]:
    assert milepost.current() is job
    for frame in job.track(range(frames), stage="rendering"):
        if frame == frames // 2:
            wait_for(gate)
    return {"frames": frames}


async def render_async(job: milepost.Job, gate: str) -> None:
    async for _ in job.track(range(4), stage="rendering"):
        while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
    job.result("async")


def fail(job: milepost.Job) -> None:
    raise ValueError("no such video")


@app.post("/videos", status_code=202)
def start(jobs: Here, gate: str, frames: int = 4) -> Accepted:
    return jobs.start(milepost.job("video", queued=True), render, frames, gate=gate)


@app.post("/async")
async def start_async(jobs: Here, gate: str) -> Accepted:
    return jobs.start(milepost.job("video", queued=True), render_async, gate)


@app.post("/failing")
def start_failing(jobs: Here) -> Accepted:
    return jobs.start(milepost.job("video", queued=True), fail)


@app.post("/large")
def start_large(jobs: Here) -> Accepted:
    return jobs.start(milepost.job("video", queued=True), lambda job: "x" * 60_000)


@app.post("/rejected")
def reject(jobs: Here, job_id: str) -> Accepted:
    jobs.start(milepost.job(id=job_id, queued=True), fail)
    raise HTTPException(409)


@app.post("/collect")
def collect() -> int:
    return gc.collect()


@app.post("/elsewhere")
def start_elsewhere(jobs: Annotated[Elsewhere, Depends()]) -> Accepted:
    return jobs.accepted("video-7", "Somebody else renders it")
