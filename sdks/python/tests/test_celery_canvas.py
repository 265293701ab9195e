"""Groups, chords and chains of Celery as watchers see them: real workers with forked children, on a real Redis."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery_tasks as tasks
import pytest
from celery import chain, chord, group
from live_redis import LiveRedis
from live_server import LiveServer
from live_worker import LiveWorker
from reported import jobs_of, state, steps, until, without_frame
from test_celery import pid_of, reporting

import milepost

__all__ = ["reporting"]
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")


def ended(server: LiveServer, job_id: str, status: str) -> dict[str, Any]:
    """How many children the job has with each status, once it has ended so."""
    found = until(server, job_id, status=status)
    return {name: count for name, count in found["children"].items() if count and name != "progress"}


def children(server: LiveServer, job_id: str) -> dict[str, str]:
    """The statuses of the job's children."""
    return {each["job_id"]: each["status"] for each in jobs_of(server, job_id)}


def test_a_group_is_a_job(server: LiveServer, worker: LiveWorker) -> None:
    sent = group(tasks.add.s(number, 1) for number in range(5)).apply_async()
    assert ended(server, sent.id, "completed") == {"expected": 5, "completed": 5}
    found = until(server, sent.id)
    assert (found["name"], found["message"]) == ("group of celery_tasks.add", "All 5 children have completed")
    assert children(server, sent.id) == {each.id: "completed" for each in sent}
    assert sent.get(timeout=60) == [1, 2, 3, 4, 5]


def test_a_group_shows_failures_and_retries(server: LiveServer, worker: LiveWorker) -> None:
    sent = group(tasks.fail.s("no such video"), tasks.retry.s(1)).apply_async()
    assert ended(server, sent.id, "failed") == {"expected": 2, "completed": 1, "failed": 1}
    failed, retried = (until(server, each.id) for each in sent)
    assert until(server, sent.id)["error"] == "1 of 2 children failed"
    assert without_frame(failed["error"]) == "ValueError: no such video"
    assert (retried["attempt"], retried["parent_id"]) == (2, sent.id)


def test_the_callback_of_a_chord_is_a_child_too(server: LiveServer, worker: LiveWorker) -> None:
    sent = chord([tasks.add.s(1, 2), tasks.add.s(3, 4)])(tasks.total.s())
    assert ended(server, sent.parent.id, "completed")["expected"] == 3
    assert until(server, sent.parent.id)["name"] == "chord of celery_tasks.add"
    assert until(server, sent.id)["parent_id"] == sent.parent.id
    assert sent.get(timeout=60) == 10


def test_the_callback_of_a_chord_that_fails_is_not_run(server: LiveServer, worker: LiveWorker) -> None:
    sent = chord([tasks.add.s(1, 2), tasks.fail.s("no such video")])(tasks.total.s())
    counts = ended(server, sent.parent.id, "failed")
    assert counts == {"expected": 3, "completed": 1, "failed": 1, "cancelled": 1}
    message = until(server, sent.id, status="cancelled")["message"]
    assert message.startswith("Not run: Dependency")
    assert "no such video" in message


def test_a_chain_is_a_job(server: LiveServer, worker: LiveWorker) -> None:
    sent = chain(tasks.add.s(1, 2), tasks.retry.si(1), tasks.add.s(4)).apply_async()
    assert ended(server, f"chain:{sent.id}", "completed") == {"expected": 3, "completed": 3}
    ids = [sent.parent.parent.id, sent.parent.id, sent.id]
    assert children(server, f"chain:{sent.id}") == dict.fromkeys(ids, "completed")
    assert until(server, f"chain:{sent.id}")["name"] == "chain of celery_tasks.add"
    assert until(server, sent.id)["result"] == 5


def test_the_rest_of_a_chain_that_breaks_is_not_run(server: LiveServer, worker: LiveWorker) -> None:
    sent = chain(tasks.add.s(1, 2), tasks.fail.si("no"), tasks.add.si(1, 1), tasks.add.s(4)).apply_async()
    counts = ended(server, f"chain:{sent.id}", "failed")
    assert counts == {"expected": 4, "completed": 1, "failed": 1, "cancelled": 2}
    assert until(server, sent.id, status="cancelled")["message"] == "Not run: celery_tasks.fail failed"


