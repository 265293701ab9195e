"""A job's log and its artifacts, on a real server."""

from __future__ import annotations

import json
import logging
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Optional, Union

import pytest
from fake_server import Answer, FakeServer, Request, accept, http, problem, refuse
from live_redis import LiveRedis
from live_server import LiveServer, eventually
from reported import until
from test_processes import Worker

import milepost
from milepost import _backoff, _log_sender
from milepost._log_lines import MAX_LINES
from milepost._log_sender import LogSender
from milepost._memory import LOCK
from milepost._outcome import Busy, Lost, Refused
from milepost._record import Record

Make = Callable[..., milepost.Reporter]


def log_of(server: LiveServer, job_id: str) -> list[dict[str, Any]]:
    """The lines; none where the job is not known yet."""
    try:
        with urllib.request.urlopen(f"{server.url}/jobs/{job_id}/log") as answer:
            lines: list[dict[str, Any]] = json.load(answer)["lines"]
            return lines
    except urllib.error.HTTPError:
        return []


def texts(server: LiveServer, job_id: str) -> list[str]:
    return [line["text"] for line in log_of(server, job_id)]


@pytest.fixture
def job(server: LiveServer, reporter: Make, job_id: str) -> milepost.Job:
    return reporter(server.url).job(id=job_id)


@pytest.fixture
def logger(job_id: str) -> Iterator[logging.Logger]:
    logger = logging.getLogger(job_id)
    logger.propagate = False
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def test_lines_are_in_the_log_in_order(server: LiveServer, job: milepost.Job) -> None:
    job.log("opening\nreading")
    job.log("disk is nearly full", stream="stderr")
    job.log(400)
    eventually(lambda: len(log_of(server, job.id)) == 4)
    lines = log_of(server, job.id)
    assert [line["text"] for line in lines] == ["opening", "reading", "disk is nearly full", "400"]
    assert lines[2]["stream"] == "stderr"
    assert lines[0]["at"].endswith("Z")


def test_a_process_that_ends_has_sent_its_log(server: LiveServer, job_id: str) -> None:
    worker = Worker(f"with milepost.job(id={job_id!r}) as job: job.log('the last line')", server.url)
    assert worker.finish() == (0, "")
    assert texts(server, job_id) == ["the last line"]


def test_a_stream_that_is_none_is_warned_of(
    server: LiveServer, job: milepost.Job, warnings: Callable[[], list[str]]
) -> None:
    job.log("a line", stream="out")
    eventually(lambda: texts(server, job.id) == ["a line"])
    assert warnings() == ["stream is ignored: it takes stdout or stderr, not out"]


def test_what_is_too_much_is_left_out_and_says_so(server: LiveServer, job: milepost.Job) -> None:
    # Without the lock the sender does not get to them.
    with LOCK:
        for n in range(MAX_LINES + 10):
            job.log(f"line {n}")
        assert len(job._record.log._lines) == MAX_LINES
    eventually(lambda: len(log_of(server, job.id)) == MAX_LINES + 1)
    assert texts(server, job.id)[:2] == ["(milepost: 10 lines are left out here)", "line 10"]


def test_a_server_that_was_away_gets_the_log(
    fake: Callable[..., FakeServer], reporter: Make, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backoff, "FIRST", 0.01)
    # The second is a proxy's.
    others = [http(404, "<html>"), http(404, problem(404, "unknown-job")), http(503, problem(503, "broker-full"))]
    tries = iter([None, *others])

    def answer(request: Request) -> Answer:
        if request.path.endswith("/log"):
            return next(tries, http(200, "{}"))
        return accept(request)

    server = fake(answer)
    job = reporter(server.url).job(id=job_id)
    job.log("a line")

    def sent() -> list[bytes]:
        return [request.body for request in list(server.requests) if request.path.endswith("/log")]

    eventually(lambda: len(sent()) == 5)
    assert {json.loads(body)["text"] for body in sent()} == {"a line"}


def test_a_job_whose_log_has_to_wait_delays_no_other(fake: Callable[..., FakeServer], reporter: Make) -> None:
    def answer(request: Request) -> Answer:
        if request.path == "/jobs/first/log":
            return http(404, problem(404, "unknown-job"))
        return http(200, "{}") if request.path.endswith("/log") else accept(request)

    server = fake(answer)
    make = reporter(server.url)
    first, second = make.job(id="first"), make.job(id="second")
    with LOCK:
        first.log("a line")
        second.log("a line")
    eventually(lambda: "/jobs/second/log" in [request.path for request in list(server.requests)])
    assert "/jobs/first/log" in [request.path for request in list(server.requests)]


def test_a_time_that_is_none_is_left_to_the_server(
    server: LiveServer, reporter: Make, job_id: str, logger: logging.Logger
) -> None:
    make = reporter(server.url)
    job = make.job(id=job_id)
    handler = milepost.LogHandler(job)
    for created in (float("nan"), 1e300, "noon"):
        handler.handle(logging.makeLogRecord({"name": job_id, "msg": f"at {created}", "created": created}))
    eventually(lambda: texts(server, job_id) == ["at nan", "at 1e+300", "at noon"])
    job.complete()
    assert make.flush(60)
    assert until(server, job_id, status="completed")


