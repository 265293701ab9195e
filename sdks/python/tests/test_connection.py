"""How a connection is made: over TLS, and to a host with several addresses."""

from __future__ import annotations

import _socket
import http.client
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fake_server import FakeServer
from test_processes import Worker
from websockets.sync.server import ServerConnection, serve

import milepost
from milepost import _connection


class Https(NamedTuple):
    url: str
    certificate: Path
    updates: list[dict[str, Any]]


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that nobody else knows, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names, *files], check=True)
    return certificate, key


@pytest.fixture
def https(identity: tuple[Path, Path]) -> Iterator[Https]:
    """A server that speaks TLS."""
    certificate, key = identity
    updates: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            update = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            updates.append(update)
            answer = json.dumps({"job_id": update["job_id"], "attempt": 1, "position": "1-1"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Https(f"https://localhost:{server.server_address[1]}", certificate, updates)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("patch", ["", "from gevent import monkey; monkey.patch_all()"])
def test_reports_over_tls(https: Https, job_id: str, patch: str) -> None:
    if patch:
        pytest.importorskip("gevent")
    code = f"{patch}\nmilepost.job(id={job_id!r}).complete('x' * 50_000)"
    assert Worker(code, https.url, SSL_CERT_FILE=str(https.certificate)).finish() == (0, "")
    assert https.updates[-1]["status"] == "completed"
    assert len(https.updates[-1]["result"]) == 50_000


def test_watches_over_tls(identity: tuple[Path, Path]) -> None:
    """A long state takes several records of TLS."""
    certificate, key = identity
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    end = {"job_id": "a", "status": "completed", "result": "x" * 60_000, "attempt": 1, "position": "1-9"}

    def handle(connection: ServerConnection) -> None:
        connection.send(json.dumps({"type": "connected"}))
        for _ in connection:
            connection.send(json.dumps({"type": "subscribed", "job_id": "a", "known": True}))
            connection.send(json.dumps(end))

    with serve(handle, "127.0.0.1", 0, ssl=context) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        code = "(state,) = milepost.watch('a')\nassert len(state.result) == 60_000"
        url = f"https://localhost:{server.socket.getsockname()[1]}"
        assert Worker(code, url, SSL_CERT_FILE=str(certificate)).finish() == (0, "")
        server.shutdown()
        thread.join()


def test_a_certificate_that_nobody_vouches_for_is_refused(https: Https, job_id: str) -> None:
    code, errors = Worker(f"milepost.job(id={job_id!r}).complete()", https.url).finish()
    assert code == 0
    assert "the job continues: TLS failed: certificate verify failed: self" in errors.splitlines()[0]
    assert https.updates == []
    with pytest.raises(milepost.Unreachable, match=r"^TLS failed: certificate verify failed: self.signed certificate$"):
        milepost.status(job_id, url=https.url)


def test_a_server_that_does_not_speak_tls(fake: Callable[..., FakeServer], job_id: str) -> None:
    url = fake().url.replace("http://", "https://")
    with pytest.raises(milepost.Unreachable, match=r"^TLS failed: "):
        milepost.status(job_id, url=url)


def test_a_server_that_hangs_up_is_not_taken_for_another_program(fake: Callable[..., FakeServer], job_id: str) -> None:
    server = fake(lambda _: None)
    with pytest.raises(milepost.Unreachable, match=r"^the server closed the connection without an answer$"):
        milepost.status(job_id, url=server.url)
    assert _connection._say(http.client.IncompleteRead(b"{")) == "the server's answer broke off"


def test_a_host_that_no_name_server_can_be_asked_for(job_id: str) -> None:
    with pytest.raises(milepost.Unreachable, match=f"^{'x' * 80} is not the name of a host$"):
        milepost.status(job_id, url=f"http://{'x' * 80}")


def test_an_address_that_swallows_everything(
    fake: Callable[..., FakeServer],
    reporter: Callable[..., milepost.Reporter],
    monkeypatch: pytest.MonkeyPatch,
    job_id: str,
) -> None:
    """A host with two addresses: the first does not even refuse."""
    server = fake()
    with closing(socket.socket()) as silent, closing(socket.socket()) as filler, closing(socket.socket()) as second:
        silent.bind(("127.0.0.2", server.port))
        silent.listen(0)
        # Its queue is full from here on, and the system answers nobody else.
        for each in (filler, second):
            each.setblocking(False)
            each.connect_ex(("127.0.0.2", server.port))
        real = _socket.getaddrinfo

        def both(host: str, port: int, *options: int) -> Any:
            return [*real("127.0.0.2", port, *options), *real("127.0.0.1", port, *options)]

        monkeypatch.setattr("_socket.getaddrinfo", both)
        make = reporter(f"http://two.example:{server.port}", flush_timeout=1.0)
        make.job(id=job_id).complete()
        assert make.flush(60)
        assert server.updates[-1]["status"] == "completed"
        # From now on the good one comes first.
        server.drop()
        make.job(id=f"{job_id}-again").complete()
        assert make.flush(60)
        assert server.updates[-1]["job_id"] == f"{job_id}-again"
