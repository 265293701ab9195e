"""Watchers of one job, each with another tool. All return the JSON that arrived."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable, Optional

import websockets
from websockets.asyncio.client import ClientConnection, connect

from binary import BINARY, ENVIRONMENT, PATIENCE, Server

ENDS = ("completed", "failed", "cancelled")


class Watcher:
    """Runs in the background; `states` are the texts of the states that it was shown."""

    def __init__(self, server: Server, job: str) -> None:
        self.server = server
        self.job = job
        self.states: list[str] = []
        self.failure: Optional[BaseException] = None
        self._changed = asyncio.Condition()
        self._task: Optional[asyncio.Task[None]] = None

    @property
    def name(self) -> str:
        return type(self).__name__

    async def __aenter__(self) -> Watcher:
        self._task = asyncio.create_task(self._guard())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _guard(self) -> None:
        try:
            await self.watch()
        except Exception as failure:  # Raised in the waiting caller.
            self.failure = failure
            await self.notify()

    async def watch(self) -> None:
        raise NotImplementedError

    async def show(self, text: str) -> None:
        self.states.append(text)
        await self.notify()

    async def notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        async def wait() -> None:
            async with self._changed:
                await self._changed.wait_for(lambda: self.failure is not None or holds())

        try:
            await asyncio.wait_for(wait(), PATIENCE)
        except asyncio.TimeoutError:
            raise AssertionError(f"{self.name} never saw {what}: {self.states[-3:]}") from None
        if self.failure is not None:
            raise AssertionError(f"{self.name} failed: {self.failure!r}") from self.failure

    def latest(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.states[-1])
        return state

    async def until_moving(self) -> None:
        """Until it has seen the job on its way: progress between 0 and 1."""

        def moving(text: str) -> bool:
            return 0 < (json.loads(text).get("progress") or 0) < 1

        await self.until("the job on its way", lambda: any(map(moving, self.states)))

    async def until_end(self) -> dict[str, Any]:
        await self.until("the end", lambda: any(is_end(text) for text in self.states))
        return next(json.loads(text) for text in self.states if is_end(text))

    async def settled(self) -> None:
        """Returns when whatever the server had sent before this call has been seen."""


def is_end(text: str) -> bool:
    return json.loads(text)["status"] in ENDS


class WebSocketClient(Watcher):
    """Python's websockets, as a program would use it: comes back where it was, with `since`."""

    def __init__(self, server: Server, job: str) -> None:
        super().__init__(server, job)
        self.connected: list[dict[str, Any]] = []
        self.pongs = 0
        self.pings = 0
        self._socket: Optional[ClientConnection] = None

    async def watch(self) -> None:
        while True:
            since = f"?since={self.latest()['position']}" if self.states else ""
            url = f"{self.server.ws}/ws/jobs/{self.job}{since}"
            try:
                async with connect(url, proxy=None) as socket:
                    self._socket = socket
                    async for text in socket:
                        await self._message(str(text))
            except (OSError, websockets.WebSocketException):
                pass
            await asyncio.sleep(0.05)

    async def _message(self, text: str) -> None:
        message = json.loads(text)
        if "position" in message:
            await self.show(text)
            return
        kind = message["type"]
        if kind == "connected":
            self.connected.append(message)
        elif kind == "pong":
            self.pongs += 1
        elif kind == "ping":
            self.pings += 1
        else:
            raise AssertionError(text)
        await self.notify()

    async def settled(self) -> None:
        assert self._socket is not None
        pongs = self.pongs
        await self._socket.send('{"type":"ping"}')
        await self.until("a pong", lambda: self.pongs > pongs)


class ProcessWatcher(Watcher):
    """A program that writes what it is shown to its standard output."""

    process: Optional[asyncio.subprocess.Process] = None
    exit_code: Optional[int] = None

    def command(self) -> list[str]:
        raise NotImplementedError

    async def line(self, line: str) -> None:
        raise NotImplementedError

    async def watch(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self.command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**ENVIRONMENT, "MILEPOST_URL": self.server.url},
            limit=1 << 20,
        )
        self.process = process
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                await self.line(line.decode().rstrip("\r\n"))
            self.exit_code = await process.wait()
            await self.notify()
        finally:
            # A browser has to close its own processes: it does so when its input ends.
            if process.returncode is None:
                if process.stdin is not None:
                    process.stdin.close()
                await self._end(process)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        process.kill()
        await process.wait()

    async def until_exit(self) -> int:
        await self.until("its own end", lambda: self.exit_code is not None)
        assert self.exit_code is not None
        return self.exit_code