class Wire:
    """A transport of logs, without a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.outcome: Union[Exception, Busy, Refused, None] = None
        self.sent: list[str] = []
        self.logs = LogSender(self, random.Random(1), lambda: self.now)  # type: ignore[arg-type]

    def append_log(self, job_id: str, lines: bytes, timeout: float) -> Optional[Union[Busy, Refused]]:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome is None:
            self.sent += [json.loads(line)["text"] for line in lines.splitlines()]
        return self.outcome

    def write(self, record: Record, text: str) -> None:
        """As an inbox and a sender do."""
        record.log.append(text, None, None)
        if not record.log.is_announced:
            record.log.is_announced = True
            self.logs.written(record, self.now)

    def turn(self) -> None:
        at = self.logs.wake_at()
        if at is not None:
            self.now = max(self.now, at)
        self.logs.send_due(lambda: 1.0, is_flush=False)


@pytest.mark.parametrize("outcome", [Lost("no answer"), OSError("unexpected"), Busy("not now")], ids=repr)
def test_a_log_that_cannot_be_sent_is_bounded(outcome: Union[Exception, Busy]) -> None:
    wire, record = Wire(), Record("a")
    wire.outcome = outcome
    for n in range(20):
        wire.write(record, "\n".join(f"{n} {each}" for each in range(MAX_LINES)))
        wire.turn()
    (pending,) = wire.logs._pending.values()
    assert len(pending.lines) + len(record.log._lines) == 2 * MAX_LINES
    wire.outcome = None
    wire.turn()
    assert wire.logs.wake_at() is None
    assert wire.sent[MAX_LINES] == f"(milepost: {18 * MAX_LINES} lines are left out here)"
    assert wire.sent[-1] == f"19 {MAX_LINES - 1}"


def test_of_one_long_text_the_end_is_kept_and_says_so() -> None:
    wire, record = Wire(), Record("a")
    wire.write(record, "\n".join(f"line {n}" for n in range(MAX_LINES + 10)))
    wire.turn()
    assert wire.sent[:2] == ["(milepost: 10 lines are left out here)", "line 10"]


def test_a_job_whose_lines_were_dropped_is_logged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_log_sender, "MAX_JOBS", 2)
    wire = Wire()
    records = [Record(f"job {n}") for n in range(3)]
    for record in records:
        wire.write(record, record.job_id)
    wire.turn()
    assert wire.sent == ["job 1", "job 2"]
    wire.write(records[0], "more")
    wire.turn()
    assert wire.sent[2:] == ["job 0", "more"]


def test_a_refused_log_is_warned_of_once_and_harms_nothing(
    fake: Callable[..., FakeServer], reporter: Make, job_id: str, warnings: Callable[[], list[str]]
) -> None:
    def answer(request: Request) -> Answer:
        return refuse(413, "batch-too-large")(request) if request.path.endswith("/log") else accept(request)

    server = fake(answer)
    make = reporter(server.url)
    job = make.job(id=job_id)
    for _ in range(2):
        job.log("a line")
        assert make.flush(60)
    job.complete()
    assert make.flush(60)
    assert server.updates[-1]["status"] == "completed"
    assert warnings() == [f"the log of {job_id} is not sent: because"]


def test_large_logs_go_in_several_requests(server: LiveServer, job: milepost.Job) -> None:
    job.log("\n".join(f"{n} " + "x" * 4_000 for n in range(100)))
    eventually(lambda: texts(server, job.id)[-1:] == ["99 " + "x" * 4_000])


def test_redis_takes_no_log(redis: LiveRedis, reporter: Make, job_id: str, warnings: Callable[[], list[str]]) -> None:
    make = reporter(redis.url)
    make.job(id=job_id).log("a line")
    assert make.flush(60)
    assert warnings() == [f"the log of {job_id} is not sent: logs take a server's address, http(s)://…, not redis://"]


def test_without_a_server_nothing_is_kept(reporter: Make) -> None:
    job = reporter(None).job()
    job.log("a line")
    assert not job._record.log._lines


def test_what_a_program_logs_is_in_its_jobs_log(server: LiveServer, job: milepost.Job, logger: logging.Logger) -> None:
    handler = milepost.LogHandler(level=logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.warning("outside of any job")
    with job:
        logger.info("below the level")
        logger.warning("%s is nearly full", "disk")
    eventually(lambda: texts(server, job.id) == ["WARNING disk is nearly full"])


def test_the_handler_of_a_job_skips_mileposts_own_warnings(
    server: LiveServer, job: milepost.Job, logger: logging.Logger
) -> None:
    handler = milepost.LogHandler(job)
    logger.addHandler(handler)
    logging.getLogger("milepost").addHandler(handler)
    try:
        job.advance("many")  # type: ignore[arg-type]
        logger.error("a line")
        eventually(lambda: texts(server, job.id) == ["a line"])
    finally:
        logging.getLogger("milepost").removeHandler(handler)


def test_logging_waits_for_no_lock(server: LiveServer, job: milepost.Job, logger: logging.Logger) -> None:
    logger.addHandler(milepost.LogHandler(job))
    thread = threading.Thread(target=logger.error, args=("a line",), daemon=True)
    with LOCK:
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    eventually(lambda: texts(server, job.id) == ["a line"])


def test_artifacts_are_links_of_the_job(server: LiveServer, job: milepost.Job) -> None:
    job.artifact("report", "https://example.com/1.pdf", media_type="application/pdf", size=12)
    job.artifact("video", "/videos/1.mp4")
    job.artifact("report", "https://example.com/2.pdf")
    job.complete()
    assert until(server, job.id, status="completed")["artifacts"] == [
        {"name": "video", "url": "/videos/1.mp4"},
        {"name": "report", "url": "https://example.com/2.pdf"},
    ]


def test_artifacts_for_which_there_is_no_room(
    server: LiveServer, job: milepost.Job, warnings: Callable[[], list[str]]
) -> None:
    for n in range(65):
        job.artifact(f"part {n}", "u")
    job.artifact("", "u")
    job.complete()
    assert len(until(server, job.id, status="completed")["artifacts"]) == 64
    assert warnings() == [
        f"an artifact of {job.id} is ignored: there is room for 64, and for 8,192 bytes of JSON",
        "artifact is ignored: it takes a name and a url",
    ]
