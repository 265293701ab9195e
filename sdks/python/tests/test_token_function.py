"""A token that is a function: asked for each connection, and before it expires."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_server import Answer, FakeServer, Request, http, problem
from live_server import LiveServer, eventually

import milepost

SECRET = "a secret of at least thirty-two bytes, for tests"
KEY = "a key of the tests' own"
Make = Callable[..., milepost.Reporter]
Fake = Callable[..., FakeServer]
Warnings = Callable[[], list[str]]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that requires credentials."""
    secrets = {"MILEPOST_TOKEN_SECRET": SECRET, "MILEPOST_KEY": KEY}
    server = LiveServer(tmp_path_factory.mktemp("guarded"), "--set", "token_leeway=0", environment=secrets)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def job(guarded: LiveServer, job_id: str) -> Iterator[milepost.Job]:
    reporter = milepost.Reporter(guarded.url, token=KEY)
    yield reporter.job("export", id=job_id)
    reporter.close()


class Supply:
    """Tokens for a job, valid for so many seconds each, and for the last of these from then on."""

    def __init__(self, job_id: str, *seconds: int) -> None:
        self._job_id = job_id
        self._seconds = seconds
        self.given: list[str] = []

    def __call__(self) -> str:
        seconds = self._seconds[min(len(self.given), len(self._seconds) - 1)]
        self.given.append(milepost.watch_token(self._job_id, seconds=seconds, secret=SECRET))
        return self.given[-1]


def watchers(server: LiveServer) -> int:
    """How many sockets and event streams the server has ever had."""
    asked = urllib.request.Request(f"{server.url}/metrics", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(asked) as answer:
        lines = answer.read().decode().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("milepost_connections_total")))


def has_expired(server: LiveServer, job_id: str, token: str) -> bool:
    try:
        return milepost.status(job_id, url=server.url, token=token) is None
    except milepost.WatchRefused as refused:
        return refused.status == 401


def test_a_token_is_renewed_and_the_socket_stays(guarded: LiveServer, job: milepost.Job) -> None:
    supply = Supply(job.id, 4, 900)
    before = watchers(guarded)
    job.message("begun")

    async def run() -> list[milepost.State]:
        async def token() -> str:
            await asyncio.sleep(0)
            return supply()

        seen = []
        async for state in milepost.watch(job.id, url=guarded.url, token=token):
            seen.append(state)
            if state.message == "begun":
                # The first token is over, and the second one holds.
                await asyncio.to_thread(eventually, lambda: len(supply.given) == 2, "a second token")
                await asyncio.to_thread(eventually, lambda: has_expired(guarded, job.id, supply.given[0]))
                job.complete("done")
        return seen

    seen = asyncio.run(run())
    assert seen[-1].result == "done"
    assert len(supply.given) == 2
    assert watchers(guarded) == before + 1


def test_a_socket_closed_for_its_token_resumes(guarded: LiveServer, job: milepost.Job) -> None:
    supply = Supply(job.id, 2, 900)
    before = watchers(guarded)
    # Asked too early, it still has the first one only.
    early = [True]

    def token() -> str:
        if supply.given and early:
            early.pop()
            return supply.given[0]
        return supply()

    job.message("begun")
    seen = []
    for state in milepost.watch(job.id, url=guarded.url, token=token):
        seen.append(state)
        if state.message == "begun":
            eventually(lambda: watchers(guarded) == before + 2, "a second socket")
            job.complete("done")
    assert [state.status for state in seen] == ["processing", "completed"]
    assert len({state.position for state in seen}) == len(seen)
    assert len(supply.given) == 2


def test_a_second_refusal_in_a_row_is_final(guarded: LiveServer, job_id: str) -> None:
    asked = []

    def token() -> str:
        asked.append(1)
        return milepost.watch_token(job_id, secret="another secret of at least thirty-two bytes")

    with pytest.raises(milepost.WatchRefused) as refused:
        list(milepost.watch(job_id, url=guarded.url, token=token))
    assert (refused.value.status, len(asked)) == (401, 2)


