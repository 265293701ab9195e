"""The updates of a job that a server received."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import Any, Optional

from live_server import LiveServer, eventually


def state(server: LiveServer, job_id: str) -> Optional[dict[str, Any]]:
    found: Optional[dict[str, Any]] = _get(server, f"/jobs/{job_id}")
    return found


def history(server: LiveServer, job_id: str) -> list[dict[str, Any]]:
    """The latest states, oldest first."""
    found = _get(server, f"/jobs/{job_id}/history")
    states: list[dict[str, Any]] = found["states"] if found is not None else []
    return states


def request(server: LiveServer, job_id: str, **wanted: str) -> None:
    """Requests something of the job's worker, as a page does."""
    body = json.dumps(wanted).encode()
    with urllib.request.urlopen(f"{server.url}/jobs/{job_id}/requests", body) as answer:
        assert answer.status == 202


def steps(server: LiveServer, job_id: str) -> list[tuple[int, str]]:
    """The job's attempts and statuses, as they changed."""
    found: list[tuple[int, str]] = []
    for each in history(server, job_id):
        step = (each["attempt"], each["status"])
        if not found or found[-1] != step:
            found.append(step)
    return found


def jobs(server: LiveServer, prefix: str) -> list[dict[str, Any]]:
    found = _get(server, f"/jobs?prefix={prefix}")
    assert found is not None
    states: list[dict[str, Any]] = found["jobs"]
    return states


def jobs_of(server: LiveServer, parent: str) -> list[dict[str, Any]]:
    """The job's children."""
    found = _get(server, f"/jobs?parent={parent}")
    assert found is not None
    states: list[dict[str, Any]] = found["jobs"]
    return states


def until(server: LiveServer, job_id: str, **wanted: object) -> dict[str, Any]:
    """The job's state, once it has these fields."""
    latest: list[Optional[dict[str, Any]]] = [None]

    def matches() -> bool:
        latest[0] = state(server, job_id)
        return latest[0] is not None and all(latest[0].get(name) == value for name, value in wanted.items())

    try:
        eventually(matches, f"{job_id} with {wanted}")
    except AssertionError as error:
        raise AssertionError(f"{error}; it is {latest[0]}") from None
    assert latest[0] is not None
    return latest[0]


def _get(server: LiveServer, path: str) -> Any:
    try:
        with urllib.request.urlopen(server.url + path, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None


def without_frame(text: Optional[str]) -> Optional[str]:
    """An error's text without the line where it was raised."""
    return text and re.sub(r" \([^()]+:\d+( in [^()]+)?\)$", "", text)
