"""Watching a job on a server, across lost connections and restarts; and asking once."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Optional

import pytest
from fake_server import FakeServer, Request, http, problem
from live_server import LiveServer, eventually, free_port

import milepost
from milepost import _forgotten
from milepost._cursor import EPOCHS, Cursor
from milepost._events import MAX_EVENT, Event, Events, TooLong

Make = Callable[..., milepost.Reporter]
Fake = Callable[..., FakeServer]
Warnings = Callable[[], list[str]]


def state_event(number: int, status: str = "processing", epoch: str = "abc") -> str:
    position = f"{epoch}-{number}"
    state = {"job_id": "a", "status": status, "stage": str(number), "attempt": 1, "position": position}
    return f"id: {position}\ndata: {json.dumps(state)}\n\n"


CONNECTED = 'retry: 20\nevent: connected\ndata: {"type":"connected","known":true}\n\n'
END = 'event: end\ndata: {"job_id":"a"}\n\n'


def stream(*events: str) -> bytes:
    """A stream that breaks off after these."""
    body = "".join(f"{len(event.encode()):x}\r\n{event}\r\n" for event in (CONNECTED, *events) if event)
    return ("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + body).encode()


def whole(*events: str) -> bytes:
    """A stream that ends as it should."""
    return stream(*events) + b"0\r\n\r\n"


class Scripted:
    """Answers one request after the other, and then as the last one."""

    def __init__(self, *answers: Optional[bytes]) -> None:
        self._answers = list(answers)

    def __call__(self, request: Request) -> Optional[bytes]:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def stages(states: list[milepost.State]) -> list[Optional[str]]:
    return [state.stage for state in states]


async def collect(watch: milepost.Watch) -> list[milepost.State]:
    return [state async for state in watch]


@pytest.fixture(params=["sync", "async"])
def watch_all(request: pytest.FixtureRequest) -> Callable[[milepost.Watch], list[milepost.State]]:
    """All of a watch's states: by `for`, and by `async for`."""
    return list if request.param == "sync" else lambda watch: asyncio.run(collect(watch))


Watch = Callable[[milepost.Watch], list[milepost.State]]


def test_a_job_that_has_ended(server: LiveServer, reporter: Make, job_id: str, watch_all: Watch) -> None:
    make = reporter(server.url)
    make.job(id=job_id).complete({"url": "u"})
    assert make.flush(60)
    watch = milepost.watch(job_id, url=server.url)
    (state,) = watch_all(watch)
    assert (state.status, state.result, state["position"]) == ("completed", {"url": "u"}, state.position)
    assert watch.state == state
    assert watch_all(milepost.watch(job_id, url=server.url, since=state.position)) == []


def test_a_job_from_before_its_beginning_to_its_end(
    server: LiveServer, reporter: Make, job_id: str, watch_all: Watch
) -> None:
    make = reporter(server.url)
    watch = milepost.watch(job_id, url=server.url)
    seen: list[milepost.State] = []
    thread = threading.Thread(target=lambda: seen.extend(watch_all(watch)), daemon=True)
    thread.start()
    with make.job(id=job_id, stage="one") as job:
        for number in range(5):
            job.stage(str(number))
            assert make.flush(60)
            eventually(lambda: watch.state is not None and watch.state.stage == job._record._stage)
    thread.join(60)
    assert stages(seen)[-6:] == ["0", "1", "2", "3", "4", "complete"]


def test_a_server_that_is_killed(
    own_server: LiveServer, reporter: Make, job_id: str, watch_all: Watch, warnings: Warnings
) -> None:
    make = reporter(own_server.url)
    watch = milepost.watch(job_id, url=own_server.url)
    seen: list[milepost.State] = []
    thread = threading.Thread(target=lambda: seen.extend(watch_all(watch)), daemon=True)
    thread.start()
    with make.job(id=job_id, stage="one") as job:
        eventually(lambda: watch.state)
        own_server.kill()
        job.stage("two")
        eventually(lambda: any("cannot watch" in each for each in warnings()))
        own_server.start()
        eventually(lambda: watch.state is not None and watch.state.stage == "two")
    thread.join(60)
    assert seen[-1].status == "completed"
    positions = [state.position for state in seen]
    assert len(set(positions)) == len(positions)
    assert sum("watch" in each for each in warnings()) == 2


