"""Celery's tasks as watchers see them: real workers with forked children, on a real Redis."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery_tasks as tasks
import pytest
from live_redis import LiveRedis
from live_server import LiveServer, eventually
from live_worker import CeleryWorker, LiveWorker
from reported import history, request, state, steps, until, without_frame

import milepost
import milepost.celery

# Celery's own business with Redis' client.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")


class Own:
    """Workers of a test's own, at a queue of its own."""

    def __init__(self, folder: Path, broker: LiveRedis, server: LiveServer) -> None:
        self.queue = folder.name
        self._folder = folder
        self._broker = broker
        self._server = server
        self._workers: list[LiveWorker] = []

    def start(self, *options: str, **environment: str) -> LiveWorker:
        folder = self._folder / f"worker-{len(self._workers)}"
        folder.mkdir()
        arguments = ("--queues", self.queue, "--concurrency", "1", *options)
        self._workers.append(CeleryWorker(folder, self._broker, self._server, *arguments, **environment))
        return self._workers[-1]

    def send(self, task: Any, *arguments: object) -> Any:
        return task.apply_async(arguments, queue=self.queue)

    def kill(self) -> None:
        for worker in self._workers:
            worker.kill()


@pytest.fixture
def own(tmp_path: Path, broker: LiveRedis, server: LiveServer) -> Iterator[Own]:
    own = Own(tmp_path, broker, server)
    yield own
    own.kill()


@pytest.fixture(autouse=True)
def reporting(server: LiveServer) -> Iterator[None]:
    """The tests send tasks, as a web server does."""
    reporter = milepost.configure(server.url)
    yield
    reporter.close()


def pid_of(gate: Path) -> int:
    file = Path(f"{gate}.pid")
    return int(eventually(lambda: file.exists() and file.read_text(), "the task's start"))


def test_a_task_is_a_job_from_when_it_is_sent(server: LiveServer, broker: LiveRedis) -> None:
    sent = tasks.add.apply_async((1, 2), queue="nobody")
    waiting = until(server, sent.id, status="queued", attempt=1)
    assert waiting["metadata"] == {"task": "celery_tasks.add"}


def test_success(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.add.delay(1, 2)
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["attempt"], end["progress"]) == (3, 1, 1.0)
    assert sent.get(timeout=60) == 3
    assert steps(server, sent.id)[-1] == (1, "completed")


