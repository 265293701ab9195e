"""A worker of the service before Milepost changes one import."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import threading
import warnings as python_warnings
from collections.abc import Callable
from typing import Any

import old_reporter
import pytest
from fake_server import FakeServer, refuse
from live_redis import LiveRedis
from live_server import LiveServer, eventually, free_port
from reported import until
from test_arguments import ODD

import milepost
from milepost.compat import ProgressReporter

Work = Callable[[Any, str], Any]
Warnings = Callable[[], list[str]]

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z?")


async def render(reporter: Any, job_id: str) -> None:
    """A worker as they are: it reports, and waits for each report."""
    await reporter.initialize()
    await reporter.report(job_id, "rendering", 0.0)
    await reporter.report(job_id, "rendering", 0.5, "Rendering frame 1000/2000", {"current_frame": 1000})
    await reporter.report(job_id, "uploading", 7, metadata={})
    await reporter.report_complete(job_id, {"video_url": "https://cdn.example.com/video.mp4"})
    await reporter.close()


async def fail(reporter: Any, job_id: str) -> None:
    await reporter.initialize()
    await reporter.report(job_id, "rendering", 0.25)
    await reporter.report_error(job_id, "Out of memory", "rendering")
    await reporter.close()


def shown(states: list[milepost.State]) -> list[dict[str, Any]]:
    """What watchers see, but for the worker's clock and the place in the job's life."""
    for state in states:
        assert MOMENT.fullmatch(str(state["timestamp"])), state
    # Of the server's moments, that they are there.
    return [
        {
            k: "a moment" if k.endswith("_at") else v
            for k, v in state.items()
            if k not in ("job_id", "timestamp", "position")
        }
        for state in states
    ]


class Watcher(threading.Thread):
    """Watches a job to its end."""

    def __init__(self, job_id: str, url: str) -> None:
        super().__init__(daemon=True)
        self.states: list[milepost.State] = []
        self._watch = milepost.watch(job_id, url=url)
        self.start()
        eventually(lambda: any(getattr(each, "has_connected", False) for each in list(self._watch._sources)))

    def run(self) -> None:
        self.states.extend(self._watch)

    def finish(self) -> list[milepost.State]:
        self.join(60)
        assert not self.is_alive()
        return self.states


class InStep:
    """A reporter that goes on when all watchers have seen what it reported."""

    def __init__(self, reporter: Any, watchers: list[Watcher]) -> None:
        self._reporter = reporter
        self._watchers = watchers
        self._reported = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._reporter, name)
        return self._in_step(method) if name.startswith("report") else method

    def _in_step(self, method: Any) -> Any:
        async def report(*arguments: Any, **more: Any) -> None:
            # `utcnow`, which they use, is no good any more, which is none of this test's business.
            with python_warnings.catch_warnings():
                python_warnings.simplefilter("ignore", DeprecationWarning)
                await method(*arguments, **more)
            self._reported += 1
            eventually(lambda: all(len(watcher.states) >= self._reported for watcher in self._watchers))

        return report


def test_the_methods_and_their_defaults_are_the_legacy_ones() -> None:
    for name in ("initialize", "report", "report_error", "report_complete", "get_status", "close"):
        mine, theirs = (getattr(kind, name) for kind in (ProgressReporter, old_reporter.ProgressReporter))
        assert inspect.iscoroutinefunction(mine)
        for of_mine, of_theirs in zip(
            inspect.signature(mine).parameters.values(), inspect.signature(theirs).parameters.values()
        ):
            assert (of_mine.name, of_mine.default, of_mine.kind) == (of_theirs.name, of_theirs.default, of_theirs.kind)


@pytest.mark.parametrize("work", [render, fail])
def test_an_old_worker_beside_a_new_one(redis: LiveRedis, tmp_path: Any, job_id: str, work: Work) -> None:
    """Watchers of a server that keeps states in Redis, and of Redis itself, can't tell them apart."""
    server = LiveServer(tmp_path, environment={"REDIS_URL": redis.url})
    server.start()
    try:
        ids = {"old": f"{job_id}-old", "new": f"{job_id}-new"}
        watchers = {(who, url): Watcher(ids[who], url) for who in ids for url in (server.url, redis.url)}

        async def main() -> None:
            for who, kind in (("old", old_reporter.ProgressReporter), ("new", ProgressReporter)):
                watching = [watcher for (whose, _), watcher in watchers.items() if whose == who]
                await work(InStep(kind(redis.url), watching), ids[who])

        asyncio.run(main())
        seen = {which: shown(watcher.finish()) for which, watcher in watchers.items()}
        assert seen["old", server.url] == seen["new", server.url]
        assert seen["old", redis.url] == seen["new", redis.url] == seen["old", server.url]
        assert len(seen["new", server.url]) == (4 if work is render else 2)
        # What those read who look under the key, and those who come late.
        with redis.client() as client:
            under_key = [shown([milepost.State(json.loads(client.get(f"job_status:{ids[who]}")))]) for who in ids]
        assert under_key[0][0].keys() - under_key[1][0].keys() == set()
        late = [milepost.status(ids[who], url=url) for who in ids for url in (server.url, redis.url)]
        assert all(state is not None and shown([state]) == seen["new", server.url][-1:] for state in late)
    finally:
        server.stop()


