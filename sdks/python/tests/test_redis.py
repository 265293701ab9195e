"""Reporting to Redis, and watching there."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
from live_redis import LiveRedis
from live_server import eventually, free_port

import milepost
from milepost import _foreign, _redis_address, _redis_client
from milepost._outcome import Accepted, AttemptOver, Lost
from milepost._redis import Redis
from milepost._redis_arguments import encode
from milepost._redis_source import RedisSource
from milepost._source import Ended, Query
from milepost._transport import Outgoing
from milepost._update import Encoded

ROOT = Path(__file__).parents[3]
Make = Callable[..., milepost.Reporter]
Warnings = Callable[[], list[str]]


def test_the_scripts_are_copies() -> None:
    scripts = Path(_redis_client.__file__).parent / "_scripts"
    copies = sorted(scripts.glob("*.lua"))
    names = [f"{name}.lua" for name in ("attempt", "child", "children", "legacy", "pace", "read", "report", "timeline")]
    assert [copy.name for copy in copies] == names
    for copy in copies:
        assert copy.read_bytes() == (ROOT / "crates/redis/src/scripts" / copy.name).read_bytes(), (
            f"cp crates/redis/src/scripts/{copy.name} {copy.relative_to(ROOT)}"
        )


STATE = {"status": "processing", "progress": 0.5, "attempt": 1, "position": "a-1"}


def test_the_scripts_arguments() -> None:
    """As report.lua names them, and encoded as the Rust client does."""
    script = (ROOT / "crates/redis/src/scripts/report.lua").read_text("utf-8")
    named = script.partition("\nlocal ")[2].partition("= cmsgpack.unpack(ARGV[1])")[0]
    client = _redis_client.RedisClient("redis://localhost")
    call = client.report("j1", encoded("j1").update, 1.0)
    assert list(call.arguments) == named.replace(",", " ").split()
    for named_call in (client.read("j1", None, 1), client._child("p1", "j1", _redis_client._summary(STATE))):
        assert set(named_call.arguments) <= set(named_call.script.argument_names or [])
    for case in fixture("redis-arguments.json")["cases"]:
        values = {str(at): value for at, value in enumerate(case["values"])}
        assert encode(values).hex() == case["hex"], case


def fixture(name: str) -> Any:
    return json.loads((ROOT / "spec/fixtures" / name).read_text("utf-8"))


def text_of(case: dict[str, Any]) -> bytes:
    if "update_hex" in case:
        return bytes.fromhex(case["update_hex"])
    if "update_text" in case:
        return str(case["update_text"]).encode("utf-8", "surrogatepass")
    return json.dumps(case["update"], ensure_ascii=False).encode("utf-8", "surrogatepass")


class Fold:
    """Folds one job's updates in Redis, as they were written, and compares with what the fixtures say."""

    def __init__(self, client: _redis_client.RedisClient, cases: dict[str, Any], job_id: str) -> None:
        self._client = client
        self._job_id = job_id
        self._cases = cases
        self._serial = 0
        self._moments: dict[str, str] = {}
        """What the server's clock said, and what it says in the fixtures."""

    def step(self, case: dict[str, Any]) -> None:
        update = _foreign.read("j1", text_of(case))
        fields = {**update.fields, "job_id": json.dumps(self._job_id)}
        call = self._client.report(
            self._job_id, Encoded(fields, update.ended), 60, origin=case.get("origin", "report"), after=self._serial
        )
        # So that no two steps happen in the same millisecond.
        time.sleep(0.001)
        (answer,) = self._client.run([call])
        if "refused" in case:
            kinds = {"attempt-ended": b"ended", "attempt-superseded": b"superseded"}
            assert answer[0] == kinds[case["refused"]["problem"]], case
        elif "repeated" in case:
            assert answer[0] == b"repeated", case
        else:
            assert answer[0] == b"new", case
            text = answer[1].decode().replace(json.dumps(self._job_id), '"j1"', 1)
            state = json.loads(text)
            self._serial = int(answer[2] or self._serial)
            expected = case["state_text"] if "state_text" in case else case["state"]
            # The epoch is the script's own.
            wanted = expected if isinstance(expected, dict) else json.loads(expected)
            assert state["position"].partition("-")[2] == wanted["position"].partition("-")[2], case
            text = text.replace(state["position"], wanted["position"])
            now = case.get("now") or self._cases["now"]
            self._moments[state.get("ended_at") or state["last_seen_at"]] = f"{now[:-4]}Z"
            if "timestamp" not in update.fields:
                text = text.replace(state["timestamp"], now)
            for theirs, ours in self._moments.items():
                text = text.replace(f'"{theirs}"', f'"{ours}"')
            assert (text if isinstance(expected, str) else json.loads(text)) == expected, case


