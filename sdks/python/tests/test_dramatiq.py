"""Dramatiq's messages as watchers see them: real workers, on its broker for tests."""

from __future__ import annotations

from collections.abc import Iterator

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from live_server import LiveServer
from reported import history, steps, until

import milepost
import milepost.dramatiq


@pytest.fixture
def broker(server: LiveServer) -> Iterator[StubBroker]:
    reporter = milepost.configure(server.url)
    broker = StubBroker()
    milepost.dramatiq.install(broker)
    milepost.dramatiq.install(broker)
    dramatiq.set_broker(broker)
    yield broker
    broker.close()
    reporter.close()


@pytest.fixture
def worker(broker: StubBroker) -> Iterator[dramatiq.Worker]:
    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=1)
    worker.start()
    worker.pause()
    yield worker
    worker.stop()


def test_a_message_is_a_job(server: LiveServer, broker: StubBroker, worker: dramatiq.Worker) -> None:
    @dramatiq.actor(broker=broker)
    def render(frames: int) -> None:
        job = milepost.current()
        assert job is not None
        for _ in job.track(range(frames), stage="render"):
            milepost.flush(60)
        job.result("rendered")

    sent = render.send(3)
    until(server, sent.message_id, status="queued", name="render")
    worker.resume()
    end = until(server, sent.message_id, status="completed")
    assert (end["result"], end["metadata"]["task"], end["current"]) == ("rendered", "render", 3)
    assert steps(server, sent.message_id) == [(1, "queued"), (1, "processing"), (1, "completed")]
    assert "render" in {each["stage"] for each in history(server, sent.message_id)}
    assert milepost.current() is None


def test_a_retry_is_the_next_attempt(server: LiveServer, broker: StubBroker, worker: dramatiq.Worker) -> None:
    calls = []

    @dramatiq.actor(broker=broker, min_backoff=1, max_backoff=1, max_retries=1)
    def fail() -> None:
        calls.append(1)
        raise ValueError("no")

    sent = fail.send()
    until(server, sent.message_id, status="queued", attempt=1)
    worker.resume()
    end = until(server, sent.message_id, status="failed", attempt=2)
    assert end["error"].startswith("ValueError: no")
    assert len(calls) == 2
    waiting = [each for each in history(server, sent.message_id) if each["attempt"] == 2]
    assert waiting[0]["status"] == "queued"
    assert waiting[0]["message"].startswith("Retry: ValueError: no")
    assert (1, "failed") not in steps(server, sent.message_id)


def test_a_message_that_is_aborted_has_failed(server: LiveServer, broker: StubBroker, worker: dramatiq.Worker) -> None:
    @dramatiq.actor(broker=broker, throws=KeyError)
    def fail() -> None:
        raise KeyError("x")

    worker.resume()
    sent = fail.send()
    assert until(server, sent.message_id, status="failed", attempt=1)["error"].startswith("KeyError: 'x'")


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_message_that_is_skipped_is_cancelled(
    server: LiveServer, broker: StubBroker, worker: dramatiq.Worker, where: str
) -> None:
    class Skipping(dramatiq.Middleware):
        def before_process_message(self, broker: dramatiq.Broker, message: object) -> None:
            raise dramatiq.middleware.SkipMessage

    broker.add_middleware(Skipping(), **{where: milepost.dramatiq.Middleware})

    @dramatiq.actor(broker=broker)
    def never() -> None:
        raise AssertionError("it runs")

    worker.resume()
    sent = never.send()
    until(server, sent.message_id, status="cancelled", message="Skipped")
