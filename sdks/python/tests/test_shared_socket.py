"""Watches that share a socket: real servers, and servers that no user should have."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import pytest
from live_server import ENVIRONMENT, LiveServer, eventually
from test_processes import SOURCE
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

import milepost
from milepost import _forgotten, _shared_socket
from milepost._backlog import MAX_ENDS, MAX_WAITING, Backlog
from milepost._outcome import Lost
from milepost._source import Query
from milepost._state import State
from milepost._topic import Topic
from milepost._websocket import MAX_MESSAGE, Frame, Frames, _frame

Make = Callable[..., milepost.Reporter]
Warnings = Callable[[], list[str]]
WATCHES = 300
# From 3.12 on, Python warns of a fork where there are threads.
PYTHON = (sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning")


async def collect(watch: milepost.Watch) -> list[milepost.State]:
    return [state async for state in watch]


def connections(port: int) -> int:
    """How many connections this process has to a port of this machine."""
    mine = set()
    for file in os.listdir("/proc/self/fd"):
        try:
            mine.add(os.readlink(f"/proc/self/fd/{file}"))
        except OSError:
            # It was that of the listing.
            pass
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(each[2].endswith(f":{port:04X}") and f"socket:[{each[9]}]" in mine for each in fields)


def watching_threads() -> int:
    return sum(thread.name == "milepost-watch" for thread in threading.enumerate())


@pytest.mark.skipif(sys.platform != "linux", reason="counts the connections in /proc")
def test_many_watches_have_one_socket_and_one_thread(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    eventually(lambda: watching_threads() == 0)
    ids = [f"{job_id}-{number}" for number in range(WATCHES)]
    jobs = [make.job(id=each, stage="one") for each in ids]
    assert make.flush(60)
    before = connections(server.port)

    async def main() -> list[list[milepost.State]]:
        watches = [milepost.watch(each, url=server.url) for each in ids]
        tasks = [asyncio.create_task(collect(each)) for each in watches]
        await asyncio.to_thread(eventually, lambda: all(each.state for each in watches))
        assert (watching_threads(), connections(server.port) - before) == (1, 1)
        for number, job in enumerate(jobs):
            job.complete(number)
        return await asyncio.gather(*tasks)

    seen = asyncio.run(main())
    assert [states[-1].result for states in seen] == list(range(WATCHES))
    eventually(lambda: watching_threads() == 0)


def test_loops_in_threads_share_it_too(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    job = make.job(id=job_id, stage="one")
    assert make.flush(60)
    watches = [milepost.watch(job_id, url=server.url) for _ in range(3)]
    seen: list[list[milepost.State]] = [[] for _ in watches]
    threads = [threading.Thread(target=lambda n=n: seen[n].extend(watches[n])) for n in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: all(each.state for each in watches))
    assert watching_threads() == 1
    job.stage("two")
    assert make.flush(60)
    job.complete()
    for thread in threads:
        thread.join(60)
    for states in seen:
        assert [state.stage for state in states][-3:] == ["one", "two", "complete"]


def test_a_lost_server_is_said_once_for_all(own_server: LiveServer, reporter: Make, warnings: Warnings) -> None:
    make = reporter(own_server.url)
    jobs = [make.job(id=f"lost-{number}", stage="one") for number in range(3)]
    assert make.flush(60)
    watches = [milepost.watch(job.id, url=own_server.url) for job in jobs]

    async def main() -> list[list[milepost.State]]:
        tasks = [asyncio.create_task(collect(each)) for each in watches]
        await asyncio.to_thread(eventually, lambda: all(each.state for each in watches))
        own_server.kill()
        for job in jobs:
            job.complete()
        await asyncio.to_thread(eventually, lambda: any("cannot watch" in each for each in warnings()))
        own_server.start()
        return await asyncio.gather(*tasks)

    for states in asyncio.run(main()):
        positions = [state.position for state in states]
        assert len(set(positions)) == len(positions)
        assert states[-1].status == "completed"
    said = [each.partition(";")[0] for each in warnings() if "watch" in each]
    assert said == ["cannot watch 3 jobs", "watching 3 jobs works again"]


def test_what_came_after_a_position(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    job = make.job(id=job_id)
    for stage in ("one", "two", "three"):
        job.stage(stage)
        assert make.flush(60)
    first = next(iter(milepost.watch(job_id, url=server.url)))
    assert first.stage == "three"
    epoch, _, number = (first.position or "").partition("-")
    watch = milepost.watch(job_id, url=server.url, since=f"{epoch}-{int(number) - 1}")
    loop = iter(watch)
    assert next(loop).stage == "three"
    job.complete()
    assert [state.stage for state in loop] == ["complete"]


def test_a_server_with_keys(tmp_path: Path) -> None:
    server = LiveServer(tmp_path, environment={"MILEPOST_KEY": "0123456789abcdef0123456789abcdef"})
    server.start()
    try:
        for token in ("wrong", None):
            with pytest.raises(milepost.WatchRefused) as refused:
                list(milepost.watch("a", url=server.url, token=token))
            assert refused.value.status == 401
    finally:
        server.stop()


def test_a_server_that_allows_few_subscriptions(tmp_path: Path, reporter: Make) -> None:
    """The others have event streams."""
    server = LiveServer(tmp_path, environment={"MILEPOST_MAX_SUBSCRIPTIONS": "2"})
    server.start()
    make = reporter(server.url)
    jobs = [make.job(id=f"few-{number}") for number in range(4)]
    assert make.flush(60)

    async def main() -> list[list[milepost.State]]:
        watches = [milepost.watch(job.id, url=server.url) for job in jobs]
        tasks = [asyncio.create_task(collect(each)) for each in watches]
        await asyncio.to_thread(eventually, lambda: all(each.state for each in watches))
        for job in jobs:
            job.complete()
        return await asyncio.gather(*tasks)

    assert [states[-1].status for states in asyncio.run(main())] == ["completed"] * 4
    server.stop()


def test_more_jobs_than_one_socket_takes(
    server: LiveServer, reporter: Make, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shared_socket, "MAX_TOPICS", 2)
    eventually(lambda: watching_threads() == 0)
    make = reporter(server.url)
    jobs = [make.job(id=f"{job_id}-{number}") for number in range(5)]

    async def main() -> list[list[milepost.State]]:
        watches = [milepost.watch(job.id, url=server.url) for job in jobs]
        tasks = [asyncio.create_task(collect(each)) for each in watches]
        await asyncio.to_thread(eventually, lambda: all(each.state for each in watches))
        assert watching_threads() == 3
        for job in jobs:
            job.complete()
        return await asyncio.gather(*tasks)

    assert [states[-1].status for states in asyncio.run(main())] == ["completed"] * 5


FORKED = """
import os, sys
import milepost
watch = milepost.watch({job_id!r}, url={url!r})
loop = iter(watch)
print(next(loop).stage, flush=True)
pid = os.fork()
stages = [state.stage for state in loop]
assert stages[-1] == "complete", stages
if pid:
    assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_continues_with_a_socket_of_its_own(server: LiveServer, reporter: Make, job_id: str) -> None:
    make = reporter(server.url)
    job = make.job(id=job_id, stage="one")
    assert make.flush(60)
    with subprocess.Popen(
        [*PYTHON, "-c", FORKED.format(job_id=job_id, url=server.url)],
        env={**ENVIRONMENT, "PYTHONPATH": SOURCE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        job.stage("two")
        assert make.flush(60)
        job.complete()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


SILENT = """
import os, sys, threading, time
import milepost
def watch():
    for _ in milepost.watch("a", url=sys.argv[1]):
        pass
threading.Thread(target=watch, daemon=True).start()
print(sys.stdin.readline(), flush=True)
pid = os.fork()
if pid == 0:
    import gc
    gc.collect()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_while_a_server_is_waited_for() -> None:
    connected = threading.Event()

    def handle(connection: ServerConnection, number: int) -> None:
        connected.set()
        list(connection)

    with (
        odd_server(handle) as url,
        subprocess.Popen(
            [*PYTHON, "-c", SILENT, url],
            env={**ENVIRONMENT, "PYTHONPATH": SOURCE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert connected.wait(60)
        _, errors = process.communicate("go\n", timeout=60)
        assert (process.returncode, errors) == (0, "")


# Servers that no user should have


def state(number: int, status: str = "processing", epoch: str = "abc") -> dict[str, Any]:
    position = f"{epoch}-{number}"
    return {"job_id": "a", "status": status, "stage": str(number), "attempt": 1, "position": position}


CONNECTED = {"type": "connected", "timestamp": ""}
SUBSCRIBED = {"type": "subscribed", "job_id": "a", "known": True}


@contextmanager
def odd_server(handle: Callable[[ServerConnection, int], None]) -> Iterator[str]:
    """A server that handles the socket of each connection, of which it says the number."""
    count = iter(range(100))

    def run(connection: ServerConnection) -> None:
        try:
            handle(connection, next(count))
        except ConnectionClosed:
            # The client has gone.
            pass

    with serve(run, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def say(connection: ServerConnection, *messages: object) -> None:
    for message in messages:
        connection.send(message if isinstance(message, (str, bytes)) else json.dumps(message))


def well(connection: ServerConnection) -> None:
    """As a good server does, of a job that has ended."""
    say(connection, CONNECTED)
    for _ in connection:
        say(connection, SUBSCRIBED, state(9, "completed"))


@pytest.mark.parametrize(
    ("code", "reason", "warned"),
    [(1012, '{"reason":"restart","retry_ms":1}', 0), (1013, "{}", 0), (1011, "", 2), (1006, "", 2)],
)
def test_a_socket_that_is_closed_is_opened_again(code: int, reason: str, warned: int, warnings: Warnings) -> None:
    def handle(connection: ServerConnection, number: int) -> None:
        if number:
            well(connection)
            return
        say(connection, CONNECTED)
        connection.recv()
        say(connection, SUBSCRIBED, state(1))
        if code == 1006:
            connection.socket.shutdown(socket.SHUT_RDWR)
        else:
            connection.close(code, reason)

    with odd_server(handle) as url:
        assert [each.stage for each in milepost.watch("a", url=url)] == ["1", "9"]
    assert len(warnings()) == warned


@pytest.mark.parametrize(("code", "status"), [(4400, 400), (4401, 401), (4403, 403), (4499, 499)])
def test_a_socket_that_is_refused(code: int, status: int) -> None:
    def handle(connection: ServerConnection, number: int) -> None:
        say(connection, {"type": "error", "message": "because"})
        connection.close(code, "no")

    with odd_server(handle) as url, pytest.raises(milepost.WatchRefused, match="because") as refused:
        list(milepost.watch("a", url=url))
    assert refused.value.status == status


def test_a_silent_socket_is_given_up(warnings: Warnings) -> None:
    def handle(connection: ServerConnection, number: int) -> None:
        if number:
            well(connection)
        else:
            say(connection, CONNECTED)
            list(connection)

    with odd_server(handle) as url:
        assert [each.stage for each in milepost.watch("a", url=url, silence=0.2)] == ["9"]
    assert "does not answer in time" in warnings()[0]


@pytest.mark.parametrize("odd", ["{", "[1]", b"\xff", '{"type":"other"}', '{"position":"1-1"}', '{"type":"error"}'])
def test_messages_that_make_no_sense_are_ignored(odd: Any) -> None:
    def handle(connection: ServerConnection, number: int) -> None:
        say(connection, odd)
        well(connection)

    with odd_server(handle) as url:
        assert [each.stage for each in milepost.watch("a", url=url)] == ["9"]


def test_a_job_that_is_refused_does_not_end_the_others(warnings: Warnings) -> None:
    def handle(connection: ServerConnection, number: int) -> None:
        say(connection, CONNECTED)
        for text in connection:
            if json.loads(text)["job_id"] == "b":
                say(connection, {"type": "error", "problem": "forbidden", "message": "because", "job_id": "b"})
            else:
                say(connection, {"type": "error", "problem": "unreadable-job", "message": "odd", "job_id": "a"})
                say(connection, SUBSCRIBED, state(9, "completed"))

    async def main(url: str) -> None:
        good, bad = await asyncio.gather(
            collect(milepost.watch("a", url=url)), collect(milepost.watch("b", url=url)), return_exceptions=True
        )
        assert isinstance(good, list)
        assert good[-1].stage == "9"
        assert isinstance(bad, milepost.WatchRefused)

    with odd_server(handle) as url:
        asyncio.run(main(url))
    assert set(warnings()) == {"the server cannot read a: odd"}


UNKNOWN = {"type": "error", "problem": "unknown-job", "message": "deleted", "job_id": "a"}


@pytest.mark.parametrize("is_after_a_reconnect", [False, True])
@pytest.mark.parametrize("how", ["for", "async for", "wait"])
def test_a_job_that_is_forgotten_ends_its_watches(
    is_after_a_reconnect: bool, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_forgotten, "PATIENCE", 0.0)

    def handle(connection: ServerConnection, number: int) -> None:
        say(connection, CONNECTED)
        connection.recv()
        if number:
            say(connection, {**SUBSCRIBED, "known": False})
        else:
            say(connection, SUBSCRIBED, state(1))
            if is_after_a_reconnect:
                connection.close(1012, '{"reason":"restart","retry_ms":1}')
            else:
                say(connection, UNKNOWN)
        for _ in connection:
            pass

    with odd_server(handle) as url:
        watch = milepost.watch("a", url=url)
        ways: dict[str, Callable[[], object]] = {
            "for": lambda: list(watch),
            "async for": lambda: asyncio.run(collect(watch)),
            "wait": lambda: milepost.wait("a", url=url),
        }
        with pytest.raises(milepost.JobForgotten, match=r"^a was deleted, or its ttl is over") as forgotten:
            ways[how]()
        assert forgotten.value.job_id == "a"
        assert how == "wait" or watch.position == "abc-1"


# Without I/O


def topic(since: Optional[str] = None) -> tuple[Topic, Backlog]:
    made, backlog = Topic("a", Query(since, "all", None, 15.0)), Backlog(lambda: None)
    made.follow(backlog)
    return made, backlog


def stages(backlog: Backlog) -> list[Optional[str]]:
    found = []
    while (taken := backlog.take()) is not None:
        found.append(taken.stage)
    return found


def test_a_job_that_goes_on_after_an_end() -> None:
    watched, backlog = topic()
    assert watched.subscribe() == {"type": "subscribe", "job_id": "a"}
    watched.subscribed(True, 0.0)
    assert watched.state(State(state(1))) is None
    assert watched.state(State(state(2, "failed"))) == {"type": "subscribe", "job_id": "a"}
    # It is of the subscription before.
    assert watched.state(State(state(3))) is None
    watched.subscribed(True, 0.0)
    assert watched.state(State(state(4))) == {"type": "subscribe", "job_id": "a", "since": "abc-2"}
    watched.subscribed(True, 0.0)
    for number in (3, 4):
        assert watched.state(State(state(number))) is None
    assert watched.state(State(state(5, "completed"))) is not None
    watched.subscribed(True, 0.0)
    watched.state(State(state(5, "completed")))
    assert stages(backlog) == ["1", "2", "3", "4", "5"]
    assert (watched.is_over, backlog.is_over) == (True, True)


def test_an_end_that_was_forgotten_is_one() -> None:
    watched, backlog = topic()
    watched.subscribe()
    watched.subscribed(True, 0.0)
    watched.state(State(state(2, "failed")))
    watched.subscribed(False, 0.0)
    assert stages(backlog) == ["2"]
    assert backlog.is_over


def test_a_job_that_is_forgotten_is_given_up_in_a_minute() -> None:
    watched, backlog = topic()
    watched.subscribe()
    watched.subscribed(True, 0.0)
    watched.state(State(state(1)))
    watched.unknown(100.0)
    watched.unknown(150.0)
    assert not watched.give_up(159.9)
    # Another worker goes on with it, and it is forgotten once more.
    watched.state(State(state(1, epoch="def")))
    assert not watched.give_up(200.0)
    watched.unknown(200.0)
    assert watched.give_up(260.0)
    assert stages_until(backlog, milepost.JobForgotten) == ["1", "1"]
    assert watched.is_over


def stages_until(backlog: Backlog, error: type[Exception]) -> list[Optional[str]]:
    found = []
    try:
        while (taken := backlog.take()) is not None:
            found.append(taken.stage)
    except error:
        return found
    raise AssertionError("it has not ended")


def test_time_without_a_connection_does_not_count() -> None:
    watched, _ = topic("abc-1")
    watched.subscribe()
    watched.subscribed(False, 0.0)
    watched.forgotten.disconnected(50.0)
    assert not watched.give_up(1000.0)
    watched.subscribe()
    watched.subscribed(False, 2000.0)
    assert not watched.give_up(2009.9)
    assert watched.give_up(2010.0)


def test_a_job_that_was_never_known_is_waited_for() -> None:
    watched, backlog = topic()
    for now in (0.0, 100.0):
        watched.subscribe()
        watched.subscribed(False, now)
    watched.unknown(200.0)
    assert not watched.give_up(1e9)
    assert not backlog.is_over


def test_a_loop_that_comes_later_begins_with_the_newest_state() -> None:
    watched, _ = topic()
    watched.subscribe()
    watched.subscribed(True, 0.0)
    watched.state(State(state(1)))
    later = Backlog(lambda: None)
    assert watched.takes(Query(None, "all", None, 15.0))
    watched.follow(later)
    watched.state(State(state(2)))
    assert stages(later) == ["1", "2"]
    assert not watched.takes(Query("abc-1", "all", None, 15.0))
    assert not watched.takes(Query(None, "latest", None, 15.0))


def test_a_backlog_is_bounded_and_keeps_ends() -> None:
    backlog = Backlog(lambda: None)
    for number in range(1, 1_001):
        backlog.push(State(state(number, "failed" if number % 100 == 0 else "processing")))
        assert len(backlog._ready) <= MAX_WAITING + MAX_ENDS
    found = stages(backlog)
    assert found[-1] == "1000"
    assert [each for each in found if int(each or 0) % 100 == 0][-MAX_ENDS:] == [str(n) for n in range(300, 1_001, 100)]


def test_frames_come_in_any_pieces() -> None:
    data = (
        b"\x81\x02{}"
        + b"\x01\x7e\x00\x80"
        + b"x" * 128
        + b"\x80\x00"
        + b"\x89\x01p"
        + b"\x81\x7f"
        + bytes(7)
        + b"\x01y"
    )
    expected = [
        Frame(True, 1, b"{}"),
        Frame(False, 1, b"x" * 128),
        Frame(True, 0, b""),
        Frame(True, 9, b"p"),
        Frame(True, 1, b"y"),
    ]
    for size in range(1, len(data)):
        frames = Frames()
        found: list[Frame] = []
        for at in range(0, len(data), size):
            found += frames.feed(data[at : at + size])
        assert found == expected


@pytest.mark.parametrize("data", [b"\xc1\x00", b"\x81\x80", b"\x81\x7f" + (MAX_MESSAGE + 1).to_bytes(8, "big")])
def test_frames_that_no_server_sends(data: bytes) -> None:
    with pytest.raises(Lost, match="not a Milepost server"):
        Frames().feed(data)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_what_a_client_sends_is_masked(size: int) -> None:
    frame = bytearray(_frame(1, b"a" * size))
    assert frame[1] & 0x80
    at = len(frame) - size - 4
    mask, payload = frame[at : at + 4], frame[at + 4 :]
    assert bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload)) == b"a" * size