def test_it_resumes_where_it_was(fake: Fake, watch_all: Watch, warnings: Warnings) -> None:
    server = fake(
        Scripted(
            whole(state_event(1), state_event(2)),
            whole(state_event(2), state_event(1), state_event(3)),
            whole(state_event(4, "completed"), END),
        )
    )
    assert stages(watch_all(milepost.watch("a", url=server.url))) == ["1", "2", "3", "4"]
    paths = [request.path for request in server.requests]
    assert paths == ["/jobs/a/events", "/jobs/a/events?since=abc-2", "/jobs/a/events?since=abc-3"]
    # A server that says when to come back is not a lost one.
    assert warnings() == []


def test_an_end_whose_stream_breaks_off(fake: Fake, watch_all: Watch) -> None:
    server = fake(Scripted(stream(state_event(4, "failed"))[:-3], http(204, "")))
    server.answer = Scripted(whole(state_event(4, "failed")), b"HTTP/1.1 204 No Content\r\n\r\n")
    assert stages(watch_all(milepost.watch("a", url=server.url))) == ["4"]
    assert server.requests[-1].path == "/jobs/a/events?since=abc-4"


def test_an_unreadable_job_is_warned_of_and_stays_watched(fake: Fake, watch_all: Watch, warnings: Warnings) -> None:
    unreadable = f"event: unreadable-job\ndata: {problem(503, 'unreadable-job')}\n\n"
    server = fake(Scripted(whole(state_event(1), unreadable, state_event(2, "completed"), END)))
    assert stages(watch_all(milepost.watch("a", url=server.url))) == ["1", "2"]
    assert len(server.requests) == 1
    (warning,) = warnings()
    assert "cannot read a" in warning


def test_a_job_that_was_forgotten_begins_anew(fake: Fake, watch_all: Watch) -> None:
    server = fake(
        Scripted(
            whole(state_event(7), state_event(1, epoch="def")),
            whole(state_event(7), state_event(8), state_event(2, "completed", epoch="def"), END),
        )
    )
    assert stages(watch_all(milepost.watch("a", url=server.url))) == ["7", "1", "8", "2"]


UNKNOWN = f"event: unknown-job\ndata: {problem(404, 'unknown-job')}\n\n"


def test_an_event_stream_of_a_job_that_is_forgotten(
    fake: Fake, watch_all: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_forgotten, "PATIENCE", 0.0)
    not_known = 'event: connected\ndata: {"type":"connected","known":false}\n\n'
    for answers in (
        [whole(state_event(1), UNKNOWN, ": keepalive\n\n")],
        [whole(state_event(1)), whole(not_known, ": keepalive\n\n")],
    ):
        server = fake(Scripted(*answers))
        watch = milepost.watch("a", url=server.url)
        with pytest.raises(milepost.JobForgotten):
            watch_all(watch)
        assert watch.position == "abc-1"


