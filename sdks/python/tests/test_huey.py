"""Huey's tasks as watchers see them: a real consumer, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from huey import CancelExecution, MemoryHuey, RetryTask
from live_server import LiveServer
from reported import steps, until

import milepost
import milepost.huey


@pytest.fixture
def huey(server: LiveServer) -> Iterator[MemoryHuey]:
    reporter = milepost.configure(server.url)
    huey = MemoryHuey(results=True)
    milepost.huey.install(huey)
    milepost.huey.install(huey)
    yield huey
    reporter.close()


@pytest.fixture
def consumer(huey: MemoryHuey) -> Iterator[Any]:
    consumer = huey.create_consumer(workers=1, initial_delay=0.01, max_delay=0.02)
    yield consumer
    consumer.stop(graceful=True)


def test_a_task_is_a_job(server: LiveServer, huey: MemoryHuey, consumer: Any) -> None:
    @huey.task()
    def render(frames: int) -> str:
        job = milepost.current()
        assert job is not None
        for _ in job.track(range(frames), stage="render"):
            milepost.flush(60)
        return "rendered"

    sent = render(3)
    until(server, sent.id, status="queued", name="render")
    consumer.start()
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["metadata"]["task"], end["current"]) == ("rendered", "render", 3)
    assert steps(server, sent.id) == [(1, "queued"), (1, "processing"), (1, "completed")]


def test_a_retry_is_the_next_attempt(server: LiveServer, huey: MemoryHuey, consumer: Any) -> None:
    @huey.task(retries=2)
    def fail() -> None:
        raise ValueError("no")

    consumer.start()
    sent = fail()
    end = until(server, sent.id, status="failed", attempt=3)
    assert end["error"].startswith("ValueError: no")
    assert not [step for step in steps(server, sent.id) if step in ((1, "failed"), (2, "failed"))]


def test_a_task_that_asks_for_its_retry(server: LiveServer, huey: MemoryHuey, consumer: Any) -> None:
    calls = []

    @huey.task()
    def twice() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RetryTask("later")

    consumer.start()
    sent = twice()
    until(server, sent.id, status="completed", attempt=2)


def test_a_task_that_cancels_itself(server: LiveServer, huey: MemoryHuey, consumer: Any) -> None:
    @huey.task()
    def cancel() -> None:
        raise CancelExecution(retry=False)

    consumer.start()
    until(server, cancel().id, status="cancelled")


def test_a_task_that_a_hook_cancels(server: LiveServer, huey: MemoryHuey, consumer: Any) -> None:
    @huey.pre_execute()
    def refuse(task: Any) -> None:
        error = CancelExecution()
        # Huey 2's takes something else as its first argument.
        error.args = ("not today",)
        raise error

    @huey.task()
    def never() -> None:
        raise AssertionError("it runs")

    consumer.start()
    state = until(server, never().id, status="cancelled")
    assert state["message"].startswith("CancelExecution: not today")


def test_a_task_that_is_revoked(server: LiveServer, huey: MemoryHuey, consumer: Any) -> None:
    @huey.task()
    def never() -> None:
        raise AssertionError("it runs")

    sent = never()
    sent.revoke()
    consumer.start()
    until(server, sent.id, status="cancelled", message="Revoked")
