"""What people see who start a worker at a terminal, and those who do not."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Optional

import pytest
from live_server import ENVIRONMENT, LiveServer
from test_processes import SOURCE

pty = pytest.importorskip("pty")


def at_a_terminal(code: str, url: Optional[str], **environment: str) -> list[str]:
    """The lines that a program leaves on its terminal."""
    ours, theirs = pty.openpty()
    where = {"MILEPOST_URL": url} if url is not None else {}
    subprocess.run(
        [sys.executable, "-c", f"import milepost\n{code}"],
        stderr=theirs,
        env={**ENVIRONMENT, "PYTHONPATH": SOURCE, **where, **environment},
        check=True,
        timeout=60,
    )
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 65_536):
            text += piece
    except OSError:
        pass
    os.close(ours)
    return text.decode().splitlines()


def test_where_to_watch_is_said_once(server: LiveServer, job_id: str) -> None:
    code = f"for n in range(3):\n    with milepost.job(id=f'{job_id}-{{n}}'): pass"
    assert at_a_terminal(code, server.url) == [f"milepost: watch at {server.url}/?job={job_id}-0"]


def test_without_a_server_there_is_one_hint(job_id: str) -> None:
    code = "for n in range(3):\n    with milepost.job('x'): pass"
    (hint,) = at_a_terminal(code, None)
    assert hint.startswith("milepost: nothing is reported: MILEPOST_URL is not set.")
    assert "http://localhost:8084" in hint
    # Who sets it to nothing has decided.
    assert at_a_terminal(code, "") == []


def test_an_id_that_was_used_before(server: LiveServer, job_id: str) -> None:
    code = f"with milepost.job(id={job_id!r}): pass"
    at_a_terminal(code, server.url)
    _, warning = at_a_terminal(code, server.url)
    assert warning == (
        f"milepost: {job_id} is not shown at {server.url}, because attempt 1 has already ended there; "
        f'to run the same id again, use milepost.job(id="{job_id}", attempt="next")'
    )
