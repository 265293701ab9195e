"""What the tests have in common: a folder, a server, a film to render."""

from __future__ import annotations

import logging
import subprocess
import tempfile
import unittest
from pathlib import Path

from binary import Server

# unittest makes asyncio log every slow step, and on a busy machine many are slow.
logging.getLogger("asyncio").setLevel(logging.ERROR)

SECONDS = 8
"""How long a film is."""
LONG = 60
"""How long one is whose rendering is broken off, however late it is that all watchers have seen it."""
SPEED = 2
"""How fast it is read, so that rendering takes a while on every machine."""


class Scene(unittest.IsolatedAsyncioTestCase):
    folder: Path
    server: Server
    options: tuple[str, ...] = ("--set", "ping_interval=0.5")

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="milepost-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.server = Server(self.folder, "--data-dir", str(self.folder / "data"), *self.options)
        self.server.start()
        self.addCleanup(self.server.stop)

    def film(self, seconds: int = SECONDS) -> Path:
        """A test picture with a counter, in motion."""
        film = self.folder / f"film-{seconds}.mp4"
        source = f"testsrc2=duration={seconds}:size=640x360:rate=30"
        command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", source]
        subprocess.run([*command, "-c:v", "mpeg4", str(film)], check=True)
        return film

    def render(self, film: Path, *, job: str = "r1") -> list[str]:
        """The arguments with which milepost renders it."""
        ffmpeg = ["ffmpeg", "-y", "-readrate", str(SPEED), "-i", str(film), "-c:v", "libx264"]
        output = str(self.folder / f"{job}.mp4")
        return ["run", "--job", job, "--", *ffmpeg, "-preset", "ultrafast", output]
