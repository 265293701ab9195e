"""Tasks that know nothing of Milepost, but for the one that says so; and their app, as `celery -A celery_tasks` finds
it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Celery, chain, group
from celery.exceptions import Ignore, Reject

import milepost.celery

app = Celery("celery_tasks", broker=os.environ.get("BROKER"), backend=os.environ.get("BROKER"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": int(os.environ.get("VISIBILITY_TIMEOUT", "3600"))},
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
)
milepost.celery.install(app, cancellable=True)


def wait_for(gate: str) -> None:
    deadline = time.monotonic() + 60
    while not Path(gate).exists():
        assert time.monotonic() < deadline, f"nobody opens {gate}"
        time.sleep(0.01)


@app.task
def add(a: int, b: int) -> int:
    return a + b


@app.task
def many(number: int) -> list[int]:
    return list(range(number))


@app.task(bind=True)
def count(self: Any, total: int, gate: str) -> str:
    for current in range(total):
        if current == total // 2:
            wait_for(gate)
        self.update_state(state="PROGRESS", meta={"current": current, "total": total, "status": f"Frame {current}"})
    return "counted"


@app.task(bind=True)
def move(self: Any) -> None:
    for current in range(6_000):
        self.update_state(state="PROGRESS", meta={"current": current})
        time.sleep(0.01)


@app.task(bind=True)
def download(self: Any, gate: str) -> None:
    self.update_state(state="DOWNLOADING", meta={"percent": 40, "url": "https://example.com/v"})
    wait_for(gate)


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


@app.task(bind=True, max_retries=3)
def retry(self: Any, failures: int, gate: str = "") -> int:
    if gate:
        wait_for(f"{gate}-{self.request.retries + 1}")
    if self.request.retries < failures:
        try:
            raise OSError("the disk is busy")
        except OSError as error:
            raise self.retry(exc=error, countdown=0.3) from None
    return int(self.request.retries)


@app.task(bind=True)
def retry_later(self: Any) -> None:
    raise self.retry(exc=ValueError("not yet"), countdown=3600)


@app.task(autoretry_for=(OSError,), max_retries=1, default_retry_delay=0.1)
def always_fail() -> None:
    raise OSError("never")


@app.task
def wait(gate: str) -> str:
    Path(f"{gate}.pid").write_text(str(os.getpid()))
    wait_for(gate)
    return "waited"


@app.task(time_limit=1)
def too_long(gate: str) -> None:
    wait_for(gate)


@app.task(acks_late=True, reject_on_worker_lost=True)
def die_once(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task(acks_late=True)
def wait_late(gate: str) -> str:
    Path(f"{gate}.pid").write_text(str(os.getpid()))
    wait_for(gate)
    return "waited"


@app.task
def leave() -> None:
    raise SystemExit(3)


@app.task(acks_late=True)
def reject() -> None:
    raise Reject("not for me", requeue=False)


@app.task(acks_late=True)
def reject_once(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).touch()
        raise Reject("later", requeue=True)
    return "accepted"


@app.task(bind=True)
def fail_by_hand(self: Any) -> None:
    self.update_state(state="FAILURE", meta={"exc_type": "ValueError", "exc_message": ["by hand"]})
    raise Ignore


@app.task
def large() -> str:
    return "x" * 100_000


@app.task
def unknown_to_json() -> object:
    return object()


@app.task(bind=True)
def replace(self: Any) -> None:
    raise self.replace(add.s(2, 3))


@app.task
def with_a_bar() -> str:
    job = milepost.current()
    assert job is not None
    for _ in milepost.tqdm(range(5), desc="rendering", disable=None):
        pass
    return job.id


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(bind=True)
def replace_by_chain(self: Any) -> None:
    raise self.replace(chain(add.s(1, 2), add.s(3)))


@app.task
def send_group() -> str:
    sent: str = group(add.s(1, 2), add.s(3, 4)).apply_async().id
    return sent
