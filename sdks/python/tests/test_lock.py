"""The lock under which jobs change: nobody waits for it who may be waited for, and its holder waits for nothing."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_server import FakeServer
from live_server import PATIENCE, eventually
from test_processes import Worker

import milepost
from milepost import _left_loop, tqdm
from milepost._inbox import Inbox
from milepost._memory import LOCK
from milepost._threads import Thread

Make = Callable[..., milepost.Reporter]


@pytest.fixture
def sent(fake: Callable[..., FakeServer]) -> Iterator[Callable[[str, str], bool]]:
    """Whether a state with that field and value has arrived."""
    server = fake()
    reporter = milepost.configure(server.url)
    yield lambda field, value: any(update.get(field) == value for update in server.updates)
    reporter.close()


def quiet() -> dict[str, Any]:
    return {"file": io.StringIO(), "mininterval": 0, "miniters": 1}


def in_a_thread(action: Callable[[], object]) -> None:
    """Runs it in another thread, and waits for its end."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_thread_is_begun_while_a_finaliser_waits_for_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]

    def begin_with_finaliser(thread: threading.Thread) -> None:
        # What the garbage collector may run at any moment: a job that was dropped ends under the lock.
        with LOCK:
            pass
        begin(thread)

    monkeypatch.setattr(threading.Thread, "_bootstrap_inner", begin_with_finaliser)
    ran = threading.Event()
    with LOCK:
        Thread(ran.set, "milepost").start()
    assert ran.wait(60)


def drop_a_job(job_id: str) -> Callable[[], object]:
    return [milepost.job(id=job_id)].clear


def drop_a_bar(job_id: str) -> Callable[[], object]:
    return [tqdm(total=3, job=job_id, **quiet())].clear


def leave_a_loop(job_id: str) -> Callable[[], object]:
    loop: Any = iter(milepost.track(range(3), id=job_id))
    next(loop)
    return lambda: loop.close()


def close_a_bar(job_id: str) -> Callable[[], object]:
    return tqdm(job=job_id, **quiet()).close


def draw_a_bar(job_id: str) -> Callable[[], object]:
    bar = tqdm(total=3, job=job_id, **quiet())
    keep.append(bar)
    bar.set_postfix_str("drawn", refresh=False)
    return lambda: bar.refresh()


keep: list[object] = []


@pytest.mark.parametrize(
    ("begin", "field", "value"),
    [
        (drop_a_job, "error", "dropped without an outcome"),
        (drop_a_bar, "error", "dropped without an outcome"),
        (leave_a_loop, "status", "cancelled"),
        (close_a_bar, "status", "completed"),
        (draw_a_bar, "message", "drawn"),
    ],
)
def test_who_does_not_wait_for_the_lock(
    sent: Callable[[str, str], bool],
    job_id: str,
    begin: Callable[[str], Callable[[], object]],
    field: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_left_loop, "PATIENCE", 0.01)
    action = begin(job_id)
    with LOCK:
        in_a_thread(action)
    eventually(lambda: sent(field, value))
    keep.clear()


def test_a_bar_is_collected_while_another_is_drawn(sent: Callable[[str, str], bool], job_id: str) -> None:
    """Drawing holds the lock of tqdm's, for which the dropped bar's finaliser waits with the lock of ours held."""
    drawn = tqdm(total=3, job=job_id, **quiet())
    dropped = [tqdm(total=3, job=f"{job_id}-dropped", **quiet())]
    is_drawing, is_dropping = threading.Event(), threading.Event()

    def draw() -> None:
        with tqdm.get_lock():
            is_drawing.set()
            is_dropping.wait(PATIENCE)
            drawn.set_postfix_str("drawn", refresh=False)
            drawn.display()

    def collect() -> None:
        cycle: list[object] = [dropped.pop()]
        cycle.append(cycle)
        is_drawing.wait(PATIENCE)
        with LOCK:
            is_dropping.set()
            del cycle
            gc.collect()

    drawing = threading.Thread(target=draw, daemon=True)
    drawing.start()
    in_a_thread(collect)
    drawing.join(PATIENCE)
    assert not drawing.is_alive()
    eventually(lambda: sent("message", "drawn") and sent("error", "dropped without an outcome"))
    drawn.close()


def test_a_finaliser_that_runs_in_the_sender(
    fake: Callable[..., FakeServer], reporter: Make, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a change, where the sender holds the lock."""
    from milepost import _record

    server = fake()
    make = reporter(server.url)
    dropped = [make.job(id=f"{job_id}-dropped")]
    encode = _record.Record.encode

    def encode_and_collect(record: Any, now: float) -> Any:
        with LOCK:
            dropped.clear()
            return encode(record, now)

    monkeypatch.setattr(_record.Record, "encode", encode_and_collect)
    job = make.job(id=job_id)
    job.complete()
    assert make.flush(PATIENCE)
    eventually(lambda: {update["status"] for update in server.updates} >= {"completed", "failed"})


def test_a_wait_that_is_over_at_once_ends() -> None:
    """Before Python 3.13, `SimpleQueue.get` waits for ever if its timeout is over while it looks."""

    def wait_again_and_again() -> None:
        for _ in range(12_000):
            Inbox(1).wait(1e-7)

    in_a_thread(wait_again_and_again)


WATCHED = """
import logging, threading
from milepost import _memory

found = []

def look(event, *_):
    # Also a file that is opened, or an address that is looked up.
    if event in ("import", "open", "socket.connect", "socket.getaddrinfo", "logging") and _memory.is_held():
        found.append(event)

class Handler(logging.Handler):
    def emit(self, record):
        look("logging")

def start(thread, start=threading.Thread.start):
    if _memory.is_held():
        found.append("start of a thread")
    start(thread)

threading.Thread.start = start
logging.getLogger("milepost").addHandler(Handler())
sys.addaudithook(look)
"""
JUDGED = """
milepost.flush(0.1)
print(sorted(set(found)), flush=True)
os._exit(0)
"""
CODE = {
    "job": "with milepost.job(id='a', total='x', tags=3) as job: job.message('b'); job.metadata(c={1, 2}, d=open)",
    "report": "milepost.report('a', result=open, metadata={'b': 'c' * 70_000})",
    "tqdm": "for x in milepost.tqdm(range(3), job='a', desc='d' * 999, postfix={'b': 1}): pass",
    "compat": "import asyncio; from milepost import compat; asyncio.run(compat.ProgressReporter().report('a', '', 0))",
    "task": "from milepost._task import Task; t = Task('a', 1, {'task': 'b'}); t.hand_over(2, 'c'); t.leave()",
    "track": "for x in milepost.track(range(3), 'a'): pass",
    "url": "import os; os.environ['MILEPOST_URL'] = 'what is this'; milepost.job('a').complete()",
}


@pytest.mark.parametrize("name", CODE)
def test_who_holds_the_lock_waits_for_nothing(name: str) -> None:
    worker = Worker(f"{WATCHED}\n{CODE[name]}\n{JUDGED}", "http://127.0.0.1:1")
    worker.until_it_says("[]")
    assert worker.finish()[0] == 0
