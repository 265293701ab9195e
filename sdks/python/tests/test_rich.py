"""`from milepost.rich import Progress`, with the real rich and a real server."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import ENVIRONMENT, LiveServer
from reported import history, jobs, until
from rich.console import Console
from test_main import run
from test_processes import SOURCE
from test_tqdm import described

import milepost
from milepost.rich import Progress


@pytest.fixture(autouse=True)
def reporting(server: LiveServer) -> Iterator[None]:
    reporter = milepost.configure(server.url)
    yield
    reporter.close()


def python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "PYTHONPATH": SOURCE}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )


def quiet(**options: Any) -> Progress:
    return Progress(console=Console(file=io.StringIO()), **options)


def test_a_display_is_a_job_with_a_stage_for_each_task(server: LiveServer, job_id: str) -> None:
    with quiet(job=job_id) as progress:
        first = progress.add_task("[bold]reading", total=4, unit="files")
        progress.advance(first)
        job = progress._reports._job
        assert job is not None
        assert (described(job)["stage"], described(job)["progress"], described(job)["unit"]) == (
            "reading",
            0.25,
            "files",
        )
        assert milepost.flush(60)
        progress.update(first, completed=4)
        list(progress.track(range(2), description="counted in rich's own thread"))
        second = progress.add_task("writing", total=2)
        progress.advance(second)
        assert (described(job)["stage"], described(job)["progress"]) == ("writing", 0.5)
        progress.advance(second)
    end = until(server, job_id, status="completed")
    assert end["progress"] == 1.0
    assert {each.get("stage") for each in history(server, job_id)} >= {"reading", "complete"}


def test_a_display_inside_of_a_job_belongs_to_it(server: LiveServer, job_id: str) -> None:
    with milepost.job(id=job_id) as job:
        with quiet() as progress:
            task = progress.add_task("inside", total=2)
            progress.advance(task)
            assert (described(job)["stage"], described(job)["progress"]) == ("inside", 0.5)
        assert not job.has_ended
    assert jobs(server, "inside") == []


def test_a_block_that_raises_has_failed(server: LiveServer, job_id: str) -> None:
    def read() -> None:
        with quiet(job=job_id) as progress:
            progress.add_task("reading", total=3)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        read()
    assert until(server, job_id, status="failed")["error"].startswith("ValueError: no")


def test_tasks_of_several_threads_are_one_job(server: LiveServer, job_id: str) -> None:
    with quiet(job=job_id) as progress:
        main = progress.add_task("main", total=3)
        threads = [threading.Thread(target=lambda: progress.add_task("other", total=5)) for _ in range(2)]
        for thread in threads:
            thread.start()
            thread.join()
        job = progress._reports._job
        assert job is not None
        assert [bar["desc"] for bar in described(job)["metadata"]["bars"]] == ["other", "other"]
        progress.remove_task(main)
        assert described(job)["stage"] == "other"
    assert until(server, job_id, status="cancelled")["message"] == "the display was stopped at 0 of 5"
    assert jobs(server, "other") == []


def test_a_display_that_stops_early_is_cancelled(server: LiveServer, job_id: str) -> None:
    with quiet(job=job_id) as progress:
        for number in progress.track(range(10), description="reading"):
            if number == 3:
                break
    end = until(server, job_id, status="cancelled", progress=0.3)
    assert end["message"] == "the display was stopped at 3 of 10"


def test_a_task_without_a_total_and_one_that_begins_anew(job_id: str) -> None:
    with quiet(job=job_id) as progress:
        task = progress.add_task("reading", total=None)
        progress.advance(task, 3)
        job = progress._reports._job
        assert job is not None
        assert (described(job)["current"], described(job)["progress"]) == (3, None)
        progress.update(task, total=3)
        progress.reset(task, total=4)
        assert (described(job)["current"], described(job)["progress"]) == (0, 0.0)


def test_what_is_disabled_reports_nothing(server: LiveServer, job_id: str) -> None:
    with quiet(job=job_id, disable=True) as progress:
        list(progress.track(range(3)))
    assert milepost.flush(60)
    assert milepost.status(job_id, url=server.url) is None


def test_a_display_that_is_never_started(server: LiveServer, job_id: str) -> None:
    """As in a group of displays."""
    progress = [quiet(job=job_id)]
    list(progress[0].track(range(3)))
    progress.clear()
    gc.collect()
    until(server, job_id, status="completed")


def test_a_program_with_rich_needs_no_change(server: LiveServer, job_id: str, tmp_path: Path) -> None:
    # It only waits until a watcher can see each bar.
    code = """
import milepost
from rich.progress import Progress, track
for _ in track(range(3), description="reading"):
    assert milepost.flush(60)
with Progress() as progress:
    task = progress.add_task("writing", total=2, progress="a field", name="another")
    progress.update(task, advance=1, progress="its next value", result=1)
    assert milepost.flush(60)
"""
    done = run(tmp_path, code, MILEPOST_URL=server.url, MILEPOST_JOB=job_id)
    assert (done.returncode, done.stderr) == (0, "")
    until(server, job_id, status="completed")
    assert {each.get("stage") for each in history(server, job_id)} >= {"reading", "writing"}
    assert jobs(server, "reading") == jobs(server, "writing") == []


@pytest.mark.parametrize("name", ["celery", "dramatiq", "fastapi", "huey", "rich", "rq", "tqdm"])
def test_a_package_that_is_missing_is_named(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None\ntry: import milepost.{name}\nexcept ImportError as e: print(e)"
    done = python(code)
    assert done.stdout == f"milepost.{name} needs the package {name}: `pip install 'milepost[{name}]'`\n"


def test_tqdm_under_the_name_of_its_own_module() -> None:
    code = """
from milepost.tqdm import tqdm, trange
import milepost, milepost.tqdm
from milepost import tqdm as same
assert same is tqdm is milepost.tqdm, same
"""
    python(code)
