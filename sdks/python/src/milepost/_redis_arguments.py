"""The one argument of the report script: MessagePack values, one after the other, as report.lua names them.

The Rust client has the same encoder; both are held to spec/fixtures/redis-arguments.json."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Union

Argument = Union[str, int, bool, None]


def encode(arguments: Mapping[str, Argument]) -> bytes:
    """The values, in their order. Numbers are not negative."""
    return b"".join(map(_value, arguments.values()))


def _value(value: Argument) -> bytes:
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if value < 128:
            return struct.pack(">B", value)
        return struct.pack(">BI", 0xCE, value) if value < 1 << 32 else struct.pack(">BQ", 0xCF, value)
    text = value.encode()
    if len(text) < 32:
        return struct.pack(">B", 0xA0 | len(text)) + text
    header = struct.pack(">BH", 0xDA, len(text)) if len(text) < 1 << 16 else struct.pack(">BI", 0xDB, len(text))
    return header + text
