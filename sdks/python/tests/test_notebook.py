"""A job that is shown in a notebook's cell, with the real IPython."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from live_server import LiveServer

import milepost

Make = Callable[..., milepost.Reporter]


@pytest.fixture
def shell() -> Any:
    from IPython.core.interactiveshell import InteractiveShell

    return InteractiveShell.instance()


def shown(shell: Any, action: Callable[[], object]) -> list[dict[str, str]]:
    """What the action displays, or updates."""
    from IPython.core import displaypub

    publisher: Any = displaypub.CapturingDisplayPublisher
    before, shell.display_pub = shell.display_pub, publisher(parent=shell)
    try:
        action()
        return [each["data"] for each in shell.display_pub.outputs]
    finally:
        shell.display_pub = before


def test_a_job_in_a_cell_is_a_bar_that_watches_the_server(
    shell: Any, server: LiveServer, reporter: Make, job_id: str
) -> None:
    job = reporter(server.url, token="secret").job(id=job_id, stage="<render>", total=4)
    job.advance()
    (cell,) = shown(shell, lambda: shell.display_formatter.format(job))
    html = cell["text/html"]
    assert f'<job-progress job="{job_id}" url="{server.url}">' in html
    assert f'src="{server.url}/job-progress.js"' in html
    assert "&lt;render&gt; · 25% · processing" in html
    assert "secret" not in html
    assert cell["text/plain"] == repr(job)


def test_its_last_state_is_what_the_notebook_keeps(shell: Any, reporter: Make, job_id: str) -> None:
    job = reporter(None).job(id=job_id)
    (cell,) = shown(shell, lambda: shell.display_formatter.format(job))
    assert "<progress" not in cell["text/html"]
    (cell,) = shown(shell, lambda: job.fail(ValueError("no")))
    assert cell["text/html"] == f'<div class="milepost-state">{job_id}: Error: ValueError: no · failed</div>'
    assert shown(shell, lambda: job.complete()) == []


def test_an_end_that_cannot_be_shown_is_an_end_all_the_same(
    shell: Any, reporter: Make, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = reporter(None).job(id=job_id)
    shown(shell, lambda: shell.display_formatter.format(job))
    monkeypatch.delattr(milepost._job.Job, "_repr_html_")
    with job:
        pass
    assert job.status == "completed"
