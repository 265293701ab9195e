"""From a worker's calls to a real server."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

from live_server import LiveServer, eventually

import milepost

Make = Callable[..., milepost.Reporter]


def history(server: LiveServer, job_id: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{server.url}/jobs/{job_id}/history") as answer:
        states: list[dict[str, Any]] = json.load(answer)["states"]
        return states


def state(server: LiveServer, job_id: str) -> milepost.State:
    found = milepost.status(job_id, url=server.url)
    assert found is not None
    return found


def test_a_job_from_its_beginning_to_its_end(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    with make.job("render", id=job_id, message="begins", metadata={"file": "a.mp4"}, ttl=60) as job:
        eventually(lambda: milepost.status(job_id, url=server.url))
        for _ in job.track(range(4), stage="render", unit="frames"):
            assert make.flush(60)
        with job.stage("upload", total=100, unit="B") as stage:
            stage.advance(50)
            assert make.flush(60)
        job.result({"url": "u"})
    assert make.flush(60)
    states = history(server, job_id)
    assert {each["stage"] for each in states} - {"processing"} == {"render", "upload", "complete"}
    progress = [each["progress"] for each in states if each["stage"] == "render"]
    assert progress == sorted(progress)
    assert 0.75 in progress
    last = state(server, job_id)
    assert (last.status, last.progress, last.result) == ("completed", 1.0, {"url": "u"})
    assert last.metadata == {"current": 50, "total": 100, "unit": "B", "file": "a.mp4"}
    assert (last["ttl"], last.attempt, last.has_ended) == (60, 1, True)
    assert job.refused is None


def test_attributes_reach_the_state(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    with make.job("render", id=job_id, tags=["gpu", "nightly"], unit="frames", total=8) as job:
        job.advance(2)
        assert make.flush(60)
        known = state(server, job_id)
        assert (known["name"], known["tags"], known["unit"]) == ("render", ["gpu", "nightly"], "frames")
        assert (known["current"], known["total"], known["heartbeat"], known["health"]) == (2, 8, 10.0, "ok")
        with job.stage("upload") as stage:
            stage.advance()
            assert make.flush(60)
            # What counts in something else than frames has no frames.
            assert state(server, job_id).get("unit") is None
    assert make.flush(60)
    assert state(server, job_id)["name"] == "render"


def test_async_workers(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)

    async def main() -> None:
        async with make.job(id=job_id) as job:
            async for _ in job.track(range(3), stage="render"):
                await asyncio.sleep(0)
            async with job.stage("upload"):
                assert milepost.current() is job

    asyncio.run(main())
    assert make.flush(60)
    assert state(server, job_id).status == "completed"


def test_many_jobs_go_in_few_requests(fake: Any, reporter: Make) -> None:
    server = fake()
    make = reporter(server.url)
    jobs = [make.job(id=str(number)) for number in range(200)]
    assert make.flush(60)
    for job in jobs:
        job.complete()
    assert make.flush(60)
    assert len({update["job_id"] for update in server.updates}) == 200
    assert sum(update["status"] == "completed" for update in server.updates) == 200
    assert len(server.requests) < 100
    assert server.connections == 1


def test_a_worker_of_a_retry_and_its_zombie(
    server: LiveServer, reporter: Make, job_id: str, warnings: Callable[[], list[str]]
) -> None:
    zombies, others = reporter(server.url), reporter(server.url)
    zombie = zombies.job(id=job_id, attempt=1)
    zombie.advance(1)
    assert zombies.flush(60)
    others.job(id=job_id, attempt=2).complete("done")
    assert others.flush(60)
    zombie.advance(1)
    refused = eventually(lambda: zombie.refused)
    assert refused is not None
    assert (refused.problem, refused.attempt) == ("attempt-superseded", 2)
    zombie.complete("not this")
    assert zombies.flush(60)
    assert state(server, job_id).result == "done"
    assert len(warnings()) == 1


def test_a_job_that_is_run_again(
    server: LiveServer, reporter: Make, job_id: str, warnings: Callable[[], list[str]]
) -> None:
    make = reporter(server.url)
    make.job(id=job_id).complete("first")
    refused = make.job(id=job_id)
    refused.complete("second")
    assert make.flush(60)
    assert refused.refused is not None
    assert refused.refused.problem == "attempt-ended"
    assert (state(server, job_id).result, len(warnings())) == ("first", 1)

    with make.job(id=job_id, attempt="next") as again:
        again.result("third")
    assert make.flush(60)
    assert again.refused is None
    assert (state(server, job_id).result, state(server, job_id).attempt, again.attempt) == ("third", 2, 2)
    assert len(warnings()) == 1


def test_next_joins_an_attempt_that_goes_on(server: LiveServer, reporter: Make, job_id: str) -> None:
    first, second = reporter(server.url), reporter(server.url)
    running = first.job(id=job_id)
    assert first.flush(60)
    second.job(id=job_id, attempt="next").complete()
    assert second.flush(60)
    assert state(server, job_id).attempt == 1
    running.complete()


def test_one_update_without_a_job(server: LiveServer, job_id: str) -> None:
    reporter = milepost.configure(server.url)
    milepost.report(job_id, status="queued", message="third in line", metadata={"queue": 3})
    assert milepost.flush(60)
    found = state(server, job_id)
    assert (found.status, found.message, found.metadata) == ("queued", "third in line", {"queue": 3})
    assert found.progress is None
    with milepost.job(id=job_id):
        pass
    milepost.report(job_id + "b", status="failed", error=ValueError("no"), progress=0.5)
    milepost.report("not an id")
    assert milepost.flush(60)
    assert state(server, job_id).status == "completed"
    failed = state(server, job_id + "b")
    assert (failed.error, failed.message, failed.progress) == ("ValueError: no", "Error: ValueError: no", 0.5)
    reporter.close()
    milepost.configure()


def test_threads_begin_and_end_jobs(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)

    def work(number: int) -> None:
        with make.job(id=f"{job_id}-{number}", total=10) as job:
            for _ in range(10):
                job.advance()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make.flush(60)
    for number in range(16):
        assert state(server, f"{job_id}-{number}").status == "completed"
    assert sum(thread.name == "milepost" for thread in threading.enumerate()) <= 2


def test_there_is_a_heartbeat(fake: Any, reporter: Make, job_id: str) -> None:
    server = fake()
    make = reporter(server.url, interval=0.02, heartbeat=0.05)
    job = make.job(id=job_id)
    eventually(lambda: len(server.updates) > 3)
    job.complete()
    first, second = server.updates[1:3]
    assert first.pop("timestamp") < second.pop("timestamp")
    assert first == second


def test_what_a_worker_says_is_sent_in_the_order_said(fake: Any, reporter: Make, job_id: str) -> None:
    server = fake()
    make = reporter(server.url)
    with make.job(id=job_id) as job:
        for number in range(20):
            job.stage(str(number))
            assert make.flush(60)
    assert make.flush(60)
    stages = [update["stage"] for update in server.updates if update.get("stage") not in (None, "complete")]
    assert sorted(set(stages), key=int) == list(dict.fromkeys(stages)) == [str(number) for number in range(20)]


def test_tokens_and_passwords(fake: Any, reporter: Make) -> None:
    server = fake()
    make = reporter(server.url, token="secret")
    make.job("a")
    assert make.flush(60)
    assert server.requests[0].headers["authorization"] == "Bearer secret"
    other = reporter(server.url.replace("//", "//me:pass%40word@") + "/below/")
    other.job("b")
    assert other.flush(60)
    assert server.requests[-1].headers["authorization"] == "Basic bWU6cGFzc0B3b3Jk"
    assert server.requests[-1].path.startswith("/below/jobs/b-")
