"""What watchers request, and what becomes of it: from `milepost cancel` to a Python loop."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from live_redis import LiveRedis
from live_server import BINARY, ENVIRONMENT, LiveServer, eventually
from reported import until

import milepost
from milepost import _task
from milepost._request import Request
from milepost._threads import Thread

Make = Callable[..., milepost.Reporter]


def ask(server: LiveServer, *words: str) -> subprocess.CompletedProcess[str]:
    command = [BINARY, *words, "--server", server.url]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)


class Loop(threading.Thread):
    """A program that runs a job until it is done or stopped."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work
        self.error: Any = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error


def slowly() -> Iterator[int]:
    for number in range(100_000):
        time.sleep(0.005)
        yield number


def check_cancelled(server: LiveServer, job_id: str, loop: Loop) -> None:
    until(server, job_id, cancellable=True)
    answer = ask(server, "cancel", job_id, "--by", "alice", "--reason", "wrong input")
    assert answer.returncode == 0, answer.stderr
    loop.join(60)
    assert type(loop.error) is milepost.CancelRequested
    assert (loop.error.request.by, loop.error.request.reason) == ("alice", "wrong input")
    state = until(server, job_id, status="cancelled")
    assert (state["message"], state["acknowledged"]) == ("cancel requested by alice: wrong input", "cancel")
    assert state["requested"]["action"] == "cancel"


def test_cancel_stops_a_tracked_loop(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)

    def work() -> None:
        with make.job(id=job_id) as job:
            for _ in job.track(slowly(), 100_000, cancellable=True):
                pass

    check_cancelled(server, job_id, Loop(work))


def test_cancel_stops_a_loop_that_asks(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)

    async def main() -> None:
        async with make.job(id=job_id) as job:
            while True:
                job.advance()
                await asyncio.sleep(0.005)
                job.raise_if_cancelled()

    check_cancelled(server, job_id, Loop(lambda: asyncio.run(main())))


def test_cancel_reaches_a_worker_that_reports_to_redis(
    redis: LiveRedis, tmp_path: Any, reporter: Make, job_id: str
) -> None:
    server = LiveServer(tmp_path, environment={"REDIS_URL": redis.url})
    server.start()
    try:
        make = reporter(redis.url)

        def work() -> None:
            with make.job(id=job_id) as job:
                for _ in job.track(slowly(), 100_000, stage="rows", cancellable=True):
                    pass

        check_cancelled(server, job_id, Loop(work))
    finally:
        server.stop()


def test_pause_and_resume_are_the_workers_own(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    with make.job(id=job_id) as job:
        assert job.requested is None
        until(server, job_id, cancellable=True)
        assert ask(server, "pause", job_id).returncode == 0
        job.message("news")
        request = eventually(lambda: job.requested)
        assert request is not None
        assert request.action == "pause"
        assert not job.cancel_requested
        job.acknowledge("pause")
        until(server, job_id, acknowledged="pause", paused=True)
        assert ask(server, "resume", job_id).returncode == 0
        job.message("more news")
        eventually(lambda: job.requested is not None and job.requested.action != "pause")
        job.acknowledge("resume")
        assert "paused" not in until(server, job_id, acknowledged="resume")
    assert make.flush(60)
    assert until(server, job_id, status="completed")["acknowledged"] == "resume"


def test_a_job_that_nobody_asks_about_is_not_cancellable(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    with make.job(id=job_id) as job:
        for _ in job.track(range(3)):
            pass
        assert make.flush(60)
        answer = ask(server, "cancel", job_id)
    assert answer.returncode != 0
    assert "cancellable" in answer.stderr


def test_a_cancel_for_which_no_thread_starts_harms_nothing(
    job_id: str, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    def start(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    task = _task.Task(job_id, 1)
    try:
        task.cancel_by(lambda: None)
        monkeypatch.setattr(Thread, "start", start)
        task.job._record.request(Request("cancel", "2026-01-01T00:00:00Z"))
        assert "can't start new thread" in warnings()[-1]
    finally:
        task.job.complete()
        task.leave()


def test_without_a_server_nothing_is_requested(reporter: Make) -> None:
    with reporter(None).job() as job:
        assert (job.requested, job.cancel_requested) == (None, False)
        job.raise_if_cancelled()
        assert list(job.track([1, 2], cancellable=True)) == [1, 2]
        assert list(milepost.track([1, 2], cancellable=True)) == [1, 2]


def test_what_is_no_action_is_not_acknowledged(reporter: Make, warnings: Callable[[], list[str]]) -> None:
    with reporter(None).job() as job:
        job.acknowledge("stop")
    assert warnings() == ["acknowledge is ignored: it takes cancel, pause, resume, not stop"]


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_cancellable_loop_counts_as_any_other(reporter: Make, size: int) -> None:
    job = reporter(None).job()
    loop = job.track(list(range(size)), cancellable=True)
    assert len(loop) == size
    assert list(loop) == list(range(size))
    assert (job._own.current, job._own.total) == (size, size)
    job.complete()