def test_a_job_that_is_reported_again_is_not_given_up(fake: Fake, watch_all: Watch) -> None:
    again = [state_event(1, epoch="def"), state_event(2, "completed", epoch="def"), END]
    server = fake(Scripted(whole(state_event(7), UNKNOWN, *again)))
    assert stages(watch_all(milepost.watch("a", url=server.url))) == ["7", "1", "2"]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        http(500, "oops"),
        http(503, problem(503, "shutting-down"), "Retry-After: 0"),
        http(429, ""),
        http(200, "<html>"),
        http(302, "", "Location: http://127.0.0.1:1/"),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 5\r\n\r\ndata:",
        b"220 mail.example ESMTP\r\n",
        stream("data: {\n\n", "data: [1]\n\n", "event: other\ndata: x\n\n", 'data: {"position":"1-1"}\n\n')[:-3],
        stream("data: " + "x" * 2_000_000 + "\n\n"),
        stream(state_event(1))[:-9],
    ],
)
def test_what_is_no_answer_is_asked_again(fake: Fake, odd: Optional[bytes], warnings: Warnings) -> None:
    server = fake(Scripted(odd, whole(state_event(2, "completed"), END)))
    assert stages(list(milepost.watch("a", url=server.url, silence=0.2)))[-1] == "2"
    assert len(warnings()) in (0, 2)


def test_a_silent_connection_is_given_up(fake: Fake, warnings: Warnings) -> None:
    server = fake(Scripted(stream(state_event(1)), whole(state_event(2, "completed"), END)))
    assert stages(list(milepost.watch("a", url=server.url, silence=0.1))) == ["1", "2"]
    assert len(warnings()) == 2


@pytest.mark.parametrize("answer", [http(401, ""), http(404, "<html>"), http(400, problem(400, "invalid-job-id"))])
def test_a_server_that_refuses(fake: Fake, watch_all: Watch, answer: bytes) -> None:
    server = fake(lambda request: answer)
    with pytest.raises(milepost.WatchRefused) as refused:
        watch_all(milepost.watch("a", url=server.url))
    assert refused.value.status in (400, 401, 404)
    assert len(server.requests) == 1


def test_a_server_that_refuses_after_it_was_one_is_restarting(fake: Fake) -> None:
    server = fake(Scripted(whole(state_event(1)), http(404, "nginx"), whole(state_event(2, "completed"), END)))
    assert stages(list(milepost.watch("a", url=server.url))) == ["1", "2"]


def test_what_is_asked_for(fake: Fake) -> None:
    server = fake(Scripted(whole(state_event(1, "completed"), END)))
    list(milepost.watch("a", url=server.url + "/below/", since="1-1", mode="latest", max_rate=2.5, token="secret"))
    (request,) = server.requests
    assert request.path == "/below/jobs/a/events?since=1-1&mode=latest&max_rate=2.5"
    assert request.headers["authorization"] == "Bearer secret"


