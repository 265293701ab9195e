"""What legacy workers leave in Redis, for those who watch there: servers fold it, each publish once, and in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_redis import LiveRedis
from live_server import LiveServer, eventually

import milepost
from milepost import _forgotten

ROUNDS = 3
AT_ONCE = 6
"""Few enough that a server drops none of them, and that a read has them all."""


class Watcher:
    def __init__(self, url: str, job_id: str) -> None:
        self.url = url
        self.states: list[milepost.State] = []
        self._watch = milepost.watch(job_id, url=url)
        self._thread = threading.Thread(target=lambda: self.states.extend(self._watch), daemon=True)
        self._thread.start()

    def stages(self) -> list[str]:
        return [str(state.stage) for state in self.states]

    def finish(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self._watch.close()
        self._thread.join(60)


@pytest.fixture
def client(redis: LiveRedis) -> Iterator[Any]:
    with redis.client() as client:
        yield client


@pytest.fixture
def sharing(redis: LiveRedis, tmp_path: Path) -> Iterator[LiveServer]:
    """A server that keeps its states in that Redis."""
    server = LiveServer(tmp_path, environment={"REDIS_URL": redis.url})
    server.start()
    yield server
    server.stop()


def update(job_id: str, stage: str, **more: object) -> str:
    return json.dumps({"job_id": job_id, "status": "processing", "stage": stage, **more})


def leave(client: Any, job_id: str, text: str) -> None:
    """As legacy workers do."""
    client.publish(f"job_progress:{job_id}", text)
    client.set(f"job_status:{job_id}", text, ex=3600)


def test_each_watcher_sees_each_publish_once(redis: LiveRedis, client: Any, job_id: str, sharing: LiveServer) -> None:
    leave(client, job_id, update(job_id, "first"))
    watchers = [Watcher(url, job_id) for url in (redis.url, sharing.url, redis.url, redis.url)]
    eventually(lambda: all(each.stages() == ["first"] for each in watchers), "the first stage")
    # One by one, until nobody is still finding its place.
    wanted = ["first"]
    for number in range(3):
        wanted.append(f"alone {number}")
        leave(client, job_id, update(job_id, wanted[-1]))
        eventually(lambda: all(each.stages() == wanted for each in watchers), "each stage alone")
    for turn in range(ROUNDS):
        for number in range(AT_ONCE):
            wanted.append(f"{turn}.{number}")
            leave(client, job_id, update(job_id, wanted[-1]))
        eventually(lambda: all(each.stages()[-1] == wanted[-1] for each in watchers), "the last of many")
    leave(client, job_id, update(job_id, "complete", status="completed", progress=1.0))
    for each in watchers:
        each.finish()
    for each in watchers:
        missing = [stage for stage in wanted if stage not in each.stages()]
        assert each.stages() == [*wanted, "complete"], (each.url, missing)
    # All know them by the same positions.
    assert len({tuple(state.position for state in each.states) for each in watchers}) == 1


def test_without_a_server_a_legacy_job_is_what_is_under_its_key(redis: LiveRedis, client: Any, job_id: str) -> None:
    leave(client, job_id, update(job_id, "old"))
    assert [state.stage for state in [milepost.status(job_id, url=redis.url)] if state] == ["old"]
    watcher = Watcher(redis.url, job_id)
    eventually(lambda: watcher.stages() == ["old"])
    for text in ("no JSON", update(job_id, "nobody folds this")):
        client.publish(f"job_progress:{job_id}", text)
    # A reporter takes over.
    reporter = milepost.Reporter(redis.url)
    reporter.job(id=job_id, stage="new").complete()
    watcher.finish()
    reporter.close()
    assert watcher.stages()[0] == "old"
    assert watcher.stages()[-1] == "complete"
    assert "nobody folds this" not in watcher.stages()


def test_a_legacy_worker_that_begins_later_is_seen(redis: LiveRedis, client: Any, job_id: str) -> None:
    watcher = Watcher(redis.url, job_id)
    eventually(lambda: dict(client.pubsub_numsub(f"job_progress:{job_id}"))[f"job_progress:{job_id}".encode()])
    leave(client, job_id, update(job_id, "complete", status="completed"))
    watcher.finish()
    assert watcher.stages() == ["complete"]


def test_a_job_that_is_forgotten_begins_anew(redis: LiveRedis, client: Any, job_id: str) -> None:
    watcher = Watcher(redis.url, job_id)
    reporter = milepost.Reporter(redis.url)
    job = reporter.job(id=job_id, stage="one")
    eventually(lambda: watcher.stages() == ["one"])
    client.delete(*(f"job_{what}:{job_id}" for what in ("status", "history", "meta")))
    client.publish(f"job_progress:{job_id}", json.dumps({"type": "forgotten", "job_id": job_id}))
    job.stage("two")
    job.complete()
    watcher.finish()
    reporter.close()
    assert watcher.stages()[-1] == "complete"
    assert [(state.position or "").partition("-")[2] for state in watcher.states][-1] in ("1", "2")


def test_a_job_that_is_gone_is_given_up(
    redis: LiveRedis, client: Any, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_forgotten, "PATIENCE", 0.0)
    reporter = milepost.Reporter(redis.url)
    job = reporter.job(id=job_id, stage="one")
    assert reporter.flush(60)
    watch = milepost.watch(job_id, url=redis.url)

    def forget() -> None:
        eventually(lambda: watch.state)
        client.delete(*(f"job_{what}:{job_id}" for what in ("status", "history", "meta")))
        client.publish(f"job_progress:{job_id}", json.dumps({"type": "forgotten", "job_id": job_id}))

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    with pytest.raises(milepost.JobForgotten, match=f"^{job_id} was deleted"):
        list(watch)
    forgetting.join()
    job.complete()
    reporter.close()