def client_of(redis: LiveRedis) -> _redis_client.RedisClient:
    client = _redis_client.RedisClient(redis.url)
    client.connection()
    return client


def test_the_fixtures_of_updates(redis: LiveRedis, job_id: str) -> None:
    cases = fixture("update.json")
    client = client_of(redis)
    for number, case in enumerate(cases["accepted"]):
        Fold(client, cases, f"{job_id}-{number}").step(case)
    for case in cases["refused"]:
        # A job id that is none, or is missing, is found by whoever has the address.
        if case["problem"] != "invalid-job-id" and case.get("address") is not False:
            with pytest.raises(_foreign.Unreadable):
                _foreign.read("j1", text_of(case))
    client.release()


def test_the_fixtures_of_the_fold(redis: LiveRedis, job_id: str) -> None:
    cases = fixture("fold.json")
    client = client_of(redis)
    folded = 0
    for number, case in enumerate(cases["cases"]):
        if any("epoch" in step for step in case["steps"]):
            continue
        fold = Fold(client, cases, f"{job_id}-{number}")
        for step in case["steps"]:
            fold.step(step)
            folded += 1
    assert folded > 50
    client.release()


def test_the_urls() -> None:
    parse = _redis_address.parse
    assert parse("redis://localhost").hosts == [("localhost", 6379)]
    assert parse("rediss://:secret@[::1]:7000/")[:3] == ("", True, [("::1", 7000)])
    assert parse("valkey://me:p%40ss@h/3").login == ("me", "p@ss")
    assert parse("valkey://h/3").db == 3
    sentinel = parse("redis+sentinel://a,b:1/main/2?sentinel_password=x")
    assert sentinel.hosts == [("a", 26379), ("b", 1)]
    assert (sentinel.service, sentinel.db, sentinel.sentinel_login.password) == ("main", 2, "x")
    assert parse("redis+sentinel://a").service == "mymaster"
    assert parse("redis+cluster://a:1,b:2").is_cluster
    for url in ("redis://", "redis://a,b", "redis://h:0", "redis://h:x", "redis://h/x", "redis://h/1/2", "redis://[::1",
                "redis+cluster://h/1", "redis+other://h"):  # fmt: skip
        with pytest.raises(_redis_address.InvalidRedisUrl):
            parse(url)
        assert milepost.Reporter(url).url is None


def test_a_job_from_its_beginning_to_its_end(redis: LiveRedis, reporter: Make, job_id: str) -> None:
    make = reporter(redis.url)
    with make.job(id=job_id, ttl=60) as job:
        for _ in job.track(range(3), stage="render"):
            assert make.flush(60)
        job.result({"url": "u"})
    assert make.flush(60)
    found = milepost.status(job_id, url=redis.url)
    assert found is not None
    assert (found.status, found.result, found["ttl"]) == ("completed", {"url": "u"}, 60)
    assert job.refused is None
    with redis.client() as client:
        assert 0 < client.ttl(f"job_status:{job_id}") <= 60
        assert client.zscore("{milepost}:begun", job_id) is not None
    again = make.job(id=job_id)
    again.advance()
    refused = eventually(lambda: again.refused)
    assert refused is not None
    assert (refused.problem, refused.attempt, refused.position) == ("attempt-ended", 1, found.position)
    assert refused.detail == f"attempt 1 of {job_id} has ended: completed"


def test_many_jobs_at_once(redis: LiveRedis, reporter: Make, job_id: str) -> None:
    make = reporter(redis.url)
    jobs = [make.job(id=f"{job_id}-{number}") for number in range(300)]
    for job in jobs:
        job.complete()
    assert make.flush(60)
    with redis.client() as client:
        assert all(client.exists(f"job_status:{job.id}") for job in jobs)


def test_scripts_that_the_server_has_forgotten(redis: LiveRedis, reporter: Make, job_id: str) -> None:
    make = reporter(redis.url)
    job = make.job(id=job_id)
    assert make.flush(60)
    with redis.client() as client:
        client.script_flush()
    job.complete()
    assert make.flush(60)
    found = milepost.status(job_id, url=redis.url)
    assert found is not None
    assert found.has_ended