def test_a_watch_may_be_closed_from_elsewhere(server: LiveServer, job_id: str) -> None:
    watch = milepost.watch(job_id, url=server.url)
    thread = threading.Thread(target=lambda: list(watch), daemon=True)
    thread.start()
    eventually(lambda: any(getattr(source, "has_connected", False) for source in list(watch._sources)))
    watch.close()
    thread.join(60)
    assert not thread.is_alive()

    with milepost.watch(job_id, url=f"http://127.0.0.1:{free_port()}") as away:
        thread = threading.Thread(target=lambda: list(away), daemon=True)
        thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_an_async_loop_may_be_left_and_cancelled(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    job = make.job(id=job_id, stage="one")
    assert make.flush(60)

    async def main() -> None:
        watch = milepost.watch(job_id, url=server.url)
        async for state in watch:
            assert state.stage == "one"
            break
        task = asyncio.create_task(collect(watch))
        await asyncio.to_thread(eventually, lambda: watch._sources)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with milepost.watch(job_id, url=server.url) as other:
            states = other.__aiter__()
            assert (await states.__anext__()).stage == "one"
        assert [state async for state in states] == []

    asyncio.run(main())
    eventually(lambda: not any(thread.name == "milepost-watch" for thread in threading.enumerate()))
    job.complete()


def test_an_async_loop_that_is_slow_skips_but_misses_no_end(fake: Fake) -> None:
    events = [state_event(number) for number in range(1, 1_000)]
    events.insert(500, state_event(1, "failed", epoch="def"))
    server = fake(Scripted(whole(*events, state_event(1_000, "completed"), END)))

    async def main() -> list[milepost.State]:
        seen: list[milepost.State] = []
        async for state in milepost.watch("a", url=server.url):
            if not seen:
                # Waits until all of it is there.
                await asyncio.to_thread(
                    eventually,
                    lambda: not any(thread.name == "milepost-watch" for thread in threading.enumerate()),
                )
            seen.append(state)
        return seen

    seen = asyncio.run(main())
    assert len(seen) < 300
    assert [state.status for state in seen if state.has_ended] == ["failed", "completed"]
    assert seen[-1].stage == "1000"


def test_status(server: LiveServer, reporter: Make, job_id: str, fake: Fake) -> None:
    assert milepost.status(job_id, url=server.url) is None
    make = reporter(server.url)
    job = make.job(id=job_id, stage="one", metadata={"a": 1})
    assert make.flush(60)
    state = milepost.status(job_id, url=server.url)
    assert state is not None
    assert (state.job_id, state.stage, state.progress, state.metadata, state.error) == (
        job_id,
        "one",
        None,
        {"a": 1},
        None,
    )
    job.complete()
    with pytest.raises(milepost.Unreachable):
        milepost.status(job_id, url=f"http://127.0.0.1:{free_port()}")
    for lie in (http(200, "{}"), http(200, "<html>"), None, http(500, "")):
        liar = fake(lambda request, lie=lie: lie)
        with pytest.raises(milepost.Unreachable):
            milepost.status(job_id, url=liar.url)
    refusing = fake(lambda request: http(403, ""))
    with pytest.raises(milepost.WatchRefused):
        milepost.status(job_id, url=refusing.url)
    silent = fake(lambda request: b"")
    with pytest.raises(milepost.Unreachable, match="in time"):
        milepost.status(job_id, url=silent.url, timeout=0.1)


def test_there_has_to_be_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(milepost.NoServer, match="MILEPOST_URL"):
        milepost.watch("a")
    with pytest.raises(milepost.NoServer):
        milepost.status("a")
    with pytest.raises(milepost.InvalidUrl):
        milepost.watch("a", url="localhost:8084")
    with pytest.raises(milepost.InvalidJobId):
        milepost.watch("not an id", url="http://localhost")
    monkeypatch.setenv("MILEPOST_URL", "http://localhost:1")
    assert milepost.watch("a").job_id == "a"


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, warnings: Warnings) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for ask in (milepost.watch, milepost.status):
        with pytest.raises(milepost.NoServer, match=r"redis://….*milepost\[redis\]"):
            ask("a", url="redis://me:secret@localhost")
    milepost.Reporter("redis://localhost").job("a")
    assert "milepost[redis]" in warnings()[0]
    for module in [*filter(lambda name: name.split(".")[0] == "tqdm", sys.modules), "tqdm"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "milepost._tqdm", raising=False)
    monkeypatch.delattr(milepost, "_tqdm", raising=False)
    with pytest.raises(ImportError, match=r"milepost\[tqdm\]"):
        _ = milepost.tqdm


def test_events_come_in_any_pieces() -> None:
    text = (CONNECTED + ": keepalive\n\n" + state_event(1) + "data: a\ndata:b\r\nid\n\n" + END).encode()
    expected = [
        Event("connected", '{"type":"connected","known":true}', None),
        Event("message", state_event(1).partition("data: ")[2].strip(), "abc-1"),
        Event("message", "a\nb", ""),
        Event("end", '{"job_id":"a"}', None),
    ]
    for size in range(1, len(text)):
        events = Events()
        found: list[Any] = []
        for at in range(0, len(text), size):
            found += events.feed(text[at : at + size])
        assert found == expected
        assert events.retry == 0.02


