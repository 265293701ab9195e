"""`python -m milepost program.py`: nothing in the program changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
from fake_server import FakeServer, http
from live_server import BINARY, ENVIRONMENT, LiveServer
from reported import history, jobs, until
from test_processes import SOURCE

import milepost
from milepost._auto import as_job


def run(folder: Path, code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = folder / "train.py"
    program.write_text(code)
    return subprocess.run(
        [sys.executable, "-m", "milepost", str(program), *arguments],
        env={**ENVIRONMENT, "PYTHONPATH": SOURCE, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_program_with_bars_is_one_job(server: LiveServer, job_id: str, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("WORDS = 'ab'\n")
    # It only waits until a watcher can see each bar.
    code = """
import sys
import milepost
from neighbour import WORDS
from tqdm import tqdm
from tqdm.auto import trange
for epoch in tqdm(WORDS, desc="epoch"):
    for batch in trange(3, desc="inner-bar"):
        assert milepost.flush(60)
print(__name__, sys.argv[1:])
"""
    done = run(tmp_path, code, "--fast", MILEPOST_URL=server.url, MILEPOST_JOB=job_id)
    assert (done.returncode, done.stdout) == (0, "__main__ ['--fast']\n")
    assert "milepost" not in done.stderr
    end = until(server, job_id, status="completed")
    assert (end["progress"], end["attempt"]) == (1.0, 1)
    assert "epoch" in {each.get("stage") for each in history(server, job_id)}
    assert jobs(server, "epoch") == jobs(server, "inner-bar") == []


@pytest.mark.parametrize(
    ("code", "exit_code", "wanted"),
    [
        ("raise RuntimeError('CUDA OOM')", 1, {"status": "failed", "error": "RuntimeError: CUDA OOM (train.py:1)"}),
        ("import sys; sys.exit(0)", 0, {"status": "completed"}),
        ("import sys; sys.exit(3)", 3, {"status": "failed", "error": "exit status 3"}),
        ("raise KeyboardInterrupt", -2, {"status": "cancelled"}),
    ],
)
def test_how_a_program_ends(
    server: LiveServer, job_id: str, tmp_path: Path, code: str, exit_code: int, wanted: dict[str, Any]
) -> None:
    done = run(tmp_path, code, MILEPOST_URL=server.url, MILEPOST_JOB=job_id, MILEPOST_ATTEMPT="2")
    assert done.returncode in (exit_code, 130)
    until(server, job_id, attempt=2, **wanted)


def test_an_exception_in_a_loop(server: LiveServer, job_id: str, tmp_path: Path) -> None:
    code = "from tqdm import tqdm\nfor n in tqdm(range(9)):\n    1 / (3 - n)\n"
    assert run(tmp_path, code, MILEPOST_URL=server.url, MILEPOST_JOB=job_id).returncode == 1
    until(server, job_id, status="failed", error="ZeroDivisionError: division by zero (train.py:3)")


def test_without_a_server_the_program_runs_as_ever(tmp_path: Path) -> None:
    done = run(tmp_path, "print('done')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_file_that_is_not_there() -> None:
    command = [sys.executable, "-m", "milepost", "nowhere.py"]
    done = subprocess.run(command, env={**ENVIRONMENT, "PYTHONPATH": SOURCE}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "milepost: there is no file nowhere.py\n")


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("pass", {"status": "completed", "progress": 1.0}),
        ("if n == 4: break", {"status": "cancelled", "message": "the loop was left at 4 of 9"}),
        ("1 / (3 - n)", {"status": "failed", "error": "ZeroDivisionError: division by zero (<string>:3)"}),
    ],
)
def test_a_loop_that_is_a_job(server: LiveServer, job_id: str, body: str, wanted: dict[str, Any]) -> None:
    code = f"import milepost\nfor n in milepost.track(range(9), 'export', id={job_id!r}):\n    {body}"
    environment = {**ENVIRONMENT, "PYTHONPATH": SOURCE, "MILEPOST_URL": server.url}
    subprocess.run([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL, timeout=60)
    until(server, job_id, **wanted)


def test_the_version_is_that_of_the_package() -> None:
    project = (Path(SOURCE).parent / "pyproject.toml").read_text()
    assert f'version = "{milepost.__version__}"' in project


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1", "ftp://host", "http://me:secret@127.0.0.1:1"])
def test_a_check_says_what_is_wrong(url: Optional[str], tmp_path: Path) -> None:
    where = {} if url is None else {"MILEPOST_URL": url}
    done = check(tmp_path, **where)
    assert done.returncode == 1
    assert done.stderr.startswith("milepost: ")
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_a_check_of_a_server_that_answers(server: LiveServer, tmp_path: Path) -> None:
    done = check(tmp_path, MILEPOST_URL=server.url)
    said = f"milepost: {server.url} answers: this program may report the job milepost-check, and watch it\n"
    assert (done.returncode, done.stdout) == (0, said)
    assert milepost.status("milepost-check", url=server.url) is None


def test_a_check_of_what_is_no_milepost_server(fake: Callable[..., FakeServer], tmp_path: Path) -> None:
    done = check(tmp_path, MILEPOST_URL=fake(lambda _: http(200, "hello")).url)
    assert done.returncode == 1
    assert "is not a Milepost server" in done.stderr


def check(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "milepost", "check"],
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONPATH": SOURCE, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_auto_runs_a_file_as_a_job_and_its_children_are_none(server: LiveServer, job_id: str, tmp_path: Path) -> None:
    # What an installed wheel's `milepost.pth` does.
    (tmp_path / "sitecustomize.py").write_text(f"import site\nsite.addsitedir({SOURCE!r})\n")
    program = tmp_path / "train.py"
    program.write_text(
        "import os, subprocess, sys\n"
        "print(sys.argv[1:], 'MILEPOST_AUTO' in os.environ)\n"
        "if not sys.argv[2:]:\n"
        "    sys.exit(subprocess.run([sys.executable, __file__, '--fast', 'child']).returncode)\n"
        "raise RuntimeError('CUDA OOM')\n"
    )
    done = subprocess.run(
        [sys.executable, "-u", "-X", "utf8", str(program), "--fast"],
        env={**ENVIRONMENT, "PYTHONPATH": str(tmp_path), "MILEPOST_AUTO": "1", "MILEPOST_URL": server.url}
        | {"MILEPOST_JOB": job_id},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "['--fast'] False\n['--fast', 'child'] False\n"), done.stderr
    until(server, job_id, status="failed", error="exit status 1", attempt=1)


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (["python", "-m", "pip", "list"], None),
        (["python", "-c", "print()", __file__], None),
        (["python", "-Bc", "print()"], None),
        (["python"], None),
        (["python", "nowhere.py"], None),
        (
            ["python", "-u", "-W", "error", __file__, "-m"],
            ["python", "-u", "-W", "error", "-m", "milepost", __file__, "-m"],
        ),
        (["python", "-Xdev", __file__], ["python", "-Xdev", "-m", "milepost", __file__]),
    ],
)
def test_auto_is_for_files(command: list[str], wanted: Optional[list[str]]) -> None:
    assert as_job(command) == wanted


def test_below_milepost_run_it_is_one_job(server: LiveServer, job_id: str, tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text("from tqdm import tqdm\nfor n in tqdm(range(4)): pass\nraise RuntimeError('CUDA OOM')\n")
    command = [sys.executable, "-m", "milepost", str(program)]
    done = subprocess.run(
        [BINARY, "run", "--server", server.url, "--job", job_id, "--", *command],
        env={**ENVIRONMENT, "PYTHONPATH": SOURCE, "MILEPOST_URL": server.url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    end = until(server, job_id, status="failed", attempt=1)
    assert "RuntimeError: CUDA OOM" in end["error"]
    assert jobs(server, "train") == []
