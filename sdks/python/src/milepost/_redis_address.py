"""The address of a Redis, from a URL."""

from __future__ import annotations

from typing import NamedTuple, Optional
from urllib.parse import parse_qs, unquote

SCHEMES = {
    f"{base}{kind}": (tls, kind[1:])
    for base, tls in (("redis", False), ("valkey", False), ("rediss", True), ("valkeys", True))
    for kind in ("", "+sentinel", "+cluster")
}


class InvalidRedisUrl(ValueError):
    """What is wrong with the URL. Never repeats a password."""


class Login(NamedTuple):
    username: Optional[str]
    password: Optional[str]


class RedisAddress(NamedTuple):
    """`redis://[[user]:password@]host[:6379][/db]`,
    `redis+sentinel://[[user]:password@]host[:26379][,host…][/service[/db]]` (with `sentinel_username` and
    `sentinel_password` in the query for the Sentinels themselves; the service is `mymaster` if none is named), or
    `redis+cluster://[[user]:password@]host[:6379][,host…]`. With `rediss` over TLS; `valkey` may stand for `redis`."""

    kind: str
    """Empty, `sentinel` or `cluster`."""
    has_tls: bool
    hosts: list[tuple[str, int]]
    login: Login
    sentinel_login: Login
    service: str
    db: int

    @property
    def is_cluster(self) -> bool:
        return self.kind == "cluster"


def parse(url: str) -> RedisAddress:
    """Raises InvalidRedisUrl."""
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        raise InvalidRedisUrl("it does not begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")
    has_tls, kind = SCHEMES[scheme]
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    login, _, names = authority.rpartition("@")
    username, colon, password = login.partition(":")
    hosts = [_host(name, 26_379 if kind == "sentinel" else 6_379) for name in names.split(",")]
    if not kind and len(hosts) > 1:
        raise InvalidRedisUrl("it names several hosts, which needs redis+sentinel:// or redis+cluster://")
    parts = [unquote(part) for part in path.split("/") if part]
    service = (parts.pop(0) if parts else "mymaster") if kind == "sentinel" else ""
    db = parts.pop(0) if parts else "0"
    if parts or not db.isdecimal() or (kind == "cluster" and db != "0"):
        raise InvalidRedisUrl("its path does not name a database")
    parameters = parse_qs(query)
    return RedisAddress(
        kind,
        has_tls,
        hosts,
        Login(unquote(username) or None, unquote(password) if colon else None),
        Login(parameters.get("sentinel_username", [None])[0], parameters.get("sentinel_password", [None])[0]),
        service,
        int(db),
    )


def _host(text: str, default: int) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise InvalidRedisUrl("it has a [ without a ]")
        port = rest[1:]
        has_port = bool(rest)
    else:
        host, colon, port = text.partition(":")
        has_port = bool(colon)
    if not host:
        raise InvalidRedisUrl("it names no host")
    if not has_port:
        return host, default
    if not port.isdecimal() or not 0 < int(port) < 65_536:
        raise InvalidRedisUrl("its port is not a number from 1 to 65535")
    return host, int(port)
