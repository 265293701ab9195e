"""`milepost.jobs()`, and `python -m milepost check` where a server asks for credentials."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import pytest
from fake_server import FakeServer, http, problem
from live_server import BINARY, ENVIRONMENT, LiveServer
from test_main import check

import milepost
from milepost import _listing

KEY = "a key of a test, which is long enough"


def test_jobs_are_listed_by_what_they_have(
    server: LiveServer, reporter: Callable[..., milepost.Reporter], job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_listing, "PAGE", 2)
    make = reporter(server.url)
    for n in range(5):
        job = make.job("export", id=f"{job_id}-{n}", tags=[job_id, "odd" if n % 2 else "even"])
        assert make.flush(60)
        if n == 4:
            job.complete()
    assert make.flush(60)

    def ids(**query: object) -> list[str]:
        found = milepost.jobs(url=server.url, **query)  # type: ignore[arg-type]
        return [job.job_id.rpartition("-")[2] for job in found]

    assert ids(tag=job_id) == ["4", "3", "2", "1", "0"]
    assert ids(tag=[job_id, "odd"]) == ["3", "1"]
    assert ids(prefix=f"{job_id}-", status="completed") == ["4"]
    assert ids(tag=job_id, status=["completed", "cancelled"], name="export") == ["4"]
    assert ids(q=job_id, sort="-status")[-1] == "4"
    assert ids(tag=f"{job_id}-no") == []


def test_a_query_that_makes_no_sense_is_refused(server: LiveServer) -> None:
    with pytest.raises(milepost.WatchRefused, match="sort"):
        next(milepost.jobs(sort="size", url=server.url))


def test_a_page_that_comes_again_ends_the_list(fake: Callable[..., FakeServer]) -> None:
    server = fake(lambda _: http(200, '{"jobs":[],"next":"a"}'))
    with pytest.raises(milepost.Unreachable, match="repeats a page"):
        list(milepost.jobs(url=server.url))


def test_who_cannot_list_says_so(fake: Callable[..., FakeServer]) -> None:
    with pytest.raises(milepost.NoServer, match="only a Milepost server lists jobs"):
        milepost.jobs(url="redis://127.0.0.1:1")
    with pytest.raises(milepost.Unreachable):
        next(milepost.jobs(url="http://127.0.0.1:1"))
    for answer in (http(200, "[]"), http(200, '{"jobs":3,"next":null}'), http(503, problem(503, "broker-unavailable"))):
        server = fake(lambda _, answer=answer: answer)
        with pytest.raises(milepost.Unreachable):
            next(milepost.jobs(url=server.url))


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that asks for credentials."""
    secret = {"MILEPOST_KEY": KEY, "MILEPOST_TOKEN_SECRET": "s" * 64}
    server = LiveServer(tmp_path_factory.mktemp("closed"), environment=secret)
    server.start()
    yield server
    server.stop()


def token_for(*arguments: str) -> str:
    environment = {**ENVIRONMENT, "MILEPOST_TOKEN_SECRET": "s" * 64}
    return subprocess.check_output([BINARY, "token", "--for", "1h", *arguments], env=environment, text=True).strip()


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        (lambda: None, "the server requires a key or a token: set MILEPOST_TOKEN"),
        (lambda: "x" * 40, "the server does not accept MILEPOST_TOKEN: "),
        (
            lambda: token_for("--watch", "a1"),
            "the server allows this program to watch, but not report the job a1: ",
        ),
        (lambda: KEY, ""),
    ],
    ids=["none", "wrong", "for watching", "right"],
)
def test_a_check_with_credentials(
    closed: LiveServer, credential: Callable[[], Optional[str]], said: str, tmp_path: Path
) -> None:
    known = credential()
    given = {} if known is None else {"MILEPOST_TOKEN": known}
    done = check(tmp_path, MILEPOST_URL=closed.url, MILEPOST_JOB="a1", **given)
    assert KEY not in done.stdout + done.stderr
    if said:
        assert done.returncode == 1
        assert done.stderr.startswith(f"milepost: {closed.url}: {said}")
    else:
        assert done.stdout == f"milepost: {closed.url} answers: this program may report the job a1, and watch it\n"
    assert milepost.status("a1", url=closed.url, token=KEY) is None
