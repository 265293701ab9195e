"""Milepost's scripts on a Redis or Valkey: section 14 of the protocol."""

from __future__ import annotations

import email.parser  # noqa: F401 The first connection would import these: a fork just then leaves them half done.
import encodings.idna  # noqa: F401
import hashlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple, Optional, Union

import redis
import redis.cluster
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import _threads
from ._attributes import accepts
from ._outcome import Lost
from ._redis_address import RedisAddress, parse
from ._redis_arguments import Argument, encode
from ._update import ENDS, Encoded, quote

TTL_MS = 3_600_000
"""How long a job is kept after an update without a `ttl`, and after its end."""
MAX_STATES = 32
MAX_HISTORY_BYTES = 65_536
PATIENCE = 2.0
"""How many seconds connecting may take, and a response without another bound."""

# Some of redis-py has no types.
_UNTYPED: Any = redis

_INDEX = ("{milepost}:begun", "{milepost}:expires")
_CLOCKS = "{milepost}:clocks"
_PARENTS = "{milepost}:parents"
_MAX_CHILDREN = 100_000


class Script:
    def __init__(self, *parts: str, whatever_memory: bool = False) -> None:
        text = "".join(parts)
        # An end has to be kept even if Redis is out of memory.
        self.text = f"#!lua flags=allow-oom\n{text}" if whatever_memory else text
        self.hash = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        names = re.search(r"^local (.+) = unpack\(ARGV\)$", self.text, re.MULTILINE)
        self.argument_names = names[1].split(", ") if names is not None else None
        """In order. None for the script that folds: its only argument has all others in it."""


def _file(name: str) -> str:
    return resources.files("milepost").joinpath("_scripts", name).read_text("utf-8")


_SHARED = (_file("attempt.lua"), _file("children.lua"), _file("pace.lua"), _file("timeline.lua"), _file("report.lua"))
_FOLD = ("local legacy\n", *_SHARED)
"""The fold of what reporters send, without what legacy workers need."""
_LEGACY_FOLD = (_file("legacy.lua"), *_SHARED)
REPORT = Script(*_FOLD)
REPORT_END = Script(*_FOLD, whatever_memory=True)
LEGACY = Script(*_LEGACY_FOLD)
LEGACY_END = Script(*_LEGACY_FOLD, whatever_memory=True)
READ = Script(_file("read.lua"))
CHILD = Script(_file("children.lua"), _file("child.lua"), whatever_memory=True)


class Call(NamedTuple):
    """One run of a script."""

    script: Script
    keys: list[str]
    arguments: dict[str, Argument]
    """With the names that the script gives them."""

    @property
    def words(self) -> list[Any]:
        names, arguments = self.script.argument_names, self.arguments
        values: list[Any] = [encode(arguments)]
        if names is not None:
            values = [str(arguments.get(name, "")) for name in names]
        return [self.script.hash, len(self.keys), *self.keys, *values]


class Names:
    """The keys and channels of jobs. In a Cluster the id stands in braces, so that they are on one server."""

    def __init__(self, is_cluster: bool) -> None:
        self.is_cluster = is_cluster
        self.publish = "SPUBLISH" if is_cluster else "PUBLISH"

    def name(self, prefix: str, job_id: str) -> str:
        return f"{prefix}:{{{job_id}}}" if self.is_cluster else f"{prefix}:{job_id}"

    def keys(self, job_id: str) -> list[str]:
        return [self.name(prefix, job_id) for prefix in ("job_status", "job_meta")]

    def channel(self, job_id: str) -> str:
        return self.name("job_progress", job_id)


