"""A task of a queue, which one process puts into the queue and another one runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

import pytest
from live_redis import LiveRedis
from live_server import LiveServer

import milepost
from milepost._task import Task, queued


@pytest.fixture(params=["server", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    where: Union[LiveServer, LiveRedis] = request.getfixturevalue(request.param)
    return where.url


def test_a_late_queued_does_not_hide_that_a_task_runs(
    url: str, job_id: str, reporter: Callable[..., milepost.Reporter]
) -> None:
    def status() -> str:
        state = milepost.status(job_id, url=url)
        assert state is not None
        assert "unless_known" not in state
        return state.status

    sender, worker = reporter(url), milepost.configure(url)
    for attempt in (1, 2):
        task = Task(job_id, attempt, {"task": "render"})
        assert worker.flush(60)
        # The report of the process that has sent the task arrives only now.
        sender.give(job_id, queued(job_id, attempt, None, "render", None), "queued", "queued", reopens=False)
        assert sender.flush(60)
        assert status() == "processing"
        task.leave()
        # The next attempt is known to wait before it runs.
        task.hand_over(attempt + 1, "Retry")
        assert worker.flush(60)
        assert status() == "queued"
    worker.close()
