"""Workers of task queues and web applications, as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
from live_redis import LiveRedis
from live_server import ENVIRONMENT, PATIENCE, LiveServer, eventually, free_port

_TESTS = Path(__file__).parent
_SOURCES = _TESTS.parent / "src"


class LiveWorker:
    """`python -m …`, in a session of its own, so that it can be killed with all its children."""

    def __init__(self, folder: Path, arguments: list[str], ready: str, environment: dict[str, str]) -> None:
        self.log = folder / "worker.log"
        paths = os.pathsep.join([str(_SOURCES), str(_TESTS)])
        with self.log.open("ab") as log:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=folder,
                env={**ENVIRONMENT, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        def is_ready() -> bool:
            assert self.process.poll() is None, self.said()
            return ready in self.said()

        try:
            eventually(is_ready, "the worker")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.said()}") from None

    def said(self) -> str:
        return self.log.read_text()

    def terminate(self) -> None:
        """SIGTERM to the parent."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """The worker and its children, on the spot."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(PATIENCE)


class LiveApp:
    """A web application in a process of its own. In the command, PORT stands for its port."""

    def __init__(self, folder: Path, command: list[str], ready: str, milepost_url: str, **environment: str) -> None:
        port = str(free_port())
        self.url = f"http://127.0.0.1:{port}"
        arguments = [each.replace("PORT", port) for each in command]
        self.worker = LiveWorker(folder, arguments, ready, {"MILEPOST_URL": milepost_url, **environment})

    def post(self, path: str, **parameters: object) -> httpx.Response:
        return httpx.post(self.url + path, params=parameters, timeout=60)  # type: ignore[arg-type]


class CeleryWorker(LiveWorker):
    """A worker of Celery that runs the tasks of `celery_tasks`."""

    def __init__(self, folder: Path, broker: LiveRedis, server: LiveServer, *options: str, **environment: str) -> None:
        pool = [] if "--pool" in options else ["--pool", "prefork"]
        command = ["celery", "-A", "celery_tasks", "worker", *pool, "--loglevel", "info", *options]
        quick = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        given = {"BROKER": broker.url, "MILEPOST_URL": server.url, **environment}
        super().__init__(folder, [*command, *quick], " ready.", given)