def test_what_an_old_worker_left_comes_first(redis: LiveRedis, reporter: Make, job_id: str) -> None:
    left = {"job_id": job_id, "status": "processing", "stage": "old", "progress": 0.25}
    with redis.client() as client:
        client.set(f"job_status:{job_id}", json.dumps(left), ex=3600)
        client.set(f"job_status:{job_id}-odd", "not JSON", ex=3600)
    make = reporter(redis.url)
    with make.job(id=job_id), make.job(id=f"{job_id}-odd"):
        pass
    assert make.flush(60)
    found = milepost.status(job_id, url=redis.url)
    assert found is not None
    assert (found.status, (found.position or "").partition("-")[2]) == ("completed", "2")
    odd = milepost.status(f"{job_id}-odd", url=redis.url)
    assert odd is not None
    assert odd.status == "completed"


def test_what_an_old_worker_left_is_a_status(redis: LiveRedis, job_id: str) -> None:
    with redis.client() as client:
        client.set(f"job_status:{job_id}", json.dumps({"stage": "old", "progress": 0.25}), ex=3600)
    found = milepost.status(job_id, url=redis.url)
    assert found is not None
    assert (found.job_id, found.stage, found.attempt) == (job_id, "old", 1)
    assert milepost.status(job_id, url=redis.url) == found


def test_a_redis_that_restarts(own_redis: LiveRedis, reporter: Make, job_id: str, warnings: Warnings) -> None:
    make = reporter(own_redis.url)
    seen: list[milepost.State] = []
    watch = milepost.watch(job_id, url=own_redis.url)
    thread = threading.Thread(target=lambda: seen.extend(watch), daemon=True)
    with make.job(id=job_id, stage="one") as job:
        assert make.flush(60)
        thread.start()
        eventually(lambda: watch.state)
        own_redis.kill()
        job.stage("two")
        eventually(lambda: any("cannot report" in each for each in warnings()))
        own_redis.start()
        assert eventually(lambda: make.flush(1))
        eventually(lambda: watch.state is not None and watch.state.stage == "two")
    assert make.flush(60)
    thread.join(60)
    assert seen[-1].status == "completed"
    assert seen[0].stage == "one"
    said = [each for each in warnings() if "report" in each]
    assert len(said) == 2


def test_a_redis_that_stands_still(own_redis: LiveRedis, reporter: Make, job_id: str, warnings: Warnings) -> None:
    make = reporter(own_redis.url, flush_timeout=0.2)
    with make.job(id=job_id) as job:
        assert make.flush(60)
        own_redis.freeze()
        for _ in job.track(range(1_000), stage="one"):
            pass
    assert not make.flush(0.3)
    own_redis.thaw()
    assert eventually(lambda: make.flush(1))
    found = milepost.status(job_id, url=own_redis.url)
    assert found is not None
    assert found.status == "completed"


def test_a_redis_that_is_full(own_redis: LiveRedis, reporter: Make, job_id: str, warnings: Warnings) -> None:
    make = reporter(own_redis.url)
    job = make.job(id=job_id)
    assert make.flush(60)
    with own_redis.client() as client:
        client.config_set("maxmemory", "1")
        job.stage("more")
        assert "has reached its maxmemory" in eventually(warnings)[0]
        # An end has to be kept.
        job.complete()
        assert eventually(lambda: make.flush(1))
        assert json.loads(client.get(f"job_status:{job_id}"))["status"] == "completed"
    assert len(warnings()) == 1


def test_a_redis_that_takes_no_writes(own_redis: LiveRedis, reporter: Make, job_id: str, warnings: Warnings) -> None:
    with own_redis.client() as client:
        client.replicaof("127.0.0.1", own_redis.port + 1)
        make = reporter(own_redis.url)
        make.job(id=job_id).complete()
        eventually(warnings)
        client.replicaof("NO", "ONE")
    assert eventually(lambda: make.flush(1))
    assert len(warnings()) == 2


def test_a_redis_that_wants_a_password(own_redis: LiveRedis, reporter: Make, job_id: str, warnings: Warnings) -> None:
    with own_redis.client() as client:
        client.config_set("requirepass", "secret")
    make = reporter(own_redis.url)
    make.job(id=job_id).complete()
    assert "uthenti" in eventually(warnings)[0]
    right = reporter(own_redis.url.replace("//", "//:secret@"))
    right.job(id=job_id).complete()
    assert right.flush(60)
    with pytest.raises(milepost.Unreachable):
        milepost.status(job_id, url=own_redis.url)
    make._inbox.close()


def test_a_key_of_another_type_hinders_no_other_job(redis: LiveRedis, reporter: Make, job_id: str) -> None:
    with redis.client() as client:
        client.rpush(f"job_meta:{job_id}-odd", "somebody else's")
    make = reporter(redis.url)
    odd, fine = make.job(id=f"{job_id}-odd"), make.job(id=job_id)
    fine.complete()
    odd.advance()
    assert make.flush(60)
    assert odd.refused is not None
    assert fine.refused is None


