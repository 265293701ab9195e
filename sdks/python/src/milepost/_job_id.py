"""Job ids: section 1 of the protocol."""

from __future__ import annotations

import re
import uuid

MAX_LENGTH = 128
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9\-._~:@]")


class InvalidJobId(ValueError):
    """The text is not a job id. The message says why."""


def parse(text: str) -> str:
    """The id, if it is one.

    Raises InvalidJobId, which names the first character that is not allowed, or the length.
    """
    found = _NOT_ALLOWED.search(text)
    if found:
        raise InvalidJobId(f"a job id may not contain {found.group()!r}")
    if not 1 <= len(text) <= MAX_LENGTH:
        raise InvalidJobId(f"a job id must have 1 to {MAX_LENGTH} characters, not {len(text)}")
    if text in (".", ".."):
        raise InvalidJobId(f"{text!r} is not a job id, because it means a folder in a URL")
    return text


def given(value: object) -> str:
    """The id that a caller has passed, which need not be a text. Raises InvalidJobId."""
    if value is None:
        raise InvalidJobId("a job id is needed, and None is none")
    return parse(str(value))


def make(name: str) -> str:
    """A unique id that begins with the name."""
    slug = _NOT_ALLOWED.sub("-", name)[:80].strip("-")
    unique = str(uuid.uuid4())
    return f"{slug}-{unique}" if slug else unique
