"""RQ's jobs as watchers see them: real workers that fork, on a real Redis."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rq_jobs as jobs
from live_redis import LiveRedis
from live_server import LiveServer, eventually
from live_worker import LiveWorker
from reported import history, request, state, steps, until, without_frame
from rq import Queue, Retry
from rq.command import send_stop_job_command

import milepost
import milepost.rq

# RQ's own business with Redis' client.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRedis]:
    redis = LiveRedis(tmp_path_factory.mktemp("broker"))
    redis.start()
    yield redis
    redis.stop()


class Own:
    """A queue of a test's own, and workers at it."""

    def __init__(self, folder: Path, broker: LiveRedis, url: str) -> None:
        self.queue = Queue(folder.name, connection=broker.client())
        self._folder = folder
        self._broker = broker
        self._url = url
        self._workers: list[LiveWorker] = []

    def start(self, *options: str, kind: str = "milepost.rq.Worker", **environment: str) -> LiveWorker:
        folder = self._folder / f"worker-{len(self._workers)}"
        folder.mkdir(parents=True)
        command = ["rq.cli", "worker", "--url", self._broker.url, "--worker-class", kind, *options, self.queue.name]
        given = {"MILEPOST_URL": self._url, **environment}
        self._workers.append(LiveWorker(folder, command, "Listening on", given))
        return self._workers[-1]

    def kill(self) -> None:
        for worker in self._workers:
            worker.kill()


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory, broker: LiveRedis, shared_server: LiveServer) -> Iterator[Queue]:
    """With a worker that the tests share: not to be stopped."""
    own = Own(tmp_path_factory.mktemp("worker"), broker, shared_server.url)
    own.start("--with-scheduler", kind="rq_jobs.CancellableWorker")
    yield own.queue
    own.kill()


@pytest.fixture
def own(tmp_path: Path, broker: LiveRedis, server: LiveServer) -> Iterator[Own]:
    own = Own(tmp_path, broker, server.url)
    yield own
    own.kill()


@pytest.fixture(autouse=True)
def reporting(server: LiveServer) -> Iterator[None]:
    """The tests enqueue jobs, as a web server does."""
    milepost.rq.install()
    reporter = milepost.configure(server.url)
    yield
    reporter.close()


def pid_of(gate: Path) -> int:
    file = Path(f"{gate}.pid")
    return int(eventually(lambda: file.exists() and file.read_text(), "the job's start"))


def test_a_job_is_known_from_when_it_is_enqueued(server: LiveServer, own: Own) -> None:
    sent = own.queue.enqueue(jobs.add, 1, 2)
    assert until(server, sent.id, status="queued", attempt=1)["metadata"] == {"task": "rq_jobs.add"}
    waiting = own.queue.enqueue(jobs.add, 1, 2, depends_on=sent)
    until(server, waiting.id, status="queued")
    sent.cancel()
    assert until(server, sent.id, status="cancelled")["message"] == "Cancelled"


def test_success(server: LiveServer, queue: Queue) -> None:
    sent = queue.enqueue(jobs.add, 1, 2)
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["attempt"], end["progress"]) == (3, 1, 1.0)


def test_meta_is_progress(server: LiveServer, queue: Queue, gate: Path) -> None:
    sent = queue.enqueue(jobs.count, 10, str(gate), meta={"user": 7})
    half = until(server, sent.id, message="Frame 4")
    assert (half["status"], half["stage"], half["progress"]) == ("processing", "processing", 0.4)
    assert half["metadata"]["current"] == 4
    assert (half["metadata"]["task"], half["metadata"]["user"]) == ("rq_jobs.count", 7)
    gate.touch()
    assert until(server, sent.id, status="completed")["result"] == "counted"
    # The caller's report may arrive after the worker's first one, and does not count then.
    assert steps(server, sent.id)[-2:] == [(1, "processing"), (1, "completed")]
    assert steps(server, sent.id)[:-2] in ([], [(1, "queued")])


def test_progress_in_percent(server: LiveServer, queue: Queue, gate: Path) -> None:
    sent = queue.enqueue(jobs.percent, str(gate))
    until(server, sent.id, progress=0.4)
    assert {each.get("progress") for each in history(server, sent.id)} <= {None, 0.01, 0.4}
    gate.touch()
    until(server, sent.id, status="completed")


def test_failure(server: LiveServer, queue: Queue) -> None:
    sent = queue.enqueue(jobs.fail, "no such video")
    end = until(server, sent.id, status="failed")
    assert without_frame(end["error"]) == "ValueError: no such video"
    assert end["message"] == f"Error: {end['error']}"


@pytest.mark.parametrize("interval", [0, 1])
def test_a_retry_is_an_attempt_and_ends_nothing(server: LiveServer, queue: Queue, gate: Path, interval: int) -> None:
    sent = queue.enqueue(jobs.fail_until, str(gate), 2, retry=Retry(max=3, interval=interval))
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["attempt"]) == ("done", 3)
    # An attempt that is over in a moment may not be seen to run.
    seen = [step for step in steps(server, sent.id) if step[1] != "processing"]
    assert seen[-3:] == [(2, "queued"), (3, "queued"), (3, "completed")]
    assert {status for _, status in seen[:-1]} == {"queued"}
    waiting = [each for each in history(server, sent.id) if each["status"] == "queued"]
    assert without_frame(waiting[-1]["message"]) == "Retry: OSError: the disk is busy"


