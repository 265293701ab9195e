"""A render, watched live with everything that people watch with."""

from __future__ import annotations

import json

from binary import finish, start
from scene import SECONDS, Scene
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


class Render(Scene):
    async def test_everybody_sees_the_same(self) -> None:
        film = self.film()
        page = Page(self.server, "r1")
        socket = WebSocketClient(self.server, "r1")
        curl = Curl(self.server, "r1")
        poller = Poller(self.server, "r1")
        terminal = Terminal(self.server, "r1")
        watchers: list[Watcher] = [page, socket, curl, poller, terminal]
        async with page, socket, curl, poller, terminal:
            # All are there before the job is.
            await socket.until("that the job is not known", lambda: len(socket.connected) == 1)
            self.assertIs(socket.connected[0]["known"], False)
            await curl.until("the same", lambda: curl.events == ["connected"])
            await page.until_there()

            run = await start(self.server, *self.render(film))
            await all_of(watchers, lambda watcher: watcher.until_moving())
            await all_of(watchers, lambda watcher: watcher.until_end())
            code, _, stderr = await finish(run)
            self.assertEqual(code, 0, stderr)
            await all_of(watchers, lambda watcher: watcher.settled())
            await page.until_reads("r1", "completed", "100")
            self.assertEqual(page.faults, [])
        check_agreement(watchers)

        # Who takes every update misses none.
        for watcher in (socket, curl):
            numbers = [int(json.loads(text)["position"].split("-")[1]) for text in watcher.states]
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)), watcher.name)

        end = socket.latest()
        self.assertEqual((end["status"], end["stage"], end["progress"]), ("completed", "complete", 1.0))
        on_its_way = json.loads(socket.states[len(socket.states) // 2])
        self.assertLessEqual(on_its_way["metadata"]["frame"], SECONDS * 30)
        self.assertIn("fps", on_its_way["metadata"])
        self.assertIn("speed", on_its_way["metadata"])
        self.assertEqual(terminal.exit_code, 0)

        await self.check_late_watchers(socket.states[-1])

    async def check_late_watchers(self, end: str) -> None:
        """Who comes when all is over is shown the end, at once, and the same."""
        page = Page(self.server, "r1")
        socket = WebSocketClient(self.server, "r1")
        curl = Curl(self.server, "r1")
        poller = Poller(self.server, "r1")
        terminal = Terminal(self.server, "r1")
        watchers: list[Watcher] = [page, socket, curl, poller, terminal]
        async with page, socket, curl, poller, terminal:
            await all_of(watchers, lambda watcher: watcher.until_end())
            await all_of(watchers, lambda watcher: watcher.settled())
            await page.until_reads("r1", "completed", "100")
        check_agreement(watchers)
        for watcher in watchers:
            self.assertEqual(watcher.states, [end], watcher.name)
        self.assertIs(socket.connected[0]["known"], True)
        self.assertEqual(terminal.exit_code, 0)
