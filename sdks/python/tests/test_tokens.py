"""A key or a token, wherever it comes from: trimmed, refused where no header can have it, and never shown."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, http
from live_server import ENVIRONMENT, LiveServer

import milepost
from milepost import _address, _credential, _default
from milepost._check import check
from milepost._connection import Connection
from milepost._outcome import Lost
from milepost.compat import ProgressReporter

Make = Callable[..., milepost.Reporter]
Warnings = Callable[[], list[str]]
Fake = Callable[..., FakeServer]

SOURCE = str(Path(__file__).parents[1] / "src")
SECRET = "abcdefghij-0123456789"
STATE = '{"job_id":"a","status":"completed","position":"1-9"}'
SPACES = [f"{SECRET}\n", f"  {SECRET}\r\n", f"\t{SECRET} "]
UNUSABLE = [f"{SECRET}\nx", f"{SECRET}-ключ", f"{SECRET}\0", f"{SECRET}\udcff", f"{SECRET}\u200b"]


def authorization(server: FakeServer) -> str:
    return server.requests[-1].headers["authorization"]


@pytest.mark.parametrize("token", SPACES)
def test_white_space_around_a_token_is_trimmed(
    fake: Fake, reporter: Make, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    server = fake()
    reports = reporter(server.url, token=token)
    reports.job(id="a").complete()
    assert reports.flush(60)
    assert authorization(server) == f"Bearer {SECRET}"
    server.answer = lambda _: http(200, STATE)
    for given in (token, lambda: token):
        assert milepost.status("a", url=server.url, token=given) is not None
        assert authorization(server) == f"Bearer {SECRET}"
    monkeypatch.setenv("MILEPOST_TOKEN", token)
    assert milepost.status("a", url=server.url) is not None
    assert authorization(server) == f"Bearer {SECRET}"


@pytest.mark.parametrize("make", [_default.configure, ProgressReporter])
def test_the_token_of_the_environment_is_trimmed(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, make: Callable[[str], Any]
) -> None:
    server = fake()
    monkeypatch.setenv("MILEPOST_TOKEN", f"{SECRET}\n")
    monkeypatch.setattr(_default, "_reporter", None)
    made = make(server.url)
    reports = made if isinstance(made, milepost.Reporter) else made._reporter
    reports.job(id="a").complete()
    assert reports.flush(60)
    reports.close()
    assert authorization(server) == f"Bearer {SECRET}"


@pytest.mark.parametrize("token", UNUSABLE)
def test_a_token_that_no_header_can_have(reporter: Make, warnings: Warnings, fake: Fake, token: str) -> None:
    server = fake()
    reports = reporter(server.url, token=token)
    reports.job(id="a").complete()
    assert reports.url is None
    (said,) = warnings()
    assert said.startswith(f"nothing is reported to {server.url}: token has a character")
    calls: list[Callable[[], object]] = [
        lambda: milepost.status("a", url=server.url, token=token),
        lambda: milepost.watch("a", url=server.url, token=token),
        lambda: milepost.wait("a", url=server.url, token=token),
        lambda: milepost.jobs(url=server.url, token=token),
    ]
    for call in calls:
        with pytest.raises(milepost.InvalidToken, match=r"^token has") as refused:
            call()
        assert SECRET not in everything_about(refused.value)
    with pytest.raises(milepost.Unreachable, match="no token: what the function returned") as lost:
        milepost.status("a", url=server.url, token=lambda: token)
    assert SECRET not in everything_about(lost.value)
    assert SECRET not in said
    assert server.requests == []


def everything_about(error: BaseException) -> str:
    """What a traceback shows, but for the lines of this file."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    own = "".join(traceback.format_exception_only(type(error), error))
    return own if cause is None else own + everything_about(cause)


def test_the_variable_is_named(monkeypatch: pytest.MonkeyPatch, fake: Fake, warnings: Warnings) -> None:
    server = fake()
    monkeypatch.setenv("MILEPOST_URL", server.url)
    monkeypatch.setenv("MILEPOST_TOKEN", UNUSABLE[0])
    monkeypatch.setattr(_default, "_reporter", None)
    milepost.job(id="a").complete()
    ProgressReporter()
    for said in warnings():
        assert said.startswith(f"nothing is reported to {server.url}: MILEPOST_TOKEN has")
        assert SECRET not in said
    assert len(warnings()) == 2
    with pytest.raises(milepost.InvalidToken, match=r"^MILEPOST_TOKEN has"):
        milepost.status("a")
    found = check()
    assert (found.is_good, SECRET in found.text) == (False, False)
    assert "MILEPOST_TOKEN has" in found.text


def test_bytes_that_are_no_text(fake: Fake) -> None:
    environment = {os.fsencode(name): os.fsencode(value) for name, value in ENVIRONMENT.items()}
    environment |= {b"MILEPOST_URL": fake().url.encode(), b"MILEPOST_TOKEN": SECRET.encode() + b"\xff"}
    code = f"import sys; sys.path.insert(0, {SOURCE!r}); import milepost; milepost.job(id='a').complete()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "MILEPOST_TOKEN has a character" in done.stderr
    assert SECRET not in done.stderr


def test_a_redis_takes_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = milepost.Reporter("redis://127.0.0.1:1", token=UNUSABLE[0])
    assert reports.url == "redis://127.0.0.1:1"


def test_an_empty_token_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_TOKEN", " \n")
    assert _credential.known(None) is None
    assert _credential.known("") is None
    monkeypatch.setenv("MILEPOST_TOKEN", SECRET)
    assert _credential.known("\n") == SECRET


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{SECRET}/x@host",
        f"http://me:a℀{SECRET}@host",
        f"http://me:[{SECRET}]@host",
        f"http://me:{SECRET}#x@host",
        f"http://me:?{SECRET}@host",
        f"redis://me:{SECRET}/x@host",
        f"redis://:{SECRET}#x@host:port",
    ],
)
def test_a_password_is_not_in_what_is_said_of_its_url(url: str) -> None:
    with pytest.raises(milepost.InvalidUrl) as refused:
        _address.check(url)
    assert SECRET not in everything_about(refused.value)


def test_a_request_that_cannot_be_made_shows_nothing(fake: Fake) -> None:
    """Whatever gets as far as that."""
    connection = Connection(fake().url, lambda: SECRET)
    with pytest.raises(Lost) as lost:
        connection.ask("GET", "/", 60, headers={"X-Password": f"{SECRET}\n"})
    assert str(lost.value) == "the request cannot be sent: ValueError"


def test_a_password_of_redis_that_is_no_text(reporter: Make, warnings: Warnings) -> None:
    pytest.importorskip("redis")
    # It gets as far as the attempt to log in.
    reports = reporter(f"redis://:{SECRET}\udcff@127.0.0.1:1", flush_timeout=0.2)
    reports.job(id="a").complete()
    reports.flush(0.2)
    assert all(SECRET not in said for said in warnings())


def test_white_space_around_a_secret_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "a secret of at least thirty-two bytes"
    environment = {"MILEPOST_TOKEN_SECRET": f"{secret}\n"}
    server = LiveServer(tmp_path, environment=environment)
    server.start()
    for each in (secret, f" {secret}\n"):
        assert milepost.status("a", url=server.url, token=milepost.watch_token("a", secret=each)) is None
    server.stop()
    with pytest.raises(ValueError, match="there is no secret"):
        milepost.watch_token("a", secret=" \n")
