"""Whatever the server does, the job does not suffer: no exception, no waiting, one warning."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, Request, accept, http, problem, refuse
from live_server import LiveServer, eventually, free_port

import milepost

Make = Callable[..., milepost.Reporter]
Warnings = Callable[[], list[str]]
Fake = Callable[..., FakeServer]


def work(make: milepost.Reporter, job_id: str) -> milepost.Job:
    """A job that does all that there is to do."""
    with make.job(id=job_id) as job:
        for _ in job.track(range(1_000), stage="one"):
            job.message("…")
            job.metadata(n=1)
        with job.stage("two", total=5) as stage:
            stage.advance(5)
        job.result([1])
    return job


def test_a_server_that_is_down_and_comes_up(fake: Fake, reporter: Make, job_id: str, warnings: Warnings) -> None:
    port = free_port()
    make = reporter(f"http://127.0.0.1:{port}")
    work(make, job_id)
    eventually(warnings)
    server = fake(accept, port)
    assert eventually(lambda: make.flush(1))
    assert server.updates[-1]["status"] == "completed"
    first, second = warnings()
    assert first.startswith("cannot report to http://127.0.0.1:")
    assert re.fullmatch(r"reporting to http://127.0.0.1:\d+ works again", second)


def test_a_server_that_never_answers(fake: Fake, reporter: Make, job_id: str, warnings: Warnings) -> None:
    never = threading.Event()

    def wait(request: Request) -> bytes:
        never.wait(60)
        return b""

    server = fake(wait)
    make = reporter(server.url, flush_timeout=0.2)
    work(make, job_id)
    assert not make.flush(0.5)
    never.set()
    assert "does not answer in time" in eventually(warnings)[0]
    server.answer = accept
    assert eventually(lambda: make.flush(1))
    assert len(warnings()) == 2


def test_a_server_that_answers_a_byte_at_a_time(reporter: Make, job_id: str, warnings: Warnings) -> None:
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    while not stop.wait(0.02):
                        connection.sendall(b"H")
                except OSError:
                    pass

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        make = reporter(f"http://127.0.0.1:{listener.getsockname()[1]}", flush_timeout=0.2)
        work(make, job_id)
        eventually(warnings)
        make.close()
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


LIES = {
    "nothing": None,
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "half": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "a page": http(200, "<html>"),
    "no JSON": http(200, "{"),
    "other JSON": http(200, "[1]"),
    "another job": http(200, '{"job_id":"another","attempt":1,"position":"1-1"}'),
    "no position": http(200, '{"job_id":"a","attempt":1}'),
    "odd types": http(200, '{"job_id":"a","attempt":"1","position":7}'),
    "moved": http(301, "", "Location: http://127.0.0.1:1/"),
    "an odd status": b"HTTP/1.1 9999 Over\r\n\r\n",
    "an odd length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    "deep JSON": http(200, "[" * 100_000),
    "a large body": http(200, " " * 2_000_000),
    "long headers": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2_000 + b"\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no bytes": b"\xff\xfe\x00\r\n\r\n",
    "failing": http(500, "oops"),
    "overloaded": http(429, "", "Retry-After: 0"),
    "an odd wait": http(503, "", "Retry-After: soon"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies(fake: Fake, reporter: Make, warnings: Warnings, lie: str) -> None:
    server = fake(lambda request: LIES[lie])
    make = reporter(server.url, flush_timeout=1)
    work(make, "a")
    eventually(warnings)
    server.answer = accept
    assert eventually(lambda: make.flush(1))
    assert server.updates[-1]["status"] == "completed"
    assert len(warnings()) == 2, warnings()


def test_a_batch_that_is_answered_wrongly(fake: Fake, reporter: Make, warnings: Warnings) -> None:
    def too_few(request: Request) -> Any:
        answer = accept(request)
        return answer if request.path != "/updates" else http(200, "{}\n")

    server = fake(too_few)
    make = reporter(server.url)
    jobs = [make.job(id=str(number)) for number in range(5)]
    eventually(warnings)
    server.answer = accept
    for job in jobs:
        job.complete()
    assert eventually(lambda: make.flush(1))
    ended = {update["job_id"] for update in server.updates if update["status"] == "completed"}
    assert ended == {job.id for job in jobs}


def test_a_server_without_batches_gets_one_at_a_time(fake: Fake, reporter: Make, warnings: Warnings) -> None:
    def single(request: Request) -> Any:
        return http(404, problem(404, "not-found")) if request.path == "/updates" else accept(request)

    server = fake(single)
    make = reporter(server.url)
    jobs = [make.job(id=str(number)) for number in range(30)]
    for job in jobs:
        job.complete()
    assert eventually(lambda: make.flush(5))
    ended = [request.path for request in server.requests if request.path != "/updates"]
    assert set(ended) >= {f"/jobs/{job.id}" for job in jobs}
    assert warnings() == []


def test_a_server_that_refuses(fake: Fake, reporter: Make, job_id: str, warnings: Warnings) -> None:
    server = fake(refuse(422, "invalid-update", detail="stage is too long"))
    make = reporter(server.url)
    job = work(make, job_id)
    assert make.flush(60)
    assert job.refused == milepost.Refusal("invalid-update", "stage is too long")
    assert warnings() == [f"an update of {job_id} was rejected: stage is too long"]
    # An end that is refused is sent without metadata, then without the result too, and then given up.
    ends = [update for update in server.updates if update["status"] == "completed"]
    assert [sorted({"metadata", "result"} & set(end)) for end in ends] == [["metadata", "result"], ["result"], []]


FOREIGN = {
    "a page": (404, "<html>default backend</html>"),
    "another API's problem": (409, '{"type":"about:blank","title":"Conflict","status":409,"detail":"no"}'),
    "another body": (400, ""),
    "another method": (405, "<html>"),
    "it is gone": (410, "<html>"),
    "another content": (422, "{}"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_a_proxy_answers_costs_nothing(fake: Fake, reporter: Make, warnings: Warnings, case: str) -> None:
    status, body = FOREIGN[case]
    server = fake(lambda request: http(status, body))
    make = reporter(server.url)
    job = work(make, "a")
    assert not make.flush(0.3)
    assert job.refused is None
    server.answer = accept
    assert eventually(lambda: make.flush(1))
    last = server.updates[-1]
    # Nothing was left out for it.
    assert (last["status"], last["result"], "truncated" in last) == ("completed", [1], False)
    first, second = warnings()
    # What may be about the content concerns the job alone.
    alone, all_jobs = "the server cannot accept an update of a now; retrying", f"cannot report to {server.url}"
    assert first.startswith(alone if status in (400, 422) else all_jobs)
    assert first.endswith(f": what answers ({status} Whatever) is not a Milepost server")
    assert second == f"reporting to {server.url} works again"


def test_a_proxy_that_takes_no_body_costs_no_end(fake: Fake, reporter: Make, warnings: Warnings) -> None:
    server = fake(lambda request: http(413, "<html>"))
    make = reporter(server.url)
    job = work(make, "a")
    assert not make.flush(0.3)
    assert job.refused is None
    server.answer = accept
    assert eventually(lambda: make.flush(1))
    last = server.updates[-1]
    assert (last["status"], last["truncated"]) == ("completed", ["metadata", "result"])
    assert warnings()[0] == (
        "the server cannot accept an update of a now; retrying: what is in front of the server answered 413 Whatever"
    )


def test_a_token_that_expires_and_is_renewed(fake: Fake, reporter: Make, job_id: str, warnings: Warnings) -> None:
    server = fake(lambda request: http(401, problem(401, "unauthenticated", detail="the token has expired")))
    make = reporter(server.url)
    job = work(make, job_id)
    assert not make.flush(0.3)
    server.answer = accept
    assert make.flush(60)
    assert job.refused is None
    assert server.updates[-1]["status"] == "completed"
    assert warnings() == [
        f"cannot report to {server.url}; the job continues: "
        "the server refuses the credential (401): the token has expired",
        f"reporting to {server.url} works again",
    ]


def test_one_job_that_is_refused_does_not_hinder_others(fake: Fake, reporter: Make, warnings: Warnings) -> None:
    def answer(request: Request) -> bytes:
        lines = [
            problem(409, "attempt-ended", attempt=1, position="1-9")
            if update["job_id"] == "bad"
            else json.dumps({"job_id": update["job_id"], "attempt": 1, "position": "1-1"})
            for update in request.updates
        ]
        return http(409 if lines[0].startswith('{"type"') and len(lines) == 1 else 200, "\n".join(lines))

    server = fake(answer)
    make = reporter(server.url)
    jobs = {name: make.job(id=name) for name in ("good", "bad", "fine")}
    for job in jobs.values():
        job.complete()
    assert make.flush(60)
    assert [job.refused is None for job in jobs.values()] == [True, False, True]
    assert len(warnings()) == 1
    # Nobody asks again.
    assert sum(update["job_id"] == "bad" for update in server.updates) == 1


def test_a_server_that_is_full(fake: Fake, reporter: Make, job_id: str, warnings: Warnings) -> None:
    server = fake(refuse(503, "broker-full", detail="100 jobs"))
    make = reporter(server.url)
    for number in range(20):
        work(make, f"{job_id}-{number}")
    assert "100 jobs" in eventually(warnings)[0]
    assert not make.flush(0.3)
    server.answer = accept
    assert eventually(lambda: make.flush(1))
    ended = {update["job_id"] for update in server.updates if update["status"] == "completed"}
    assert len(ended) == 20
    # Once for all of them, and once that it is over. The server is in this process, and may be slow.
    rest = [re.sub(r"http://\S+", "it", warning) for warning in warnings()[1:] if "in time" not in warning]
    assert rest == ["reporting to it works again"]


def test_a_real_server_that_is_full(tmp_path: Path, reporter: Make, warnings: Warnings) -> None:
    server = LiveServer(tmp_path, "--set", "max_jobs=1")
    server.start()
    try:
        make = reporter(server.url)
        first = make.job(id="first")
        assert make.flush(60)
        second = make.job(id="second")
        second.complete()
        assert "cannot accept an update of second now" in eventually(warnings)[0]
        first.complete()
        assert eventually(lambda: make.flush(1))
        found = milepost.status("second", url=server.url)
        assert found is not None
        assert found.status == "completed"
    finally:
        server.stop()


def test_a_server_that_is_killed_and_comes_back(
    own_server: LiveServer, reporter: Make, job_id: str, warnings: Warnings
) -> None:
    make = reporter(own_server.url)
    with make.job(id=job_id, stage="one") as job:
        assert make.flush(60)
        own_server.kill()
        job.stage("two")
        eventually(warnings)
    own_server.start()
    assert eventually(lambda: make.flush(1))
    found = milepost.status(job_id, url=own_server.url)
    assert found is not None
    assert found.status == "completed"
    assert len(warnings()) == 2


def test_a_connection_that_was_kept_and_is_closed_is_no_failure(
    fake: Fake, reporter: Make, job_id: str, warnings: Warnings
) -> None:
    server = fake()
    make = reporter(server.url)
    job = make.job(id=job_id)
    for stage in "abc":
        assert make.flush(60)
        server.drop()
        job.stage(stage)
    job.complete()
    assert make.flush(60)
    assert server.updates[-1]["status"] == "completed"
    assert server.connections > 1
    assert warnings() == []


def test_jobs_are_bounded(fake: Fake, reporter: Make, warnings: Warnings) -> None:
    server = fake()
    make = reporter(server.url, max_jobs=10)
    jobs = [make.job(id=str(number)) for number in range(20)]
    assert make.flush(60)
    assert len({update["job_id"] for update in server.updates}) == 10
    assert warnings() == ["further jobs are not reported: 10 jobs are reported already, which is the limit"]
    for job in jobs:
        job.complete()
    assert make.flush(60)
    eventually(lambda: make._inbox._occupied == 0)
    late = make.job(id="late")
    late.complete()
    assert make.flush(60)
    assert server.updates[-1]["job_id"] == "late"


def test_memory_does_not_grow_while_the_server_is_down(reporter: Make, job_id: str) -> None:
    make = reporter(f"http://127.0.0.1:{free_port()}")
    job = make.job(id=job_id)
    for number in range(100_000):
        job.stage(str(number))
        job.message(str(number))
    assert make._inbox._queue.qsize() <= 2
    for number in range(1_000):
        make.job(id=f"{job_id}-{number}").complete()
    assert make._inbox._occupied == 1_001


def test_a_handler_of_warnings_that_raises(fake: Fake, reporter: Make, job_id: str) -> None:
    import logging

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no")

    handler = Raising()
    logging.getLogger("milepost").addHandler(handler)
    try:
        server = fake(refuse(422, "invalid-update"))
        make = reporter(server.url)
        work(make, job_id)
        assert make.flush(60)
        server.answer = accept
        work(make, job_id + "b")
        assert make.flush(60)
        assert server.updates[-1]["status"] == "completed"
    finally:
        logging.getLogger("milepost").removeHandler(handler)


def test_nothing_is_reported_after_the_reporter_was_closed(fake: Fake, reporter: Make, warnings: Warnings) -> None:
    server = fake()
    make = reporter(server.url)
    make.job(id="a").complete()
    make.close()
    assert server.updates[-1]["status"] == "completed"
    assert make._thread is not None
    assert not make._thread.is_alive
    make.job(id="b").complete()
    make.close()
    assert server.updates[-1]["job_id"] == "a"
    assert warnings() == ["further jobs are not reported: the reporter is closed"]


def redirect(status: int, to: str) -> Callable[[Request], bytes]:
    return lambda request: http(status, "", f"Location: {to}{request.path}")


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_keeps_the_method_is_followed(
    fake: Fake, reporter: Make, job_id: str, warnings: Warnings, status: int
) -> None:
    server = fake(accept)
    front = fake(redirect(status, server.url))
    make = reporter(front.url, token="secret")
    work(make, job_id)
    assert make.flush(2)
    assert server.updates[-1]["status"] == "completed"
    assert "authorization" in front.requests[-1].headers
    assert "authorization" not in server.requests[-1].headers
    assert warnings() == []


def test_a_redirect_to_a_path_keeps_host_and_credentials(fake: Fake, reporter: Make, job_id: str) -> None:
    server = fake(lambda request: accept(request) if request.path.startswith("/v2/") else redirect(307, "/v2")(request))
    make = reporter(server.url, token="secret")
    work(make, job_id)
    assert make.flush(2)
    assert server.requests[-1].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(("status", "requests"), [(301, 1), (302, 1), (303, 1), (308, 6)])
def test_other_redirects_and_loops_fail_naming_the_address(
    fake: Fake, reporter: Make, job_id: str, warnings: Warnings, status: int, requests: int
) -> None:
    server = fake(lambda request: http(status, "", "Location: /again"))
    # It bounds a request too, with all its redirects.
    make = reporter(server.url, flush_timeout=1)
    make.job(id=job_id).stage("one")
    assert "redirects to /again:" in eventually(warnings)[0]
    assert [request.method for request in server.requests[:requests]] == ["POST"] * requests
    assert server.requests[requests - 1].path.count("again") == (requests > 1)
