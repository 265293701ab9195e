"""Tokens that let a page watch jobs: section 15 of the protocol."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Optional

from . import _job_id

_OTHER_PATTERNS = ("tag:", "parent:")
"""What is not an id to a server, but all jobs with a tag, or of a parent."""
LONGEST = 86_400
"""In seconds. A token cannot be revoked."""


def watch_token(job_id: object, *, seconds: int = 900, secret: Optional[str] = None) -> str:
    """A token with which a page may watch that job, and nothing else, for so many seconds (at most a day).

    `secret` is the server's `token_secret`; None: `MILEPOST_TOKEN_SECRET`. It is a JWT signed with HS256. For other
    claims or keys, use a library for JWTs. Raises InvalidJobId, and ValueError if there is no secret, or no token
    can name the job alone: its id begins with `tag:` or `parent:`.
    """
    # Not everybody who imports this wants OpenSSL.
    import hashlib
    import hmac

    known = (secret or os.environ.get("MILEPOST_TOKEN_SECRET") or "").strip()
    if not known:
        raise ValueError("there is no secret to sign with: give one, or set MILEPOST_TOKEN_SECRET")
    if not 1 <= seconds <= LONGEST:
        raise ValueError(f"a token is valid for 1 to {LONGEST} seconds, not {seconds}")
    known_id = _job_id.given(job_id)
    if known_id.startswith(_OTHER_PATTERNS):
        raise ValueError(f"no token can name the job {known_id!r} alone")
    claims = {"exp": int(time.time()) + seconds, "milepost": {"watch": [known_id]}}
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    digest = hmac.new(known.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_encode(digest)}"


def _part(document: object) -> str:
    return _encode(json.dumps(document, separators=(",", ":")).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