def test_what_an_old_worker_loses_and_a_new_one_does_not(
    own_redis: LiveRedis, tmp_path: Any, job_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is reported while Redis is away."""
    server = LiveServer(tmp_path, environment={"REDIS_URL": own_redis.url})
    server.start()
    ids = {"old": f"{job_id}-old", "new": f"{job_id}-new"}
    watchers = {who: Watcher(ids[who], server.url) for who in ids}

    async def main() -> None:
        old, new = old_reporter.ProgressReporter(own_redis.url), ProgressReporter(own_redis.url)
        await old.initialize()
        reporters = {"old": InStep(old, [watchers["old"]]), "new": InStep(new, [watchers["new"]])}
        for who, reporter in reporters.items():
            await reporter.report(ids[who], "rendering", 0.1)
        own_redis.kill()
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore", DeprecationWarning)
            await old.report(ids["old"], "captioning", 0.2)
        await new.report(ids["new"], "captioning", 0.2)
        own_redis.start()
        # Nobody says anything more, and yet it comes.
        eventually(lambda: watchers["new"].states[-1].stage == "captioning")
        assert watchers["old"].states[-1].stage == "rendering"
        for who, reporter in reporters.items():
            await reporter.report_complete(ids[who], "done")
            await reporter.close()

    asyncio.run(main())
    seen = {who: [state.stage for state in watcher.finish()] for who, watcher in watchers.items()}
    server.stop()
    assert (seen["old"], seen["new"]) == (["rendering", "complete"], ["rendering", "captioning", "complete"])
    assert "Failed to report progress" in capsys.readouterr().out


class Slow(ProgressReporter):
    """Waits for each report, as the old one does: so each of them is seen, and not only the newest."""

    def _give(self, *arguments: Any, **more: Any) -> None:
        super()._give(*arguments, **more)
        assert self._reporter.flush(60)


def test_the_bytes_are_the_legacy_ones(fake: Callable[..., FakeServer], job_id: str) -> None:
    server = fake()
    asyncio.run(render(Slow(server.url), job_id))
    asyncio.run(fail(Slow(server.url), job_id))
    for update in server.updates:
        assert MOMENT.fullmatch(update.pop("timestamp"))
        assert update.pop("job_id") == job_id
    rendering = {"status": "processing", "stage": "rendering"}
    assert server.updates[0] is not None
    assert [json.loads(request.body) for request in server.requests][1].keys() == {
        "job_id", "status", "stage", "progress", "message", "timestamp", "metadata",
    }  # fmt: skip
    stripped = [
        {name: value for name, value in update.items() if name not in ("job_id", "timestamp")}
        for update in server.updates
    ]
    assert stripped == [
        {**rendering, "progress": 0.0, "message": ""},
        {
            **rendering,
            "progress": 0.5,
            "message": "Rendering frame 1000/2000",
            "metadata": {"current_frame": 1000},
        },
        {"status": "processing", "stage": "uploading", "progress": 1.0, "message": ""},
        {
            "status": "completed",
            "stage": "complete",
            "progress": 1.0,
            "message": "Job completed",
            "result": {"video_url": "https://cdn.example.com/video.mp4"},
        },
        {**rendering, "progress": 0.25, "message": ""},
        {
            "status": "failed",
            "stage": "rendering",
            "progress": 0.0,
            "message": "Error: Out of memory",
            "error": "Out of memory",
        },
    ]


@pytest.mark.parametrize("kind", ["server", "redis"])
def test_status(server: LiveServer, redis: LiveRedis, job_id: str, kind: str) -> None:
    url = {"server": server.url, "redis": redis.url}[kind]

    async def main() -> None:
        reporter = ProgressReporter(url)
        assert await reporter.get_status(job_id) is None
        await reporter.report(job_id, "cropping", 0.5)
        status = await reporter.get_status(job_id)
        assert status is not None
        assert (status["stage"], status["progress"], status["message"]) == ("cropping", 0.5, "")
        assert await reporter.get_status("not an id") is None
        await reporter.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["server", "redis"])
def test_a_job_that_is_run_again_is_a_new_attempt(
    server: LiveServer, redis: LiveRedis, job_id: str, kind: str, warnings: Warnings
) -> None:
    url = {"server": server.url, "redis": redis.url}[kind]
    for attempt in (1, 2, 3):
        asyncio.run((fail if attempt < 3 else render)(ProgressReporter(url), job_id))
        found = milepost.status(job_id, url=url)
        assert found is not None
        assert (found.attempt, found.status) == (attempt, "failed" if attempt < 3 else "completed")

    async def again() -> None:
        reporter = ProgressReporter(url)
        await fail(reporter, job_id)
        found = milepost.status(job_id, url=url)
        assert found is not None
        assert found.attempt == 4

    asyncio.run(again())
    assert warnings() == ["progress must be between 0 and 1, so 7 counts as 1; 50 % is 0.5"]


def test_a_zombie_is_refused(server: LiveServer, job_id: str, warnings: Warnings) -> None:
    async def main() -> None:
        zombie, other = Slow(server.url), Slow(server.url)
        await zombie.report(job_id, "rendering", 0.1)
        await other.report_complete(job_id, "done")
        # Also when what is known of the job here was sent long ago.
        eventually(lambda: not zombie._reporter._inbox._latest)
        await zombie.report(job_id, "rendering", 0.2)
        await zombie.report(job_id, "rendering", 0.3)
        await zombie.report_error(job_id, "too late")
        found = milepost.status(job_id, url=server.url)
        assert found is not None
        assert (found.status, found.result, found.attempt) == ("completed", "done", 1)
        # Its end is the end of that run. The next one is a new attempt.
        await zombie.report(job_id, "rendering", 0.0)
        await asyncio.gather(zombie.close(), other.close())

    asyncio.run(main())
    found = milepost.status(job_id, url=server.url)
    assert found is not None
    assert (found.status, found.progress, found.attempt) == ("processing", 0.0, 2)
    assert [warning.partition(" at ")[0] for warning in warnings()] == [f"{job_id} is not shown"]


def test_nothing_is_lost_while_redis_is_away(own_redis: LiveRedis, job_id: str, warnings: Warnings) -> None:
    async def main() -> None:
        reporter = ProgressReporter(own_redis.url)
        await reporter.report(job_id, "rendering", 0.1)
        assert await reporter.get_status(job_id) is not None
        own_redis.kill()
        await reporter.report(job_id, "rendering", 0.2)
        eventually(warnings)
        await reporter.report_complete(job_id, "done")
        assert await reporter.get_status(job_id) is None
        own_redis.start()
        while (status := await reporter.get_status(job_id)) is None:
            pass
        assert (status["status"], status["result"]) == ("completed", "done")
        await reporter.close()

    asyncio.run(main())
    assert len(warnings()) == 2


@pytest.mark.parametrize("url", [None, "nonsense://", "down"])
def test_the_job_does_not_suffer(url: Any, job_id: str) -> None:
    asyncio.run(render(ProgressReporter(f"http://127.0.0.1:{free_port()}" if url == "down" else url), job_id))


def test_what_is_refused_does_not_hurt(fake: Callable[..., FakeServer], job_id: str, warnings: Warnings) -> None:
    server = fake(refuse(422, "invalid-update"))
    asyncio.run(render(ProgressReporter(server.url), job_id))
    asyncio.run(render(ProgressReporter(server.url), "not an id"))
    assert any("was rejected" in warning for warning in warnings())


def test_odd_arguments_do_not_hurt(server: LiveServer, job_id: str) -> None:
    async def main() -> None:
        reporter = ProgressReporter(server.url)
        odd: Any = object()
        await reporter.report(job_id, odd, odd, odd, odd)
        await reporter.report(job_id, odd, None, None, {odd: {2}})  # type: ignore[arg-type]
        await reporter.report_error(job_id, ValueError("no"))  # type: ignore[arg-type]
        await reporter.close()

    asyncio.run(main())
    found = milepost.status(job_id, url=server.url)
    assert found is not None
    assert found.error == "no"


@pytest.mark.parametrize("odd", ODD)
def test_anything_may_be_passed(server: LiveServer, job_id: str, odd: str) -> None:
    async def work() -> None:
        reporter = ProgressReporter(server.url)
        value = ODD[odd]
        for number, name in enumerate(("stage", "progress", "message", "metadata")):
            given = {"stage": "one", "progress": 0.5, name: value()}
            await reporter.report(f"{job_id}-{number}", **given)
            await reporter.report_error(f"{job_id}-{number}", value(), value())
        await reporter.report(value(), value(), value(), value(), value())
        await reporter.report_complete(value(), value(), value())
        await reporter.report_complete(job_id, value(), value())
        await reporter.close()

    asyncio.run(work())
    assert until(server, job_id, status="completed")
    for number in range(4):
        assert until(server, f"{job_id}-{number}", status="failed")