def test_one_request_asks_for_one_token(guarded: LiveServer, job: milepost.Job) -> None:
    job.message("begun")
    supply = Supply(job.id, 900)
    eventually(lambda: milepost.status(job.id, url=guarded.url, token=KEY), "the state")
    found = milepost.status(job.id, url=guarded.url, token=supply)
    assert found is not None
    assert (found.message, len(supply.given)) == ("begun", 1)
    assert [each.job_id for each in milepost.jobs(url=guarded.url, token=supply)] == [job.id]
    job.complete()
    assert milepost.wait(job.id, url=guarded.url, token=supply, timeout=60).has_ended


def test_an_async_function_needs_an_event_loop(guarded: LiveServer, job_id: str) -> None:
    async def token() -> str:
        return ""

    for use in (
        lambda: list(milepost.watch(job_id, url=guarded.url, token=token)),
        lambda: milepost.status(job_id, url=guarded.url, token=token),
        lambda: milepost.wait(job_id, url=guarded.url, token=token),
        lambda: list(milepost.jobs(url=guarded.url, token=token)),
    ):
        with pytest.raises(TypeError, match="async for"):
            use()


def test_a_function_that_fails_is_asked_again(guarded: LiveServer, job: milepost.Job, warnings: Warnings) -> None:
    job.complete("done")
    supply = Supply(job.id, 900)
    faults = [OSError("the application is down")]

    def token() -> str:
        if faults:
            raise faults.pop()
        return supply()

    with pytest.raises(milepost.Unreachable, match="no token: the application is down"):
        milepost.status(job.id, url=guarded.url, token=token)
    faults.append(OSError("still down"))
    assert [state.result for state in milepost.watch(job.id, url=guarded.url, token=token)][-1] == "done"
    assert any("no token: still down" in said for said in warnings())


def test_a_job_signs_a_token_for_itself_only(
    guarded: LiveServer, job: milepost.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="MILEPOST_TOKEN_SECRET"):
        job.watch_token()
    monkeypatch.setenv("MILEPOST_TOKEN_SECRET", SECRET)
    token = job.watch_token(seconds=60)
    job.message("begun")
    eventually(lambda: milepost.status(job.id, url=guarded.url, token=token), "the state")
    with pytest.raises(milepost.WatchRefused):
        milepost.wait(f"{job.id}-b", url=guarded.url, token=token)


def stream(*pieces: str) -> bytes:
    return http(200, "".join(pieces), "Content-Type: text/event-stream")


def test_an_event_stream_resumes_with_another_token(fake: Fake, job_id: str) -> None:
    """Where WebSockets do not get through."""
    connected = "event: connected\ndata: {}\n\n"
    ended = 'event: unauthenticated\ndata: {"status":401}\n\nretry: 1\n\n'

    def state(number: int, status: str) -> str:
        return f"data: {json.dumps({'job_id': job_id, 'status': status, 'position': f'1-{number}'})}\n\n"

    def answer(request: Request) -> Answer:
        number = len(server.requests)
        if number == 1:
            return stream(connected, state(1, "processing"), ended)
        if number == 2:
            return http(401, problem(401, "unauthenticated", detail="it has expired"))
        return stream(connected, state(2, "completed"), "event: end\ndata: {}\n\n")

    server = fake(answer)
    given: list[str] = []

    def token() -> str:
        given.append(f"token-{len(given)}")
        return given[-1]

    def watch(token: Any) -> list[str]:
        return [state.status for state in milepost.watch(job_id, url=server.url, token=token)]

    assert watch(token) == ["processing", "completed"]
    # The first one was for a WebSocket.
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer token-{n}" for n in (1, 2, 3)]
    # A fixed token that has expired is not sent for ever.
    server.requests.clear()
    with pytest.raises(milepost.WatchRefused, match="it has expired"):
        watch("token-0")