class RedisClient:
    """A connection to a Redis, for one thread. It connects on first use, and again after a failure."""

    def __init__(self, url: str) -> None:
        self._address: RedisAddress = parse(url)
        self.names = Names(self._address.is_cluster)
        self._redis: Any = None
        self._ahead = 0.0
        """The server's clock, less this machine's that does not go back, in milliseconds."""

    def connection(self) -> Any:
        """Raises Lost."""
        if self._redis is None:
            made = self._connect()
            try:
                sent = _clock()
                seconds, micros = made.time(target_nodes="random") if self.names.is_cluster else made.time()
                self._ahead = seconds * 1_000 + micros // 1_000 - sent
            except redis.RedisError as error:
                made.close()
                raise Lost(say(error)) from error
            self._redis = made
        return self._redis

    def _connect(self) -> Any:
        _threads.resolve_here()
        address = self._address
        username, password = address.login
        common: dict[str, Any] = {
            "username": username,
            "password": password,
            "socket_timeout": PATIENCE,
            "socket_connect_timeout": PATIENCE,
            "retry": Retry(NoBackoff(), 0),
            "ssl": address.has_tls,
        }
        try:
            if address.kind == "cluster":
                nodes = [_UNTYPED.cluster.ClusterNode(host, port) for host, port in address.hosts]
                return redis.cluster.RedisCluster(startup_nodes=nodes, **{**common, "retry": Retry(NoBackoff(), 3)})
            if address.kind == "sentinel":
                of_sentinel = dict(zip(("username", "password"), address.sentinel_login))
                options = {"sentinel_kwargs": {**common, **of_sentinel}, "db": address.db, **common}
                sentinel = _UNTYPED.sentinel.Sentinel(address.hosts, **options)
                return sentinel.master_for(address.service)
            host, port = address.hosts[0]
            return redis.Redis(host=host, port=port, db=address.db, single_connection_client=False, **common)
        except redis.RedisError as error:
            raise Lost(say(error)) from error

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Runs the scripts, and returns what each answered, or the ResponseError that it was answered with. Raises
        Lost."""
        connection = self.connection()
        try:
            answers = self._evaluate(connection, calls)
            unknown = [at for at, answer in enumerate(answers) if isinstance(answer, redis.exceptions.NoScriptError)]
            if unknown:
                for script in {calls[at].script for at in unknown}:
                    connection.script_load(script.text)
                again = self._evaluate(connection, [calls[at] for at in unknown])
                for at, answer in zip(unknown, again):
                    answers[at] = answer
        except (redis.RedisError, OSError) as error:
            self.release()
            raise Lost(say(error)) from error
        for answer in answers:
            if isinstance(answer, _NOT_NOW):
                self.release()
                raise Lost(say(answer))
        return answers

    def _evaluate(self, connection: Any, calls: Sequence[Call]) -> list[Any]:
        if self.names.is_cluster:
            return [self._evaluate_alone(connection, call) for call in calls]
        pipeline = connection.pipeline(transaction=False)
        for call in calls:
            pipeline.evalsha(*call.words)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        return answers

    def _evaluate_alone(self, connection: Any, call: Call) -> Any:
        try:
            return connection.evalsha(*call.words)
        except redis.ResponseError as error:
            return error

    def report(
        self,
        job_id: str,
        update: Encoded,
        timeout: Optional[float],
        *,
        origin: str = "report",
        after: Union[int, str, None] = None,
        pass_over: bool = False,
    ) -> Call:
        """A run of the script that folds: see report.lua. With a timeout it is not taken later than that."""
        fields = dict(update.fields)
        attempt = fields.pop("attempt", None)
        unless_known = fields.get("unless_known") == "true"
        if unless_known:
            del fields["unless_known"]
        keys = self.names.keys(job_id)
        if not self.names.is_cluster:
            keys += [*_INDEX, _CLOCKS]
        arguments: dict[str, Argument] = {
            "channel": self.names.channel(job_id),
            "publish": self.names.publish,
            "job": job_id,
            "origin": "first" if unless_known and origin == "report" else origin,
            # The fold adds a progress that is not known.
            "fields": ",".join(
                f"{quote(name)}:{value}" for name, value in fields.items() if (name, value) != ("progress", "null")
            ),
            "status": _status(update),
            "named": None if attempt is None else int(attempt),
            "ttl": int(fields["ttl"]) if "ttl" in fields else None,
            "stage": fields.get("stage"),
            "progress": fields.get("progress"),
            "current": update.number("current"),
            "total": update.number("total"),
            "stage_progress": update.number("stage_progress"),
            "given_attributes": update.attributes(),
            "given_eta": fields.get("eta"),
            "has_eta_high": "eta_high" in fields,
            "is_paused": fields.get("paused") == "true",
            "has_timestamp": "timestamp" in fields,
            "random": secrets.token_hex(16),
            "keep": TTL_MS,
            "keep_ended": TTL_MS,
            "max_states": MAX_STATES,
            "max_bytes": MAX_HISTORY_BYTES,
            "deadline": None if timeout is None else int(_clock() + self._ahead + timeout * 1_000),
            # redis-py may reconnect by itself, to another server, so the script looks up which one it runs on.
            "server": None,
            "server_until": None,
            "after": after,
            "ignore_key": pass_over,
            # What a name's jobs usually take is read and kept by servers and by the Rust reporter.
            "given_usual": None,
            "given_weights": None,
            "wants_meta": False,
        }
        if origin == "report":
            script = REPORT_END if is_end(update) else REPORT
        else:
            script = LEGACY_END if is_end(update) else LEGACY
        return Call(script, keys, arguments)

    def was_late(self, theirs: bytes, timeout: float, since: float) -> bool:
        """The server answered that a report, sent at `since`, came too late. Returns whether it did. Otherwise the
        clocks differ, and it may be sent again."""
        ahead = int(theirs) - since
        is_known = time.monotonic() * 1_000 - since >= timeout * 1_000
        if not is_known:
            self._ahead = max(self._ahead, ahead)
        return is_known

    def read(self, job_id: str, after: Optional[str], most: int) -> Call:
        """A run of the script that reads: see read.lua."""
        return Call(READ, self.names.keys(job_id), {"position": after or "", "max_states": most})

    def update_index(self, job_id: str, answer: Sequence[bytes]) -> None:
        """Updates the index of a Cluster, which the report script cannot reach. A lost change is repeated by a later
        report."""
        if answer[0] != b"new" or not answer[4]:
            return
        self._add(dict(zip(_INDEX, answer[4:6])), job_id)

    def update_clock(self, job_id: str, answer: Sequence[bytes]) -> None:
        """Updates the list of clocks of a Cluster, in the same way."""
        if answer[0] == b"new" and len(answer) > 7 and answer[7]:
            self._add({_CLOCKS: answer[7]}, job_id)

    def _add(self, scores: Mapping[str, bytes], job_id: str) -> None:
        try:
            for key, score in scores.items():
                self.connection().zadd(key, {job_id: float(score)})
        except (redis.RedisError, Lost):
            pass

    def notify_parent(self, job_id: str, state: dict[str, Any]) -> None:
        """Notifies the job's parent, if it has one, of the job's state: section 18. A lost notification is repeated by
        the job's next report, or by a server."""
        parent = state.get("parent_id")
        if parent is None or not accepts("parent_id", parent):
            return
        self._change_child(parent, self._child(parent, job_id, _summary(state)))

    def leave_parent(self, job_id: str, answer: Sequence[bytes]) -> None:
        """Tells the parent that the job has left with this report, if it has left one. If that is lost, a server finds
        out."""
        if answer[0] != b"new" or len(answer) < 7 or not answer[6]:
            return
        parent = answer[6].decode()
        self._change_child(parent, self._child(parent, job_id, {"status": "gone"}))

    def _change_child(self, parent: str, call: Call) -> None:
        try:
            (answer,) = self.run([call])
            if self.names.is_cluster and not isinstance(answer, Exception) and answer != b"0":
                self.connection().zadd(_PARENTS, {parent: float(answer)}, lt=True)
        except (redis.RedisError, Lost):
            pass

    def _child(self, parent: str, job_id: str, child: Mapping[str, Argument]) -> Call:
        """A run of the script that keeps what a parent has to know of a child: see child.lua."""
        keys = [self.names.keys(parent)[1], *([] if self.names.is_cluster else [_PARENTS])]
        bounds: dict[str, Argument] = {"keep": TTL_MS, "max_children": _MAX_CHILDREN, "interval": 200}
        return Call(CHILD, keys, {"parent": parent, "child": job_id, **child, **bounds})

    def release(self) -> None:
        """Closes the connection; the next call makes a new one."""
        made, self._redis = self._redis, None
        if made is not None:
            try:
                made.close()
            except (redis.RedisError, OSError):
                pass


_NOT_NOW = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.AuthenticationError,
    redis.exceptions.AuthorizationError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.ConnectionError,
)
"""Errors that do not concern a single report. It may succeed later, or on another connection."""


def is_end(update: Encoded) -> bool:
    return _status(update) in ENDS


def _status(update: Encoded) -> str:
    return update.fields["status"].strip('"')


def _clock() -> float:
    return time.monotonic() * 1_000


def say(error: BaseException) -> str:
    """For people."""
    if isinstance(error, (redis.TimeoutError, TimeoutError)):
        return "Redis did not answer in time"
    return f"Redis: {str(error) or type(error).__name__}"


def _summary(state: dict[str, Any]) -> dict[str, Argument]:
    """What a parent has to know of its child."""
    status = state["status"]
    if status not in ENDS and state.get("health") == "lost":
        status = "lost"
    progress, weight = state.get("progress"), state.get("weight", 1)
    done = 1.0 if status in ENDS else float(progress or 0)
    epoch, number = state["position"].split("-")
    return {
        "status": status,
        "progress": repr(done),
        "weight": repr(weight if accepts("weight", weight) else 1),
        "attempt": state["attempt"],
        "epoch": epoch,
        "number": number,
    }
