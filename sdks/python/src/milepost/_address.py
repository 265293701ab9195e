"""Where the server is."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import Optional
from urllib.parse import urlsplit

from . import _environment, _redis_address

_LEAST_REDIS = 5


class InvalidUrl(ValueError):
    """The URL is neither that of a Milepost server nor that of a Redis. The message names the mistake."""


def from_environment() -> Optional[str]:
    """`MILEPOST_URL`; None if it is not set. `REDIS_URL` is mostly the program's own Redis: only `milepost.compat`,
    which takes the place of a reporter that used it, reports there. Warns of misspelt variables."""
    _environment.warn_of_misspelt(os.environ)
    return os.environ.get("MILEPOST_URL") or None


def check(url: str) -> str:
    """The URL without a slash at its end. Raises InvalidUrl."""
    shown = without_password(url)
    if is_redis(url):
        try:
            _redis_address.parse(url)
        except _redis_address.InvalidRedisUrl as error:
            raise InvalidUrl(f"{shown!r} is not the URL of a Redis: {error}") from None
        return url
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidUrl(f"{shown!r} is not a URL: {_why(url, error)}") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidUrl(f"{shown!r} does not begin with http://, https://, redis:// or rediss://")
    if not host or port == 0:
        raise InvalidUrl(f"{shown!r} names no host" if not host else f"{shown!r} has no usable port")
    if parts.query or parts.fragment:
        raise InvalidUrl(f"{shown!r} has a query; a server's address has none")
    return url.rstrip("/")


def _why(url: str, error: ValueError) -> str:
    # What Python says of it may repeat a part of the password, which it takes for the host or the port.
    return "of its password, each of /?#[]@: is written as %2F and so on" if "@" in url else str(error)


def is_redis(url: str) -> bool:
    """Whether the URL has the scheme of a Redis."""
    return url.partition("://")[0] in _redis_address.SCHEMES


def without_password(url: str) -> str:
    """The URL for people to read, without user name and password, and without its query, which may have a token."""
    scheme, separator, rest = url.partition("://")
    shown = f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if separator and "@" in rest else url
    return re.sub(r"([?#]).*", r"\1…", shown, count=1, flags=re.DOTALL)


def check_redis() -> None:
    """Raises ImportError if the module `redis` is there and cannot be used: it is too old, or another one."""
    import redis

    version = getattr(redis, "VERSION", None)
    where = getattr(redis, "__file__", None) or "built in"
    try:
        is_usable = tuple(version or ())[:1] >= (_LEAST_REDIS,)
    except Exception:
        is_usable = False
    if not is_usable:
        found = getattr(redis, "__version__", None)
        what = f"redis-py {found} is too old" if found else f"the module redis ({where}) is not redis-py"
        raise ImportError(f"{what}; it takes redis-py {_LEAST_REDIS}.0 or later, `pip install 'milepost[redis]'`")


def explain(error: Exception) -> str:
    """Why a transport cannot be made, for people."""
    return str(error) if isinstance(error, ImportError) and str(error) else f"{type(error).__name__}: {error}"


def missing_package(url: str) -> Optional[str]:
    """The package to install before such a URL can be used, and how; None if nothing is missing."""
    if is_redis(url):
        try:
            is_there = importlib.util.find_spec("redis") is not None
        except (OSError, ValueError):
            # There are no more files to look; or the module was made at run time, and has no file.
            is_there = True
        if not is_there:
            return "it needs the package redis: `pip install 'milepost[redis]'`"
    return None