def test_a_large_result_is_not_reported(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.many.delay(20_000)
    assert "result" not in until(server, sent.id, status="completed")
    assert len(sent.get(timeout=60)) == 20_000


def test_update_state_is_progress(server: LiveServer, worker: LiveWorker, gate: Path) -> None:
    sent = tasks.count.delay(10, str(gate))
    half = until(server, sent.id, message="Frame 4")
    assert (half["status"], half["stage"], half["progress"]) == ("processing", "processing", 0.4)
    assert half["metadata"]["current"] == 4
    assert half["metadata"]["task"] == "celery_tasks.count"
    # Celery keeps it after it was reported.
    eventually(lambda: sent.state == "PROGRESS" and sent.info["current"] == 4, "Celery's own progress")
    gate.touch()
    assert until(server, sent.id, status="completed")["result"] == "counted"
    # The caller's report may arrive after the worker's first one, and does not count then.
    assert steps(server, sent.id)[-2:] == [(1, "processing"), (1, "completed")]
    assert steps(server, sent.id)[:-2] in ([], [(1, "queued")])


def test_a_state_of_the_tasks_own_is_a_stage(server: LiveServer, worker: LiveWorker, gate: Path) -> None:
    sent = tasks.download.delay(str(gate))
    found = until(server, sent.id, stage="DOWNLOADING", progress=0.4)
    assert found["metadata"]["url"] == "https://example.com/v"
    gate.touch()
    assert "result" not in until(server, sent.id, status="completed")


def test_failure(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.fail.delay("no such video")
    end = until(server, sent.id, status="failed")
    assert without_frame(end["error"]) == "ValueError: no such video"
    assert end["message"] == f"Error: {end['error']}"


def test_a_retry_is_an_attempt_and_ends_nothing(server: LiveServer, worker: LiveWorker, gate: Path) -> None:
    sent = tasks.retry.delay(2, str(gate))
    for attempt in (1, 2, 3):
        until(server, sent.id, status="processing", attempt=attempt)
        gate.with_name(f"{gate.name}-{attempt}").touch()
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["attempt"]) == (2, 3)
    # The wait for an attempt is not always seen: another process may report the attempt itself first.
    seen = [step for step in steps(server, sent.id) if step[1] != "queued"]
    assert seen == [(1, "processing"), (2, "processing"), (3, "processing"), (3, "completed")]
    for each in history(server, sent.id):
        if each["status"] == "queued" and each["attempt"] > 1:
            assert without_frame(each["message"]) == f"Retry {each['attempt'] - 1}: OSError: the disk is busy"


def test_a_retry_names_its_task_and_its_reason(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.retry_later.delay()
    waiting = until(server, sent.id, status="queued", attempt=2)
    assert waiting["metadata"] == {"task": "celery_tasks.retry_later"}
    assert waiting["message"] == "Retry 1: ValueError: not yet"
    sent.revoke()


def test_retries_that_are_used_up(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.always_fail.delay()
    assert without_frame(until(server, sent.id, status="failed")["error"]) == "OSError: never"
    assert steps(server, sent.id)[-1] == (2, "failed")


def test_revoked_before_it_runs(server: LiveServer, worker: LiveWorker, gate: Path) -> None:
    blocking = [tasks.wait.delay(str(gate.with_name(f"gate-{n}"))) for n in (1, 2)]
    for each in blocking:
        until(server, each.id, status="processing")
    sent = tasks.add.delay(1, 2)
    sent.revoke()
    flagged = "Tasks flagged as revoked: "
    eventually(lambda: f"{flagged}{sent.id}" in worker.said(), "the worker's hearing of it")
    for n in (1, 2):
        gate.with_name(f"gate-{n}").touch()
    assert until(server, sent.id, status="cancelled")["message"] == "Revoked"
    for each in blocking:
        until(server, each.id, status="completed")
    assert until(server, sent.id)["metadata"] == {"task": "celery_tasks.add"}


def test_revoked_while_it_runs(server: LiveServer, worker: LiveWorker, gate: Path) -> None:
    sent = tasks.wait.delay(str(gate))
    pid_of(gate)
    sent.revoke(terminate=True)
    assert until(server, sent.id, status="cancelled")["message"] == "Terminated"
    assert until(server, sent.id)["metadata"]["task"].startswith("celery_tasks.")


def test_cancelled_by_a_watcher(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.move.delay()
    until(server, sent.id, cancellable=True)
    request(server, sent.id, action="cancel", by="alice")
    end = until(server, sent.id, status="cancelled")
    assert (end["message"], end["requested"]["by"]) == ("Terminated", "alice")
    assert any(state.get("acknowledged") == "cancel" for state in history(server, sent.id))


def test_revoked_in_a_pool_of_greenlets(server: LiveServer, own: Own, gate: Path) -> None:
    pytest.importorskip("gevent")
    own.start("--pool", "gevent")
    sent = own.send(tasks.wait, str(gate))
    until(server, sent.id, status="processing")

    def revoked() -> bool:
        # This pool takes tasks before its worker listens to what is broadcast.
        sent.revoke(terminate=True, wait=True, timeout=0.5)
        return (state(server, sent.id) or {}).get("status") != "processing"

    eventually(revoked, "the revoked task's end")
    end = until(server, sent.id, status="cancelled")
    assert end["metadata"] == {"task": "celery_tasks.wait"}


def test_expired(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.add.apply_async((1, 2), expires=-1)
    assert until(server, sent.id, status="cancelled")["message"] == "Expired"


def test_kill_9_of_the_child(server: LiveServer, worker: LiveWorker, gate: Path) -> None:
    sent = tasks.wait.delay(str(gate))
    os.kill(pid_of(gate), signal.SIGKILL)
    end = until(server, sent.id, status="failed")
    assert "signal 9 (SIGKILL)" in end["error"]
    assert until(server, tasks.add.delay(1, 2).id, status="completed")["result"] == 3


def test_kill_9_of_the_child_of_a_task_that_is_run_again(server: LiveServer, worker: LiveWorker, gate: Path) -> None:
    sent = tasks.die_once.delay(str(gate))
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["attempt"]) == ("survived", 2)
    assert not {status for _, status in steps(server, sent.id)} & {"failed", "cancelled"}


def test_a_task_that_takes_too_long(server: LiveServer, worker: LiveWorker, gate: Path) -> None:
    sent = tasks.too_long.delay(str(gate))
    end = until(server, sent.id, status="failed")
    assert end["error"].startswith("TimeLimitExceeded: ")
    assert end["metadata"]["task"].startswith("celery_tasks.")


def test_exceptions_that_end_the_child(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.leave.delay()
    until(server, sent.id, status="failed")


def test_rejected(server: LiveServer, worker: LiveWorker, gate: Path) -> None:
    sent = tasks.reject.delay()
    assert "not for me" in until(server, sent.id, status="failed")["error"]
    sent = tasks.reject_once.delay(str(gate))
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["attempt"]) == ("accepted", 2)


def test_replaced(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.replace.delay()
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["attempt"]) == (5, 2)


def test_an_end_that_the_task_wrote_itself(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.fail_by_hand.delay()
    assert until(server, sent.id, status="failed")["error"] == "['by hand']"


def test_results_that_are_not_json(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.large.delay()
    assert "result" not in until(server, sent.id, status="completed")
    assert len(sent.get(timeout=60)) == 100_000
    sent = tasks.unknown_to_json.delay()
    assert "not JSON serializable" in until(server, sent.id, status="failed")["error"]


def test_the_tasks_code_finds_its_job(server: LiveServer, worker: LiveWorker) -> None:
    sent = tasks.with_a_bar.delay()
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["metadata"]["current"]) == (sent.id, 5)
    assert milepost.current() is None


def test_sigterm_to_the_parent_lets_tasks_finish(server: LiveServer, own: Own, gate: Path) -> None:
    worker = own.start("--max-tasks-per-child", "1")
    sent = own.send(tasks.wait, str(gate))
    pid_of(gate)
    worker.terminate()
    eventually(lambda: "Warm shutdown" in worker.said(), "the shutdown")
    until(server, sent.id, status="processing")
    gate.touch()
    assert worker.wait() == 0
    # After this the process is gone, so the end has to be reported before.
    found = state(server, sent.id)
    assert found is not None
    assert (found["status"], found["result"]) == ("completed", "waited")


def test_sigquit_to_the_parent_ends_tasks(server: LiveServer, own: Own, gate: Path) -> None:
    worker = own.start()
    sent = own.send(tasks.wait, str(gate))
    pid_of(gate)
    until(server, sent.id, status="processing")
    worker.process.send_signal(signal.SIGQUIT)
    worker.wait()
    assert until(server, sent.id, status="cancelled")["message"] == "The worker was shut down"


def test_kill_9_of_the_worker_and_another_takes_over(server: LiveServer, own: Own, gate: Path) -> None:
    worker = own.start()
    sent = own.send(tasks.wait_late, str(gate))
    pid_of(gate)
    until(server, sent.id, status="processing")
    worker.kill()
    found = state(server, sent.id)
    assert found is not None
    assert (found["status"], found["attempt"]) == ("processing", 1)
    gate.touch()
    # It takes what was delivered before it came, as one does that comes an hour later.
    own.start(VISIBILITY_TIMEOUT="0")
    end = until(server, sent.id, status="completed")
    assert (end["result"], end["attempt"]) == ("waited", 2)


def test_a_server_that_is_down_harms_no_task(own: Own, gate: Path) -> None:
    worker = own.start(MILEPOST_URL="http://127.0.0.1:1")
    assert own.send(tasks.add, 1, 2).get(timeout=60) == 3
    gate.touch()
    assert own.send(tasks.count, 4, str(gate)).get(timeout=60) == "counted"
    with pytest.raises(ValueError, match="as ever"):
        own.send(tasks.fail, "as ever").get(timeout=60)
    eventually(lambda: "cannot report" in worker.said(), "the warning")
    assert worker.said().count("cannot report") == 1


@pytest.fixture
def eagerly() -> Iterator[None]:
    tasks.app.conf.task_always_eager = True
    yield
    tasks.app.conf.task_always_eager = False


def test_eager_tasks(server: LiveServer, eagerly: None, gate: Path) -> None:
    gate.touch()
    assert until(server, tasks.count.delay(4, str(gate)).id, status="completed")["attempt"] == 1
    error = until(server, tasks.fail.delay("eagerly").id, status="failed")["error"]
    assert without_frame(error) == "ValueError: eagerly"
    end = until(server, tasks.retry.delay(1).id, status="completed")
    assert (end["result"], end["attempt"]) == (1, 2)
    assert milepost.current() is None


def test_no_fault_of_a_report_reaches_a_task(eagerly: None, monkeypatch: pytest.MonkeyPatch, warnings: Any) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of its own")

    for name in ("Task", "Meta", "report"):
        monkeypatch.setattr(f"milepost.celery.{name}", fail)
    assert tasks.add.delay(1, 2).get() == 3
    assert len(warnings()) == 1


def test_only_some_tasks(server: LiveServer, eagerly: None) -> None:
    milepost.celery.install(only=lambda name: name.endswith(".fail"))
    try:
        sent = tasks.add.delay(1, 2)
        until(server, tasks.fail.delay("reported").id, status="failed")
        assert state(server, sent.id) is None
    finally:
        milepost.celery.install()