class Curl(ProcessWatcher):
    """`curl -N` on the event stream, which the server closes after the end."""

    def __init__(self, server: Server, job: str) -> None:
        super().__init__(server, job)
        self.events: list[str] = []
        self._event = ""
        self._id = ""

    def command(self) -> list[str]:
        return ["curl", "-sSN", f"{self.server.url}/jobs/{self.job}/events"]

    async def line(self, line: str) -> None:
        field, _, value = line.partition(": ")
        if field == "event":
            self._event = value
        elif field == "id":
            self._id = value
        elif field == "data" and self._event:
            self.events.append(self._event)
            await self.notify()
        elif field == "data":
            assert json.loads(value)["position"] == self._id, "the id is the position"
            await self.show(value)
        elif not line:
            self._event = self._id = ""

    async def settled(self) -> None:
        assert await self.until_exit() == 0
        assert self.events == ["connected", "end"], self.events


class Poller(Watcher):
    """curl again and again, with the ETag of before."""

    etag: Optional[str] = None
    unchanged = 0

    async def watch(self) -> None:
        while True:
            await self._poll()

    async def _poll(self) -> None:
        condition = ["-H", f"If-None-Match: {self.etag}"] if self.etag else []
        process = await asyncio.create_subprocess_exec(
            *["curl", "-sS", "-D", "-", f"{self.server.url}/jobs/{self.job}?wait=1", *condition],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        head, _, body = output.decode().replace("\r\n", "\n").partition("\n\n")
        lines = head.split("\n")
        if " 200 " in lines[0] + " ":
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
            self.etag = headers["etag"]
            assert self.etag == f'"{json.loads(body)["position"]}"', "the ETag is the position"
            await self.show(body)
        elif " 304 " in lines[0] + " ":
            self.unchanged += 1
            await self.notify()
        else:
            # Not known yet, or no server just now.
            await asyncio.sleep(0.05)

    async def settled(self) -> None:
        unchanged = self.unchanged
        await self.until("that nothing is newer", lambda: self.unchanged > unchanged)


class Terminal(ProcessWatcher):
    """`milepost watch --json`, which ends with the job."""

    def command(self) -> list[str]:
        return [BINARY, "watch", "--json", self.job]

    async def line(self, line: str) -> None:
        await self.show(line)

    async def settled(self) -> None:
        await self.until_exit()


class Page(ProcessWatcher):
    """A page in Chromium: the frames that it gets, and what a person then reads on it."""

    def __init__(self, server: Server, job: str, address: Optional[str] = None) -> None:
        super().__init__(server, job)
        self.address = address or f"{server.url}/?job={job}"
        self.text = ""
        self.healths: list[str] = []
        """Those that it shows in amber: of jobs that are not well."""
        self.pings = 0
        self.faults: list[str] = []

    def command(self) -> list[str]:
        return ["node", str(Path(__file__).with_name("browser.js")), self.address]

    async def line(self, line: str) -> None:
        event = json.loads(line)
        if "fault" in event:
            self.faults.append(event["fault"])
        if "text" in event:
            self.text, self.healths = event["text"], event["healths"]
        if "frame" in event:
            message = json.loads(event["frame"])
            if "position" in message and message["job_id"] == self.job:
                await self.show(event["frame"])
                return
            if message.get("type") == "ping":
                self.pings += 1
        await self.notify()

    async def until_there(self) -> None:
        """Until it watches. A browser takes its time to start, other watchers next to none."""
        await self.until_reads(self.job)

    async def until_reads(self, *words: str) -> None:
        def reads() -> bool:
            text = self.text.lower()
            return all(word.lower() in text for word in words)

        try:
            await self.until(f"{words}", reads)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\nIt reads:\n{self.text}\n{self.faults}") from None

    async def settled(self) -> None:
        pings = self.pings
        await self.until("a ping", lambda: self.pings > pings)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()


async def all_of(watchers: list[Watcher], do: Callable[[Watcher], Awaitable[Any]]) -> None:
    await asyncio.gather(*(do(watcher) for watcher in watchers))


def check_agreement(watchers: list[Watcher]) -> None:
    """Each saw one text for each position, the same as the others; in order; the end once, and last."""
    texts: dict[str, str] = {}
    for watcher in watchers:
        assert watcher.failure is None, (watcher.name, watcher.failure)
        number = 0
        for text in watcher.states:
            position = json.loads(text)["position"]
            assert texts.setdefault(position, text) == text, (watcher.name, text, texts[position])
            step = int(position.split("-")[1])
            assert step > number, (watcher.name, "goes back to", position)
            number = step
        ends = [text for text in watcher.states if is_end(text)]
        assert len(ends) == 1, (watcher.name, ends)
        assert watcher.states[-1] == ends[0], (watcher.name, "goes on after the end")