@pytest.mark.parametrize(("how", "status"), [("revoke", "cancelled"), ("kill", "failed")])
def test_a_chain_whose_task_is_stopped(
    server: LiveServer, worker: LiveWorker, tmp_path: Path, how: str, status: str
) -> None:
    gate = tmp_path / "gate"
    sent = chain(tasks.wait.si(str(gate)), tasks.add.si(1, 1)).apply_async()
    pid = pid_of(gate)
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
    else:
        sent.parent.revoke(terminate=True)
    ended(server, f"chain:{sent.id}", status)
    assert until(server, sent.id, status="cancelled")["message"].startswith("Not run: celery_tasks.wait")


def test_canvases_in_canvases_are_a_tree(server: LiveServer, worker: LiveWorker) -> None:
    first = chain(tasks.add.s(1, 2), tasks.add.s(3))
    sent = group(first, chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s())).apply_async()
    assert ended(server, sent.id, "completed") == {"expected": 2, "completed": 2}
    found = children(server, sent.id)
    assert found == {f"chain:{sent[0].id}": "completed", sent[1].parent.id: "completed"}
    assert set(children(server, f"chain:{sent[0].id}")) == {sent[0].parent.id, sent[0].id}
    assert len(children(server, sent[1].parent.id)) == 3


def test_a_group_amid_a_chain_is_a_chord(server: LiveServer, worker: LiveWorker) -> None:
    """What comes after the group is its callback: until Celery 5.7 the rest of the chain."""
    sent = (tasks.add.s(1, 2) | group(tasks.add.s(1), tasks.add.s(2)) | tasks.total.s() | tasks.add.s(1)).apply_async()
    assert sent.get(timeout=60) == 10
    assert ended(server, f"chain:{sent.id}", "completed")["expected"] in (2, 3)
    (chord_job,) = (each for each in jobs_of(server, f"chain:{sent.id}") if each["name"].startswith("chord"))
    assert ended(server, chord_job["job_id"], "completed")["expected"] == 3


def test_a_chain_may_be_the_callback_of_a_chord(server: LiveServer, worker: LiveWorker) -> None:
    header = [tasks.add.s(1, 2), tasks.add.s(3, 4)]
    sent = chord(header)(chain(tasks.total.s(), tasks.add.s(1)))
    assert sent.get(timeout=60) == 11
    chord_id = sent.parent.id
    assert ended(server, chord_id, "completed") == {"expected": 3, "completed": 3}
    assert ended(server, f"chain:{chord_id}", "completed") == {"expected": 2, "completed": 2}


def test_a_replaced_task_stays_in_its_group(server: LiveServer, worker: LiveWorker) -> None:
    sent = group(tasks.replace_by_chain.s(), tasks.add.s(1, 2)).apply_async()
    assert sent.get(timeout=60) == [6, 3]
    assert ended(server, sent.id, "completed")["expected"] == 2
    assert until(server, sent[0].id)["attempt"] == 2
    assert "cancelled" not in {status for _, status in steps(server, sent[0].id)}


def test_a_group_that_a_task_sends(server: LiveServer, worker: LiveWorker) -> None:
    group_id = until(server, tasks.send_group.delay().id, status="completed")["result"]
    assert ended(server, group_id, "completed")["expected"] == 2
    assert "parent_id" not in until(server, group_id)


@pytest.fixture
def eagerly() -> Iterator[None]:
    tasks.app.conf.task_always_eager = True
    yield
    tasks.app.conf.task_always_eager = False


def test_eager_canvases_have_no_job(server: LiveServer, broker: LiveRedis, eagerly: None) -> None:
    sent = group(tasks.add.s(1, 2), tasks.add.s(3, 4)).apply_async()
    assert sent.get() == [3, 7]
    until(server, sent[0].id, status="completed")
    assert milepost.flush(60)
    assert state(server, sent.id) is None
    assert chord([tasks.add.s(1, 2)])(tasks.total.s()).get() == 3


def test_no_fault_of_a_report_reaches_a_canvas(
    eagerly: None, broker: LiveRedis, monkeypatch: pytest.MonkeyPatch, warnings: Any
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of its own")

    tasks.app.conf.task_always_eager = False
    for name in ("Canvas", "begin_whole", "is_cancelled"):
        monkeypatch.setattr(f"milepost._celery_canvas.{name}", fail)
    queue = {"queue": "nobody"}
    group(tasks.add.s(1, 2), tasks.add.s(3, 4)).apply_async(**queue)
    chord([tasks.add.s(1, 2).set(**queue)])(tasks.total.s().set(**queue))
    chain(tasks.add.s(1, 2), tasks.add.s(3)).apply_async(**queue)
    assert warnings()
