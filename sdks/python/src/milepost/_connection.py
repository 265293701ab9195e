"""An HTTP connection that is kept open. Each operation has a deadline."""

from __future__ import annotations

import base64
import encodings.idna  # noqa: F401 The first connection would import it: a fork just then leaves it half done.
import http.client
import socket
import time
from typing import Any, Optional
from urllib.parse import unquote, urljoin, urlsplit

from . import _credential
from ._credential import Token
from ._outcome import Lost
from ._sockets import Dialer, TimedSocket

_AGENT = "milepost-python"


class Connection:
    """Asks one server, one request after the other. A token that is a function is asked for at each connect."""

    def __init__(self, url: str, token: Token) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._default_port = 443 if parts.scheme == "https" else 80
        self._port = parts.port or self._default_port
        self._base = parts.path.rstrip("/")
        self._origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._dialer = Dialer(self._host, self._port, parts.scheme == "https")
        self._headers = {"User-Agent": _AGENT}
        self._token = token
        self.token: Optional[str] = None
        """What the latest connection was made with."""
        if not token and parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            basic = base64.b64encode(pair.encode("utf-8", "surrogateescape")).decode()
            self._headers["Authorization"] = f"Basic {basic}"
        self._http: Optional[http.client.HTTPConnection] = None
        self._socket: Optional[TimedSocket] = None
        self._is_closed = False

    def ask(self, method: str, path: str, timeout: float, **more: Any) -> http.client.HTTPResponse:
        """Sends a request, and returns the response, whose body is not read yet.

        If the server closed a connection that was kept open, the request is sent again on a new one. Raises Lost.
        """
        was_kept = self._http is not None
        if not was_kept:
            self._authorize()
        deadline = time.monotonic() + timeout
        try:
            try:
                return self._ask(method, path, deadline, **more)
            except (ConnectionError, http.client.RemoteDisconnected, http.client.CannotSendRequest):
                self._drop()
                if not was_kept or self._is_closed:
                    raise
                return self._ask(method, path, deadline, **more)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop()
            raise Lost(_say(error)) from error

    def _authorize(self) -> None:
        if self._token:
            self.token = _credential.ask(self._token)
            if self.token:
                self._headers["Authorization"] = f"Bearer {self.token}"
            else:
                self._headers.pop("Authorization", None)

    def _ask(
        self,
        method: str,
        path: str,
        deadline: float,
        body: Optional[bytes] = None,
        headers: Optional[dict[str, str]] = None,
    ) -> http.client.HTTPResponse:
        connection = self._connect(deadline)
        connection.request(method, self._base + path, body, {**self._headers, **(headers or {})})
        return connection.getresponse()

    def redirected(self, path: str, location: str) -> tuple[Connection, str]:
        """The connection and the path to which an answer to a request for `path` redirects. Credentials are sent to the
        same host only, and never in the clear where they were not before. Raises Lost."""
        here = urlsplit(f"{self._origin}{self._base}{path}")
        try:
            there = urlsplit(urljoin(here.geturl(), location))
            if there.scheme not in ("http", "https") or not there.hostname:
                raise ValueError("it is not an HTTP address")
            connection = Connection(f"{there.scheme}://{there.netloc}", None)
        except ValueError as error:
            raise Lost(f"the server redirects to {location[:200]}: {error}") from error
        is_same_host = (there.hostname, connection._port) == (self._host, self._port)
        if is_same_host and (here.scheme, there.scheme) != ("https", "http"):
            connection._headers = self._headers
        query = f"?{there.query}" if there.query else ""
        return connection, f"{there.path}{query}"

    def _connect(self, deadline: float) -> http.client.HTTPConnection:
        if self._http is None:
            sock = self._dialer.dial(deadline)
            connection = http.client.HTTPConnection(self._host, self._port)
            # The header Host has no port where it is the scheme's own.
            connection.default_port = self._default_port
            connection.sock = sock
            self._socket = sock
            self._http = connection
            if self._is_closed:
                raise ConnectionAbortedError("closed")
        assert self._socket is not None
        self._socket.deadline = deadline
        return self._http

    def read(self, response: http.client.HTTPResponse, limit: int) -> bytes:
        """The whole body. Raises Lost, also where it is longer than the limit."""
        try:
            body = response.read(limit + 1)
            if len(body) <= limit and response.read(1) == b"":
                return body
            self._drop()
            raise Lost("the server is not a Milepost server: its response is too large")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop()
            raise Lost(_say(error)) from error

    def read_some(self, response: http.client.HTTPResponse, silence: float) -> bytes:
        """The next bytes of a body, waiting for at most `silence` seconds; empty at its end. Raises Lost."""
        try:
            if self._socket is not None:
                self._socket.deadline = time.monotonic() + silence
            return response.read1(65_536)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            self._drop()
            raise Lost(_say(error)) from error

    # What is no longer HTTP: after an answer with 101

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def has_pending(self) -> bool:
        """Whether something has arrived that the file does not show."""
        return self._socket is not None and self._socket.has_pending

    def send(self, data: bytes, timeout: float) -> None:
        """Raises Lost."""
        try:
            if self._socket is None:
                raise ConnectionAbortedError("closed")
            self._socket.deadline = time.monotonic() + timeout
            self._socket.sendall(data)
        except (OSError, ValueError) as error:
            self._drop()
            raise Lost(_say(error)) from error

    def receive(self, response: http.client.HTTPResponse, timeout: float) -> bytes:
        """What has arrived after that answer, waiting for it for at most so many seconds; empty if the server has
        closed. Raises Lost."""
        try:
            if self._socket is None:
                raise ConnectionAbortedError("closed")
            self._socket.deadline = time.monotonic() + timeout
            # The buffer may have read more than the answer. Afterwards it is empty: a read this large goes past it.
            return response.fp.read1(65_536)
        except (OSError, ValueError) as error:
            self._drop()
            raise Lost(_say(error)) from error

    def abandon(self) -> None:
        """In the child of a fork: closes the socket here, while the parent goes on with it."""
        if self._socket is not None:
            self._socket.abandon()

    def _drop(self) -> None:
        connection, self._http, self._socket = self._http, None, None
        if connection is not None:
            connection.close()

    def release(self) -> None:
        """Closes the connection; the next request makes a new one."""
        self._drop()

    def close(self) -> None:
        """Ends what is under way, from any thread, and allows nothing more."""
        self._is_closed = True
        sock = self._socket
        if sock is not None:
            sock.shut_down()


def _say(error: BaseException) -> str:
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "the server does not answer in time"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the server closed the connection without an answer"
    if isinstance(error, http.client.IncompleteRead):
        return "the server's answer broke off"
    text = str(error) or type(error).__name__
    if isinstance(error, http.client.HTTPException):
        return f"the server is not a Milepost server: {text[:200]}"
    if isinstance(error, OSError):
        return text
    # What Python says of a request that cannot be made repeats what is wrong in it, which may be a credential.
    return f"the request cannot be sent: {type(error).__name__}"
