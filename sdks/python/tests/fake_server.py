"""Servers that no user should have: slow, refusing, full, lying."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Optional


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def updates(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines() if line]


Answer = Optional[bytes]
"""None: the connection is closed without a word."""


class FakeServer:
    """Answers each request as `answer` says, and remembers it. `answer` may be set anew at any time."""

    def __init__(self, answer: Callable[[Request], Answer], port: int = 0) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def updates(self) -> list[dict[str, Any]]:
        return [update for request in list(self.requests) for update in request.updates]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                while line := stream.readline():
                    method, path, _ = line.decode().split(" ")
                    headers = {}
                    while (header := stream.readline()) not in (b"\r\n", b""):
                        name, _, value = header.decode().partition(":")
                        headers[name.lower()] = value.strip()
                    body = stream.read(int(headers.get("content-length", 0)))
                    if "upgrade" in headers:
                        connection.sendall(http(404, "no WebSocket here"))
                        continue
                    request = Request(method, path, headers, body)
                    self.requests.append(request)
                    answer = self.answer(request)
                    if answer is None:
                        return
                    connection.sendall(answer)
        except (OSError, ValueError):
            # The other one: what came is no HTTP.
            pass

    def drop(self) -> None:
        """Breaks all connections."""
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join()


def http(status: int, body: str, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body.encode())}", *headers]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def accept(request: Request) -> Answer:
    """As a good server does."""
    outcomes = [
        {"job_id": update["job_id"], "attempt": update.get("attempt", 1), "position": "1-1"}
        for update in request.updates
    ]
    return http(200, "\n".join(map(json.dumps, outcomes)))


def problem(status: int, name: str, *, detail: object = "because", **more: object) -> str:
    kind = f"urn:milepost:problem:{name}"
    return json.dumps({"type": kind, "title": name, "status": status, "detail": detail, **more})


def refuse(status: int, name: str, **more: object) -> Callable[[Request], Answer]:
    """Refuses each update for that reason."""

    def answer(request: Request) -> Answer:
        document = problem(status, name, **more)
        if request.path == "/updates":
            return http(200, "\n".join([document] * len(request.updates)))
        return http(status, document)

    return answer
