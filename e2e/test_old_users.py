"""Those who used the service before Milepost change nothing."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from datetime import datetime
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from scene import Scene
from watchers import Page


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class OldUsers(Scene):
    def page(self, job: str) -> Page:
        """The old page, which comes from a web server of its own."""
        handler = functools.partial(Quiet, directory=str(Path(__file__).parent))
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(web.server_close)
        self.addCleanup(web.shutdown)
        query = f"server={self.server.ws}&job={job}"
        address = f"http://127.0.0.1:{web.server_address[1]}/old_page.html?{query}"
        return Page(self.server, job, address)

    async def test_their_page(self) -> None:
        page = self.page("job_12345")
        async with page:
            await page.until_reads("Connected: Connected to job progress stream")
            update = {
                "job_id": "job_12345",
                "status": "processing",
                "stage": "rendering",
                "progress": 0.75,
                "message": "Rendering frame 1500/2000",
                "timestamp": "2024-01-01T00:00:00",
                "metadata": {"current_frame": 1500, "total_frames": 2000},
            }
            self.server.report("job_12345", update)
            await page.until_reads("Status: processing", "Stage: rendering", "75%", "1500/2000")
            seen = page.latest()
            self.assertEqual({name: seen[name] for name in update}, update)

            await page.until_reads("Pings: 2")
            result = {"video_url": "https://cdn.example.com/video.mp4"}
            end = {"status": "completed", "stage": "complete", "progress": 1.0, "result": result}
            self.server.report("job_12345", {**end, "message": "Job completed"})
            await page.until_reads("Status: completed", "100%", "cdn.example.com/video.mp4")
            # It stays connected after the end: such pages say "Connecting…" as soon as they are not.
            await page.until_reads("Pings: 4")
            self.assertNotIn("Connecting…", page.text)
            self.assertEqual(page.faults, [])

        late = self.page("job_12345")
        async with late:
            await late.until_reads("Status: completed", "100%", "cdn.example.com/video.mp4")

    async def test_their_page_when_a_job_fails(self) -> None:
        page = self.page("job_1")
        async with page:
            await page.until_reads("Connected")
            failure = {"status": "failed", "stage": "rendering", "progress": 0.0}
            error = {"message": "Error: Out of memory", "error": "Out of memory"}
            self.server.report("job_1", {**failure, **error})
            await page.until_reads("Status: failed", "0%", "Failed: Out of memory")

    async def test_their_page_when_the_server_restarts(self) -> None:
        page = self.page("job_1")
        async with page:
            self.server.report("job_1", {"stage": "cropping", "progress": 0.25})
            await page.until_reads("Connected", "25%")
            self.server.stop()
            await page.until_reads("Connecting…")
            self.server.start()
            await page.until_reads("Connected", "25%", "cropping")

    async def test_their_messages(self) -> None:
        async with connect(f"{self.server.ws}/ws/jobs/job_1", proxy=None) as socket:
            connected = json.loads(await socket.recv())
            timestamp = connected.pop("timestamp")
            self.assertIsNotNone(datetime.fromisoformat(timestamp.replace("Z", "+00:00")).tzinfo)
            expected = {"type": "connected", "job_id": "job_1", "known": False}
            message = "Connected to job progress stream"
            self.assertEqual(connected, {**expected, "message": message})

            ping = json.loads(await socket.recv())
            del ping["timestamp"]
            self.assertEqual(ping, {"type": "ping", "message": "keepalive", "job_id": "job_1"})

            # Nothing that a client says is fatal, and what it says is answered only if it is a ping.
            for said in ("hello", "{", '{"type":"subscribe"}', "null", "[1]", "", b"\x00\xff"):
                await socket.send(said)
            await socket.send('{"type":"ping"}')
            while (answer := json.loads(await socket.recv()))["type"] == "ping":
                pass
            self.assertEqual(list(answer), ["type", "timestamp"])
            self.assertEqual(answer["type"], "pong")

            # An update arrives as it was reported, to the last digit, but for what is added.
            update = '"n":0.1000000000000000000001,"timestamp":"2024-01-01T00:00:00.123456"'
            content = f'{{"job_id":"job_1","status":"processing","stage":"testing","progress":0.3,{update}}}'
            self.server.report("job_1", content)
            while "position" not in (state := str(await socket.recv())):
                pass
            self.assertTrue(state.startswith(content[:-1] + ',"started_at":"'), state)

    def test_their_polling(self) -> None:
        address = f"{self.server.url}/jobs/job_1/status"
        self.assertEqual(httpx.get(address).status_code, 404)
        self.server.report("job_1", {"stage": "uploading", "progress": 0.5})
        answer = httpx.get(address)
        self.assertEqual(answer.status_code, 200)
        self.assertEqual(answer.json(), self.server.get("/jobs/job_1"))

    async def test_their_operators(self) -> None:
        health = self.server.get("/health")
        self.assertEqual(health["status"], "healthy")
        page = self.page("job_1")
        async with page:
            await page.until_reads("Connected")
            stats = self.server.get("/ws/stats")
            self.assertEqual(stats["status"], "healthy")
            self.assertIn("timestamp", stats)
            wanted = {"total_connections", "active_jobs", "messages_sent", "errors", "active_connections"}
            self.assertLessEqual(wanted, set(stats["stats"]))
            self.assertEqual(stats["stats"]["active_jobs"], 1)
            self.assertEqual(stats["stats"]["active_connections"], 1)