def test_an_event_that_does_not_end_is_given_up() -> None:
    for piece in (b"x" * 65_536, b"data: x\n" * 8_192):
        events = Events()
        for _ in range(MAX_EVENT // 65_536):
            events.feed(piece)
        with pytest.raises(TooLong):
            events.feed(piece)
    events = Events()
    for _ in range(100):
        events.feed(b": keepalive\n" * 8_192)


def test_a_cursor_remembers_so_many_epochs() -> None:
    cursor = Cursor()
    for epoch in range(1, 100):
        assert cursor.advance(f"{epoch:x}-5")
    assert not cursor.advance("63-5")
    assert cursor.advance("1-1")
    assert len(cursor._seen) == EPOCHS


def test_waiting_for_an_end(server: LiveServer, job_id: str) -> None:
    reporter = milepost.Reporter(server.url)
    job = reporter.job(id=job_id)
    with pytest.raises(TimeoutError, match=f"{job_id} has not ended within 0.2 s"):
        milepost.wait(job_id, url=server.url, timeout=0.2)
    threading.Timer(0.1, lambda: job.complete(7)).start()
    end = milepost.wait(job_id, url=server.url, timeout=60)
    assert (end.status, end.result) == ("completed", 7)
    reporter.close()


def test_a_job_that_is_deleted_is_not_waited_for(
    server: LiveServer, reporter: Make, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_forgotten, "PATIENCE", 0.0)
    make = reporter(server.url)
    job = make.job(id=job_id, stage="one")
    assert make.flush(60)
    watch = milepost.watch(job_id, url=server.url)

    def delete() -> None:
        eventually(lambda: watch.state)
        urllib.request.urlopen(urllib.request.Request(f"{server.url}/jobs/{job_id}", method="DELETE")).close()

    deleting = threading.Thread(target=delete)
    deleting.start()
    with pytest.raises(milepost.JobForgotten):
        list(watch)
    deleting.join()
    job.complete()


@pytest.mark.parametrize("timeout", ["5", "x", [], float("nan"), object()])
def test_a_timeout_that_is_no_number_is_refused(timeout: Any) -> None:
    with pytest.raises(TypeError, match=r"^timeout takes a number"):
        milepost.wait("a", url="http://127.0.0.1:1", timeout=timeout)


@pytest.mark.parametrize("timeout", [1e12, float("inf"), timedelta(days=999_999_999), None])
def test_a_timeout_may_be_as_long_as_one_likes(server: LiveServer, reporter: Make, job_id: str, timeout: Any) -> None:
    make = reporter(server.url)
    make.job(id=job_id).complete(7)
    assert make.flush(60)
    assert milepost.wait(job_id, url=server.url, timeout=timeout).result == 7


@pytest.mark.parametrize("timeout", [0, 0.0, -1, timedelta(0)])
def test_a_timeout_of_0_asks_once(server: LiveServer, reporter: Make, job_id: str, timeout: Any) -> None:
    make = reporter(server.url)
    with pytest.raises(TimeoutError, match=f"^{job_id} has not ended$"):
        milepost.wait(job_id, url=server.url, timeout=timeout)
    job = make.job(id=job_id)
    assert make.flush(60)
    with pytest.raises(TimeoutError, match=f"^{job_id} has not ended$"):
        milepost.wait(job_id, url=server.url, timeout=timeout)
    job.complete(7)
    assert make.flush(60)
    assert milepost.wait(job_id, url=server.url, timeout=timeout).result == 7
    with pytest.raises(TimeoutError, match=f"^it is not known whether {job_id} has ended: "):
        milepost.wait(job_id, url=f"http://127.0.0.1:{free_port()}", timeout=timeout)


def test_none_is_no_job_id() -> None:
    calls: list[Callable[[], object]] = [
        lambda: milepost.status(None, url="http://127.0.0.1:1"),
        lambda: milepost.watch(None, url="http://127.0.0.1:1"),
        lambda: milepost.wait(None, url="http://127.0.0.1:1"),
        lambda: milepost.watch_token(None, secret="a secret of at least thirty-two bytes"),
    ]
    for call in calls:
        with pytest.raises(milepost.InvalidJobId, match="a job id is needed"):
            call()
