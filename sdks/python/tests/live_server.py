"""The real server, of the binary under test."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Optional, TypeVar

T = TypeVar("T")

BINARY = os.environ.get("MILEPOST") or str(Path(__file__).parents[3] / "target" / "debug" / "milepost")
# What is set where the tests run is not for what they start.
OURS = ("MILEPOST", "REDIS_URL", "HOST", "PORT")
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


def eventually(find: Callable[[], T], what: str = "what is waited for") -> T:
    """What `find` returns, once that is truthy."""
    deadline = time.monotonic() + PATIENCE
    while not (found := find()):
        assert time.monotonic() < deadline, f"{what} does not come about: {found!r}"
        time.sleep(0.01)
    return found


class LiveServer:
    """A server that can be killed and started again at the same address."""

    def __init__(self, folder: Path, *options: str, environment: Optional[dict[str, str]] = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"server-{self.port}.log"
        self._options = options
        self._environment = {**ENVIRONMENT, **(environment or {})}
        self._process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [BINARY, "serve", "--listen", f"127.0.0.1:{self.port}", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        process = self._process

        def is_ready() -> bool:
            assert process.poll() is None, f"the server does not start:\n{self._log.read_text()}"
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        eventually(is_ready, "the server")

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
