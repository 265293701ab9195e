from __future__ import annotations

import gc
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import pytest
from fake_server import Answer, FakeServer, Request, accept
from live_redis import LiveRedis
from live_server import OURS, LiveServer
from live_worker import CeleryWorker

import milepost
from milepost import _boundary, _current

# What is set where the tests run is not for them.
for name in list(os.environ):
    if name.startswith(OURS) and name != "MILEPOST":
        del os.environ[name]

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def no_job_is_open() -> Iterator[None]:
    """What a test leaves open is not for the next one."""
    yield
    _current.forget()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that work waits for."""
    return tmp_path / "gate"


@pytest.fixture
def job_id(request: pytest.FixtureRequest) -> str:
    """An id that no other test has."""
    return f"job-{os.getpid()}-{next(_numbers)}"


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: LiveServer) -> LiveServer:
    """A real server, which the tests share: not to be stopped."""
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[LiveServer]:
    """A real server of this test's own, which keeps its states when it is killed."""
    server = LiveServer(tmp_path, "--data-dir", str(tmp_path / "data"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fake() -> Iterator[Callable[..., FakeServer]]:
    servers = []

    def make(answer: Callable[[Request], Answer] = accept, port: int = 0) -> FakeServer:
        servers.append(FakeServer(answer, port))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def reporter() -> Iterator[Callable[..., milepost.Reporter]]:
    reporters = []

    def make(url: Optional[str], **options: float) -> milepost.Reporter:
        reporters.append(milepost.Reporter(url, **options))  # type: ignore[arg-type]
        return reporters[-1]

    yield make
    for each in reporters:
        each.close()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the logger `milepost` has said, after its name."""
    caplog.set_level(logging.DEBUG, "milepost")
    _boundary._warned.clear()

    def said() -> list[str]:
        messages = [record.getMessage() for record in caplog.records if record.name == "milepost"]
        assert all(message.startswith("milepost: ") for message in messages), messages
        return [message[len("milepost: ") :] for message in messages]

    return said


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRedis]:
    redis = LiveRedis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture
def redis(shared_redis: LiveRedis) -> LiveRedis:
    """A real Redis, which the tests share: not to be stopped."""
    return shared_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[LiveRedis]:
    """A real Redis of this test's own, which forgets everything when it is killed."""
    redis = LiveRedis(tmp_path)
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRedis]:
    """Celery's broker in the tests, of which the app remembers the address."""
    from celery_tasks import app

    redis = LiveRedis(tmp_path_factory.mktemp("broker"))
    redis.start()
    app.conf.update(broker_url=redis.url, result_backend=redis.url)
    yield redis
    # Results that are collected later would wait for the broker.
    gc.collect()
    app.close()
    redis.stop()


@pytest.fixture(scope="session")
def worker(
    tmp_path_factory: pytest.TempPathFactory, broker: LiveRedis, shared_server: LiveServer
) -> Iterator[CeleryWorker]:
    """A worker of Celery with two children, which the tests share: not to be stopped."""
    worker = CeleryWorker(tmp_path_factory.mktemp("worker"), broker, shared_server, "--concurrency", "2")
    yield worker
    # Not SIGTERM: Celery may take half a minute if it comes just after a task.
    worker.kill()