def encoded(job_id: str, **fields: object) -> Outgoing:
    texts = {name: json.dumps(value) for name, value in {"job_id": job_id, "status": "processing", **fields}.items()}
    return Outgoing(job_id, Encoded(texts))


def test_clocks_that_are_apart(redis: LiveRedis, job_id: str) -> None:
    """A clock that was set, here or there, is no reason not to report; a report that really comes late is not taken."""
    transport = Redis(redis.url)
    client = transport._client
    client.connection()
    client._ahead -= 1e9
    assert isinstance(transport.send([encoded(job_id)], 2.0)[0], Accepted)
    assert abs(client._ahead + 1e9) > 1e6
    late = client.report(job_id, encoded(job_id, stage="late").update, 0.0)
    assert isinstance(late.arguments, dict)
    late.arguments["deadline"] = 1
    assert client.run([late])[0][0] == b"late"
    over = [encoded(job_id, status="completed"), encoded(job_id)]
    accepted, refused = transport.send(over, 2.0)
    assert isinstance(accepted, Accepted)
    assert isinstance(refused, AttemptOver)
    transport.close()


def states_of(source: RedisSource, query: Query) -> tuple[list[milepost.State], str]:
    seen = []
    try:
        for state in source.states(query):
            seen.append(state)
    except Ended:
        return seen, "ended"
    except Lost:
        return seen, "lost"
    return seen, "closed"


def test_watching_resumes_where_it_was(redis: LiveRedis, job_id: str) -> None:
    transport = Redis(redis.url)
    for number in range(5):
        transport.send([encoded(job_id, stage=str(number))], 2.0)
    transport.send([encoded(job_id, status="completed")], 2.0)
    source = RedisSource(redis.url, job_id)
    last = source.state(2.0)
    assert last is not None
    epoch = (last.position or "").partition("-")[0]

    def seen(since: Optional[str]) -> list[str]:
        states, how = states_of(source, Query(since, "all", None, 15.0))
        assert how == "ended"
        return [(state.position or "").partition("-")[2] for state in states]

    assert seen(None) == ["6"]
    assert seen(f"{epoch}-3") == ["4", "5", "6"]
    assert seen("abc-3") == ["6"]
    source.release()
    transport.close()


@pytest.mark.parametrize("mode", ["all", "latest"])
def test_watching_while_others_report(redis: LiveRedis, reporter: Make, job_id: str, mode: str) -> None:
    """No state twice or out of order, whatever legacy workers publish beside it."""
    make = reporter(redis.url)
    watch = milepost.watch(job_id, url=redis.url, mode=mode, max_rate=50 if mode == "latest" else None)
    seen: list[milepost.State] = []
    thread = threading.Thread(target=lambda: seen.extend(watch), daemon=True)
    thread.start()
    dice = random.Random(3)
    with make.job(id=job_id) as job, redis.client() as client:
        eventually(lambda: watch.state)
        for number in range(40):
            if dice.random() < 0.5:
                job.stage(str(number))
                assert make.flush(60)
            else:
                update = json.dumps({"job_id": job_id, "status": "processing", "stage": f"old {number}"})
                client.publish(f"job_progress:{job_id}", update)
    assert make.flush(60)
    thread.join(60)
    numbers = [int((state.position or "").partition("-")[2]) for state in seen]
    assert numbers == sorted(set(numbers))
    assert seen[-1].status == "completed"
    if mode == "all":
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
    # Servers fold that, and there is none.
    assert not any((state.stage or "").startswith("old") for state in seen)


def test_a_cluster(tmp_path: Path, reporter: Make, job_id: str) -> None:
    bus = str(free_port())
    server = LiveRedis(tmp_path, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-config-file", "nodes")
    server.start()
    try:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            # A dictionary or its text, depending on redis-py; the state comes first.
            eventually(
                lambda: "ok" in str(client.execute_command("CLUSTER", "INFO")).split("cluster_slots")[0], "the Cluster"
            )
        url = server.url.replace("redis://", "redis+cluster://")
        states = iter(milepost.watch(job_id, url=url))
        with reporter(url).job(id=job_id) as job:
            job.stage("one")
            first = next(states)
            while first.stage != "one":
                first = next(states)
            job.stage("two")
            assert next(states).stage == "two"
        assert [state.status for state in states] == ["completed"]
        assert milepost.status(job_id, url=url) is not None
    finally:
        server.stop()
