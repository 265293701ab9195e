"""A WebSocket's client: RFC 6455, as much as a watcher needs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
from typing import NamedTuple, Optional

from ._connection import Connection
from ._credential import Token
from ._outcome import Lost

MAX_MESSAGE = 1 << 20
"""The longest message that is accepted, in bytes. A Milepost server's are hardly longer than a state: 64 KiB."""

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10


class NotAWebSocket(Exception):
    """The server answered with another HTTP status than 101."""

    def __init__(self, status: int, retry_after: Optional[str]) -> None:
        super().__init__(f"the server answered {status}")
        self.status = status
        self.retry_after = retry_after


class Closed(Exception):
    """The server closed the socket."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server closed the socket with {code}: {reason}")
        self.code = code
        self.reason = reason

    @property
    def retry_after(self) -> Optional[float]:
        """How long the server asks to wait, in seconds."""
        try:
            wait = json.loads(self.reason)["retry_ms"]
            return float(wait) / 1000
        except (ValueError, TypeError, KeyError):
            return None


class Frame(NamedTuple):
    is_last: bool
    kind: int
    payload: bytes


class Frames:
    """Turns bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that are complete now. Raises Lost."""
        self._rest += piece
        found = []
        while (frame := self._next()) is not None:
            found.append(frame)
        return found

    def _next(self) -> Optional[Frame]:
        rest = self._rest
        if len(rest) < 2:
            return None
        if rest[0] & 0x70 or rest[1] & 0x80:
            raise Lost("the server is not a Milepost server: an invalid frame")
        size, at = rest[1] & 0x7F, 2
        if size >= 126:
            length = 2 if size == 126 else 8
            if len(rest) < at + length:
                return None
            size, at = int.from_bytes(rest[at : at + length], "big"), at + length
        if size > MAX_MESSAGE:
            raise Lost(f"the server is not a Milepost server: a message of more than {MAX_MESSAGE} bytes")
        if len(rest) < at + size:
            return None
        frame = Frame(bool(rest[0] & 0x80), rest[0] & 0x0F, bytes(rest[at : at + size]))
        del rest[: at + size]
        return frame


class WebSocket:
    """An open socket. One thread owns it."""

    def __init__(self, url: str, token: Token, timeout: float) -> None:
        """Connects. Raises Lost, or NotAWebSocket."""
        key = base64.b64encode(os.urandom(16)).decode()
        self._connection = Connection(url, token)
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        headers["Sec-WebSocket-Key"] = key
        self._response = self._connection.ask("GET", "/ws", timeout, headers=headers)
        try:
            if self._response.status != 101:
                raise NotAWebSocket(self._response.status, self._response.getheader("Retry-After"))
            digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
            if self._response.getheader("Sec-WebSocket-Accept") != base64.b64encode(digest).decode():
                raise Lost("the server is not a Milepost server: it does not accept the key")
        except BaseException:
            self._connection.release()
            raise
        self._frames = Frames()
        self._message = bytearray()
        self._has_read = False
        self._closed: Optional[Closed] = None

    @property
    def token(self) -> Optional[str]:
        """What it was opened with."""
        return self._connection.token

    def fileno(self) -> int:
        """For `select`. There may be something to read although the file has none: see `has_pending`."""
        return self._connection.fileno()

    @property
    def has_pending(self) -> bool:
        """Whether something has arrived that the file does not show."""
        # What came together with the answer waits in its buffer. A server begins with a message.
        return not self._has_read or self._closed is not None or self._connection.has_pending

    def send(self, messages: list[object], timeout: float) -> None:
        """Sends each as JSON. Raises Lost."""
        texts = (json.dumps(message, separators=(",", ":")).encode() for message in messages)
        self._connection.send(b"".join(_frame(_TEXT, text) for text in texts), timeout)

    def receive(self, timeout: float) -> list[bytes]:
        """What has arrived, waiting for it for at most so many seconds: whole messages. Raises Lost, Closed."""
        self._has_read = True
        if self._closed is not None:
            raise self._closed
        piece = self._connection.receive(self._response, timeout)
        if not piece:
            raise Lost("the server closed the connection")
        found = []
        for frame in self._frames.feed(piece):
            try:
                message = self._handle(frame, timeout)
            except Closed as closed:
                # What came before comes first.
                self._closed = closed
                break
            if message is not None:
                found.append(message)
        return found

    def _handle(self, frame: Frame, timeout: float) -> Optional[bytes]:
        if frame.kind == _CLOSE:
            code = struct.unpack(">H", frame.payload[:2])[0] if len(frame.payload) >= 2 else 1005
            raise Closed(code, frame.payload[2:].decode("utf-8", "replace"))
        if frame.kind == _PING:
            self._connection.send(_frame(_PONG, frame.payload), timeout)
        if frame.kind not in (_CONTINUATION, _TEXT, _BINARY):
            return None
        self._message += frame.payload
        if len(self._message) > MAX_MESSAGE:
            raise Lost(f"the server is not a Milepost server: a message of more than {MAX_MESSAGE} bytes")
        if not frame.is_last:
            return None
        whole, self._message = bytes(self._message), bytearray()
        return whole

    def close(self, timeout: float) -> None:
        """Sends a close frame, and closes the connection."""
        try:
            self._connection.send(_frame(_CLOSE, struct.pack(">H", 1000)), timeout)
        except Lost:
            pass
        self._connection.release()

    def abandon(self) -> None:
        """In the child of a fork: closes the socket here, while the parent goes on with it."""
        self._connection.abandon()

    def release(self) -> None:
        """Closes the connection without a close frame."""
        self._connection.release()


def _frame(kind: int, payload: bytes) -> bytes:
    """A frame as a client sends it: masked."""
    size, mask = len(payload), os.urandom(4)
    if size < 126:
        head = bytes((0x80 | kind, 0x80 | size))
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x80 | kind, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | kind, 0x80 | 127, size)
    pad = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
    return head + mask + masked
