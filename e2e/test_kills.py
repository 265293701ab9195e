"""Something is killed with SIGKILL in mid-render: each of the others says the truth."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

from binary import PATIENCE, finish, start
from scene import LONG, Scene
from watchers import (
    Curl,
    Page,
    Poller,
    Terminal,
    Watcher,
    WebSocketClient,
    all_of,
    check_agreement,
)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def child_named(pid: int, name: str) -> int:
    for child in children(pid):
        if Path(f"/proc/{child}/comm").read_text().strip() == name:
            return child
    raise AssertionError(f"{pid} has no child {name}")


def kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class Kills(Scene):
    async def test_of_ffmpeg(self) -> None:
        film = self.film(LONG)
        page, socket = Page(self.server, "r1"), WebSocketClient(self.server, "r1")
        curl, terminal = Curl(self.server, "r1"), Terminal(self.server, "r1")
        watchers: list[Watcher] = [page, socket, curl, terminal]
        async with page, socket, curl, terminal:
            await page.until_there()
            run = await start(self.server, *self.render(film))
            await all_of(watchers, lambda watcher: watcher.until_moving())
            os.kill(child_named(run.pid, "ffmpeg"), signal.SIGKILL)
            code, _, _ = await finish(run)
            self.assertEqual(code, 128 + signal.SIGKILL)
            await all_of(watchers, lambda watcher: watcher.until_end())
            await all_of(watchers, lambda watcher: watcher.settled())
            await page.until_reads("r1", "failed")
            # What follows has a chart, whose axis goes to 100.
            self.assertNotIn("100\N{NARROW NO-BREAK SPACE}%", page.text.split("Progress over time")[0])
        check_agreement(watchers)
        end = socket.latest()
        self.assertEqual(end["status"], "failed")
        self.assertTrue(end["error"])
        self.assertLess(end["progress"], 1)
        self.assertEqual(terminal.exit_code, 1)

    async def test_of_the_reporter(self) -> None:
        film, short = self.film(LONG), self.film()
        page, socket, poller = (
            Page(self.server, "r1"),
            WebSocketClient(self.server, "r1"),
            Poller(self.server, "r1"),
        )
        watchers: list[Watcher] = [page, socket, poller]
        async with page, socket, poller:
            await page.until_there()
            run = await start(self.server, *self.render(film))
            await all_of(watchers, lambda watcher: watcher.until_moving())
            # ffmpeg is left alone, with nobody who listens to it. The test is done with it then.
            run.kill()
            self.addCleanup(kill_group, run.pid)
            await run.wait()
            # Nobody made an end of it. What was said last stands, and the watchers stay.
            await all_of(watchers, lambda watcher: watcher.settled())
            state = self.server.get("/jobs/r1")
            self.assertEqual(state["status"], "processing")
            self.assertEqual(socket.latest(), state)
            self.assertEqual(poller.latest(), state)
            self.assertEqual(len(socket.connected), 1)

            # Somebody takes it up again: it is the same job, still on its way.
            kill_group(run.pid)
            again = await start(self.server, *self.render(short))
            await all_of(watchers, lambda watcher: watcher.until_end())
            code, _, stderr = await finish(again)
            self.assertEqual(code, 0, stderr)
            await all_of(watchers, lambda watcher: watcher.settled())
            await page.until_reads("r1", "completed")
        check_agreement(watchers)
        self.assertEqual(socket.latest()["status"], "completed")

    async def test_of_the_server(self) -> None:
        film = self.film()
        page, socket = Page(self.server, "r1"), WebSocketClient(self.server, "r1")
        poller, terminal = Poller(self.server, "r1"), Terminal(self.server, "r1")
        watchers: list[Watcher] = [page, socket, poller, terminal]
        async with page, socket, poller, terminal:
            await page.until_there()
            run = await start(self.server, *self.render(film))
            await all_of(watchers, lambda watcher: watcher.until_moving())
            self.server.kill()
            self.server.start()
            # The job knows nothing of it, and its watchers come back by themselves.
            code, _, stderr = await finish(run)
            self.assertEqual(code, 0, stderr)
            await all_of(watchers, lambda watcher: watcher.until_end())
            await all_of(watchers, lambda watcher: watcher.settled())
            await page.until_reads("r1", "completed", "100")
        for watcher in watchers:
            end = watcher.latest()
            self.assertEqual(end, socket.latest(), watcher.name)
            self.assertEqual(end["status"], "completed", watcher.name)
        self.assertGreaterEqual(len(socket.connected), 2)
        self.assertEqual(terminal.exit_code, 0)

    async def test_of_the_server_after_the_end(self) -> None:
        for number in range(5):
            job = f"kept-{number}"
            self.server.report(job, {"progress": 0.5})
            answer = self.server.report(job, {"status": "completed", "result": number})
            self.server.kill()
            self.server.start()
            state = self.server.get(f"/jobs/{job}")
            self.assertEqual((state["status"], state["result"]), ("completed", number))
            self.assertEqual(state["position"], answer["position"])
            # Also to who asks again.
            again = self.server.report(job, {"status": "completed", "result": number})
            self.assertEqual(again, {**answer, "repeated": True})

    async def test_of_a_watcher(self) -> None:
        film = self.film()
        socket, poller = WebSocketClient(self.server, "r1"), Poller(self.server, "r1")
        page, curl, terminal = (
            Page(self.server, "r1"),
            Curl(self.server, "r1"),
            Terminal(self.server, "r1"),
        )
        killed: list[Watcher] = [page, curl, terminal]
        stays: list[Watcher] = [socket, poller]
        async with page, curl, terminal, socket, poller:
            await page.until_there()
            run = await start(self.server, *self.render(film))
            await all_of([*killed, *stays], lambda watcher: watcher.until_moving())
            for watcher in (page, curl, terminal):
                assert watcher.process is not None
                watcher.process.kill()
            await all_of(stays, lambda watcher: watcher.until_end())
            code, _, stderr = await finish(run)
            self.assertEqual(code, 0, stderr)
            await all_of(stays, lambda watcher: watcher.settled())
            await self.until_connections(at_most=1)
        check_agreement(stays)
        self.assertEqual(len(socket.connected), 1)

    async def until_connections(self, at_most: int) -> None:
        """Until the server has noticed who is gone: Chromium's own processes take a moment to follow."""
        deadline = time.monotonic() + PATIENCE
        connections = at_most + 1
        while connections > at_most and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            connections = self.server.get("/ws/stats")["stats"]["active_connections"]
        self.assertLessEqual(connections, at_most)
