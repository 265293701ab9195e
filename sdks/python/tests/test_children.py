"""Jobs that are parts of another job."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from live_redis import LiveRedis
from live_server import ENVIRONMENT, LiveServer
from reported import until
from test_processes import SOURCE

import milepost
from milepost import _redis_client

Make = Callable[..., milepost.Reporter]


def counts(expected: int, **others: object) -> dict[str, Any]:
    none = dict.fromkeys(("queued", "processing", "completed", "failed", "cancelled", "lost"), 0)
    return {"expected": expected, **none, **others}


def test_a_job_follows_its_children(server: LiveServer, reporter: Make, job_id: str) -> None:
    with reporter(server.url).job("batch", id=job_id) as job:
        job.expect_children(4)
        with job.child("part", id=f"{job_id}-1", weight=2):
            pass
        second = job.child("part", id=f"{job_id}-2", total=4)
        second.advance(2)
        expected = counts(4, processing=1, completed=1, progress=0.5)
        state = until(server, job_id, children=expected, progress=0.5)
        assert "parent_id" not in state
        assert until(server, f"{job_id}-1", parent_id=job_id, weight=2)["status"] == "completed"
        second.fail("no space left")
    state = until(server, job_id, status="completed")
    assert state["children"]["failed"] == 1


def test_ends_sent_together_count_on_every_level(server: LiveServer, reporter: Make, job_id: str) -> None:
    jobs = [reporter(server.url).job("batch", id=job_id)]
    for level in (1, 2):
        jobs.append(jobs[-1].child("part", id=f"{job_id}-{level}"))
    until(server, f"{job_id}-1", children=counts(1, processing=1, progress=0))
    for job in jobs:
        job.complete()
    for job in jobs[:2]:
        assert until(server, job.id, status="completed")["children"] == counts(1, completed=1)


def test_ends_sent_to_redis_together_count_on_every_level(redis: LiveRedis, reporter: Make, job_id: str) -> None:
    make = reporter(redis.url)
    jobs = [make.job("batch", id=job_id)]
    for level in (1, 2):
        jobs.append(jobs[-1].child("part", id=f"{job_id}-{level}"))
    for job in reversed(jobs):
        job.complete()
    assert make.flush(60)
    with redis.client() as client:
        for job in jobs[:2]:
            state = json.loads(client.get(f"job_status:{job.id}") or b"{}")
            assert (state["status"], state["children"]) == ("completed", counts(1, completed=1))


def test_what_is_no_parent_is_ignored(
    server: LiveServer, reporter: Make, job_id: str, warnings: Callable[[], list[str]]
) -> None:
    job = reporter(server.url).job("part", id=job_id, parent="no id", weight=-1)
    job.expect_children(-1)
    job.complete()
    assert "parent_id" not in until(server, job_id, status="completed")
    weight, parent, children = warnings()
    assert weight == "weight is ignored: it takes a number above 0, not -1"
    assert "the parent of" in parent
    assert "expect_children" in children


def part(url: str, parent: str, number: int) -> None:
    with milepost.Reporter(url).job("part", id=f"{parent}-{number}", parent=parent) as job:
        for _ in job.track(range(3)):
            pass


def test_children_in_other_processes(server: LiveServer, reporter: Make, job_id: str) -> None:
    with reporter(server.url).job("batch", id=job_id) as job:
        job.expect_children(3)
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.starmap(part, [(server.url, job.id, number) for number in range(3)])
        until(server, job_id, children=counts(3, completed=3, progress=1.0), progress=1.0)


TRAINING = """
import milepost

with milepost.job("train", id={job_id!r}, per_rank=True) as job:
    for _ in job.track(range(3)):
        pass
"""


def test_the_ranks_of_a_training_are_children(server: LiveServer, job_id: str) -> None:
    """As torchrun starts them: each process runs the same code."""
    for rank in (2, 1, 0):
        environment = {"RANK": str(rank), "WORLD_SIZE": "3", "PYTHONPATH": SOURCE, "MILEPOST_URL": server.url}
        program = TRAINING.format(job_id=job_id)
        subprocess.run([sys.executable, "-c", program], env={**ENVIRONMENT, **environment}, check=True, timeout=60)
    state = until(server, job_id, status="completed", current=3)
    assert state["children"] == counts(2, completed=2)
    assert until(server, f"{job_id}:2")["parent_id"] == job_id


@pytest.mark.parametrize("ranks", [{}, {"RANK": "0", "WORLD_SIZE": "1"}, {"RANK": "3", "WORLD_SIZE": "x"}])
def test_one_process_has_no_ranks(
    server: LiveServer, reporter: Make, job_id: str, monkeypatch: pytest.MonkeyPatch, ranks: dict[str, str]
) -> None:
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    reporter(server.url).job("train", id=job_id, per_rank=True).complete()
    assert "children_expected" not in until(server, job_id, status="completed")


def test_ranks_without_an_id_are_jobs_of_their_own(
    server: LiveServer, reporter: Make, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    job = reporter(server.url).job("ranks", per_rank=True)
    job.complete()
    assert "parent_id" not in until(server, job.id, status="completed")
    assert warnings() == ["per_rank has no effect without an id, the same in all processes"]


def test_a_parent_in_redis_is_updated(redis: LiveRedis, reporter: Make, job_id: str) -> None:
    """A server shows it; here is none."""
    reports = reporter(redis.url)
    reports.job("batch", id=job_id).child("part", id=f"{job_id}-1").complete()
    assert reports.flush(10)
    client = _redis_client.RedisClient(redis.url)
    assert client.connection().hexists(f"job_children:{job_id}", f"c{job_id}-1")
    assert client.connection().zscore("{milepost}:parents", job_id) is not None
    client.release()
