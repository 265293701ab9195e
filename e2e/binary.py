"""The binary under test: a server of it, and its other commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Optional, Union

import httpx

BINARY = os.environ.get("MILEPOST") or str(Path(__file__).parent.parent / "target" / "debug" / "milepost")
# What is set where the tests run is not for the servers that they start.
OURS = ("MILEPOST_", "REDIS_URL", "HOST", "PORT")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
PATIENCE = 60.0
"""How long anything may take on a busy machine, in seconds. Nothing is measured with it."""


PORTS = range(20_000, 32_000)
"""Below those of outgoing connections: while a server is down, no connection takes its port by chance, and
none that is made to it is connected to itself."""


def free_port() -> int:
    for _ in range(100):
        # Tests may seed `random`, and would then take the same ports again.
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("all ports are taken")


class Server:
    """A server that can be killed and started again at the same address."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws = f"ws://127.0.0.1:{self.port}"
        self._log = folder / "server.log"
        self._options = options
        self._process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [BINARY, "serve", "--listen", f"127.0.0.1:{self.port}"]
            self._process = subprocess.Popen(
                [*command, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server does not start:\n{self._log.read_text()}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """As a power cut would: without a word to anybody."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)
            self._process = None

    def get(self, path: str) -> Any:
        answer = httpx.get(self.url + path, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.json()

    def report(self, job: str, update: Union[dict[str, Any], str]) -> dict[str, Any]:
        content = update if isinstance(update, str) else json.dumps(update)
        answer = httpx.post(f"{self.url}/jobs/{job}", content=content, timeout=PATIENCE)
        answer.raise_for_status()
        response: dict[str, Any] = answer.json()
        return response


async def start(server: Server, *arguments: str) -> asyncio.subprocess.Process:
    """A command of the binary, in a process group of its own, its output kept in pipes."""
    return await asyncio.create_subprocess_exec(
        BINARY,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**ENVIRONMENT, "MILEPOST_URL": server.url},
        start_new_session=True,
    )


async def finish(process: asyncio.subprocess.Process) -> tuple[Optional[int], str, str]:
    """Its exit code, and what it wrote."""
    stdout, stderr = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, stdout.decode(), stderr.decode()
