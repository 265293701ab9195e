"""Functions for RQ that know nothing of Milepost, but for the one that says so."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from rq import Retry, get_current_job

import milepost
import milepost.rq


class CancellableWorker(milepost.rq.Worker):
    cancellable = True


def wait_for(gate: str) -> None:
    deadline = time.monotonic() + 60
    while not Path(gate).exists():
        assert time.monotonic() < deadline, f"nobody opens {gate}"
        time.sleep(0.01)


def add(a: int, b: int) -> int:
    return a + b


def count(total: int, gate: str) -> str:
    job: Any = get_current_job()
    for current in range(total):
        if current == total // 2:
            wait_for(gate)
        job.meta.update(current=current, total=total, message=f"Frame {current}")
        job.save_meta()
    return "counted"


def move() -> None:
    for current in range(6_000):
        job: Any = milepost.current()
        job.update(current=current)
        time.sleep(0.01)


def percent(gate: str) -> None:
    job: Any = get_current_job()
    for progress in (1, 40):
        job.meta["progress"] = progress
        job.save_meta()
    wait_for(gate)


def fail(text: str) -> None:
    raise ValueError(text)


def fail_until(mark: str, failures: int) -> str:
    path = Path(mark)
    done = len(path.read_text()) if path.exists() else 0
    if done < failures:
        path.write_text("x" * (done + 1))
        raise OSError("the disk is busy")
    return "done"


def ask_for_retries(most: int) -> Any:
    return Retry(max=most)


def wait(gate: str) -> str:
    Path(f"{gate}.pid").write_text(str(os.getpid()))
    wait_for(gate)
    return "waited"


def die_once(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def leave() -> None:
    raise SystemExit(3)


def with_a_bar() -> str:
    job = milepost.current()
    assert job is not None
    for _ in job.track(range(5), stage="rendering"):
        pass
    return job.id