def test_retries_that_are_used_up(server: LiveServer, queue: Queue) -> None:
    sent = queue.enqueue(jobs.fail, "never", retry=Retry(max=1))
    end = until(server, sent.id, status="failed")
    assert (without_frame(end["error"]), end["attempt"]) == ("ValueError: never", 2)
    sent = queue.enqueue(jobs.ask_for_retries, 1)
    end = until(server, sent.id, status="failed")
    assert (end["error"], end["attempt"]) == ("no retries are left", 2)


def test_an_id_that_is_used_again(server: LiveServer, queue: Queue, gate: Path, job_id: str) -> None:
    sent = queue.enqueue(jobs.add, 1, 2, job_id=job_id)
    until(server, job_id, status="completed", attempt=1)
    queue.enqueue(jobs.fail, "again", job_id=job_id)
    until(server, job_id, status="failed", attempt=2)
    # Redis forgets, the server does not.
    sent.delete()
    queue.enqueue(jobs.fail_until, str(gate), 1, job_id=job_id, retry=Retry(max=1))
    until(server, job_id, status="completed", result="done")


def test_stopped(server: LiveServer, queue: Queue, gate: Path) -> None:
    sent = queue.enqueue(jobs.wait, str(gate))
    pid_of(gate)
    send_stop_job_command(queue.connection, sent.id)
    assert until(server, sent.id, status="cancelled")["message"] == "Stopped"


def test_cancelled_by_a_watcher(server: LiveServer, queue: Queue) -> None:
    sent = queue.enqueue(jobs.move)
    until(server, sent.id, cancellable=True)
    request(server, sent.id, action="cancel", by="alice")
    end = until(server, sent.id, status="cancelled")
    assert (end["message"], end["requested"]["by"]) == ("Stopped", "alice")


def test_a_job_that_takes_too_long(server: LiveServer, queue: Queue, gate: Path) -> None:
    sent = queue.enqueue(jobs.wait, str(gate), job_timeout=1)
    assert "timeout" in until(server, sent.id, status="failed")["error"]


def test_kill_9_of_the_horse(server: LiveServer, queue: Queue, gate: Path) -> None:
    sent = queue.enqueue(jobs.wait, str(gate))
    os.kill(pid_of(gate), signal.SIGKILL)
    assert "signal 9" in until(server, sent.id, status="failed")["error"]
    sent = queue.enqueue(jobs.die_once, str(gate), retry=Retry(max=1))
    assert until(server, sent.id, status="completed", attempt=2)["result"] == "survived"


def test_exceptions_that_end_the_horse(server: LiveServer, queue: Queue) -> None:
    sent = queue.enqueue(jobs.leave)
    assert without_frame(until(server, sent.id, status="failed")["error"]) == "SystemExit: 3"


def test_the_jobs_code_finds_its_job(server: LiveServer, queue: Queue) -> None:
    sent = queue.enqueue(jobs.with_a_bar)
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["metadata"]["current"]) == (sent.id, 5)


def test_sigterm_lets_the_job_finish(server: LiveServer, own: Own, gate: Path) -> None:
    worker = own.start()
    sent = own.queue.enqueue(jobs.wait, str(gate))
    pid_of(gate)
    worker.terminate()
    eventually(lambda: "shut down" in worker.said(), "the shutdown")
    until(server, sent.id, status="processing")
    gate.touch()
    assert worker.wait() == 0
    # After this the process is gone, so the end has to be reported before.
    found = state(server, sent.id)
    assert found is not None
    assert (found["status"], found["result"]) == ("completed", "waited")


def test_kill_9_of_the_worker_and_another_finds_out(server: LiveServer, own: Own, gate: Path) -> None:
    worker = own.start()
    lost = own.queue.enqueue(jobs.wait, str(gate))
    until(server, lost.id, status="processing")
    worker.kill()
    os.kill(pid_of(gate), signal.SIGKILL)
    # As if its time were over. RQ gives it a minute and a half.
    registry = own.queue.started_job_registry
    with registry.connection.pipeline() as pipeline:
        for member in registry.connection.zrange(registry.key, 0, -1):
            pipeline.zadd(registry.key, {member: 1})
        pipeline.execute()
    own.start()
    assert until(server, lost.id, status="failed")["error"] == "its worker is gone"


def test_a_server_that_is_down_harms_no_job(own: Own, gate: Path) -> None:
    worker = own.start(MILEPOST_URL="http://127.0.0.1:1")
    gate.touch()
    sent = [own.queue.enqueue(jobs.count, 4, str(gate)), own.queue.enqueue(jobs.fail, "as ever")]
    eventually(lambda: all(each.get_status() in ("finished", "failed") for each in sent), "their ends")
    assert sent[0].return_value() == "counted"
    worker.terminate()
    assert worker.wait() == 0
    assert "cannot report" in worker.said()


def test_a_worker_that_does_not_fork(server: LiveServer, own: Own, gate: Path) -> None:
    own.start(kind="milepost.rq.SimpleWorker")
    sent = own.queue.enqueue(jobs.fail_until, str(gate), 1, retry=Retry(max=1))
    until(server, sent.id, status="completed", attempt=2)


def test_no_fault_of_a_report_reaches_a_job(own: Own, monkeypatch: pytest.MonkeyPatch, warnings: Any) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of its own")

    for name in ("Task", "Meta", "report", "waits", "flush"):
        monkeypatch.setattr(f"milepost.rq.{name}", fail)
    sent = own.queue.enqueue(jobs.add, 1, 2)
    milepost.rq.SimpleWorker([own.queue], connection=own.queue.connection).work(burst=True)
    assert sent.return_value() == 3
    own.queue.enqueue(jobs.add, 1, 2).cancel()
    assert len(warnings()) > 1
