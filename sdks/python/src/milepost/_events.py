"""Server-sent events, as they come in pieces: section 8 of the protocol, and the HTML standard's event stream."""

from __future__ import annotations

from typing import NamedTuple, Optional

MAX_EVENT = 1 << 20
"""An event longer than this (a state has at most 64 KiB and a little) is none of a Milepost server."""


class TooLong(ValueError):
    """An event that does not end."""


class Event(NamedTuple):
    name: str
    """`message` where the server named none."""
    data: str
    id: Optional[str]


class Events:
    """Turns bytes into events."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []
        self._id: Optional[str] = None
        self._size = 0
        self.retry: Optional[float] = None
        """How long the server asks to wait before reconnecting, in seconds."""

    def feed(self, piece: bytes) -> list[Event]:
        """The events that are complete now. Raises TooLong."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self._size += len(piece)
        found = [event for line in lines if (event := self._line(line.rstrip(b"\r"))) is not None]
        if max(self._size, len(self._rest)) > MAX_EVENT and not found:
            raise TooLong(f"an event of more than {MAX_EVENT} bytes")
        if found:
            self._size = len(self._rest)
        return found

    def _line(self, line: bytes) -> Optional[Event]:
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) < 10:
            self.retry = int(value) / 1000
        elif not name:
            # A comment keeps the connection alive, and counts for nothing.
            self._size = 0
        return None

    def _dispatch(self) -> Optional[Event]:
        event = Event(self._name or "message", "\n".join(self._data), self._id) if self._data else None
        self._name, self._data, self._id = "", [], None
        return event
