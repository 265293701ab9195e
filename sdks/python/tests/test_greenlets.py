"""Programs whose threads are greenlets: gevent's and eventlet's, patched before or after milepost is imported."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import pytest
from live_redis import LiveRedis
from live_server import ENVIRONMENT, PATIENCE, LiveServer, eventually, free_port
from reported import until
from test_processes import SOURCE, Worker, state

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
}
# What is not installed is not tried; `e2e/requirements.txt` has both.
KINDS = ["gevent", "eventlet"]


def program(folder: Path, kind: str, when: str, code: str) -> Path:
    lines = ["import milepost", PATCHES[kind]]
    if when == "before":
        lines.reverse()
    file = folder / "program.py"
    file.write_text("\n".join(lines) + "\nimport os, sys, time\n" + textwrap.dedent(code))
    return file


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    pytest.importorskip(name) if name == "gevent" else _need_eventlet()
    return name


def _need_eventlet() -> None:
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", "import eventlet"], capture_output=True)
    if found.returncode:
        pytest.skip("eventlet is not installed")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_patched_program_reports(server: LiveServer, job_id: str, kind: str, when: str, tmp_path: Path) -> None:
    code = f"""
        with milepost.job(id={job_id!r}) as job:
            for _ in job.track(range(5), stage="work"):
                time.sleep(0.01)
            assert milepost.flush(60)
            job.result("done")
    """
    assert Worker(program(tmp_path, kind, when, code), server.url).finish() == (0, "")
    assert (state(server, job_id).status, state(server, job_id).result) == ("completed", "done")


def test_the_import_takes_no_patch_back(kind: str, tmp_path: Path) -> None:
    code = """
        names = "start_new_thread", "allocate_lock", "get_ident"
        def patched(): return [getattr(sys.modules["_thread"], name) for name in names]
        before = patched()
        import milepost
        assert patched() == before, before
    """
    file = tmp_path / "program.py"
    file.write_text(f"{PATCHES[kind]}\nimport sys\n" + textwrap.dedent(code))
    assert Worker(file, None).finish() == (0, "")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_patched_program_reports_to_redis(
    redis: LiveRedis, job_id: str, kind: str, when: str, tmp_path: Path
) -> None:
    code = f"milepost.configure({redis.url!r})\nwith milepost.job(id={job_id!r}): pass"
    assert Worker(program(tmp_path, kind, when, code), None).finish() == (0, "")
    check = f"import milepost; print(milepost.status({job_id!r}, url={redis.url!r}).status)"
    found = subprocess.run([sys.executable, "-c", check], env={**ENVIRONMENT, "PYTHONPATH": SOURCE}, stdout=-1)
    assert found.stdout == b"completed\n"


def test_patched_while_a_job_goes_on(server: LiveServer, job_id: str, kind: str, tmp_path: Path) -> None:
    code = f"""
        import milepost, time
        job = milepost.job(id={job_id!r}, stage="one")
        assert milepost.flush(60)
        {PATCHES[kind]}
        job.stage("two")
        job.update(current=3, message="m")
        assert milepost.flush(60)
        job.complete()
    """
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(code))
    code_, errors = Worker(file, server.url).finish()
    assert code_ == 0, errors
    assert "milepost" not in errors
    assert state(server, job_id).status == "completed"


def test_many_greenlets_report_and_none_stops_the_others(
    server: LiveServer, job_id: str, kind: str, tmp_path: Path
) -> None:
    """Also while one of them waits in a flush."""
    code = f"""
        import threading
        ticks = []
        is_over = False
        def tick():
            while not is_over:
                ticks.append(1)
                time.sleep(0.001)
        def work(n):
            with milepost.job(id=f"{job_id}-{{n}}") as job:
                for _ in job.track(range(20), stage="work"):
                    job.update(message=str(n))
                    time.sleep(0.001)
        ticking = threading.Thread(target=tick)
        ticking.start()
        threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert milepost.flush(60)
        milepost.configure("http://127.0.0.1:{free_port()}")
        job = milepost.job("unheard")
        before = len(ticks)
        milepost.flush(0.5)
        assert len(ticks) > before + 3, "a flush stops every greenlet"
        is_over = True
        ticking.join()
        os._exit(0)
    """
    code_, errors = Worker(program(tmp_path, kind, "after", code), server.url).finish()
    assert code_ == 0, errors
    for n in range(20):
        assert state(server, f"{job_id}-{n}").status == "completed"


def test_a_server_that_is_down_is_warned_of_once(job_id: str, kind: str, tmp_path: Path) -> None:
    code = f"""
        with milepost.job(id={job_id!r}) as job:
            job.stage("one")
            time.sleep(0.2)
            job.stage("two")
    """
    url = f"http://127.0.0.1:{free_port()}"
    code_, errors = Worker(program(tmp_path, kind, "after", code), url).finish()
    assert code_ == 0
    first, second = errors.strip().splitlines()
    assert first.startswith("milepost: cannot report to http://127.0.0.1:")
    assert second == "milepost: the last states of 1 job were not delivered in time"


def test_watching_lets_other_greenlets_run(server: LiveServer, job_id: str, kind: str, tmp_path: Path) -> None:
    code = f"""
        import threading
        seen = []
        def watch():
            for state in milepost.watch({job_id!r}):
                seen.append(state.status)
        thread = threading.Thread(target=watch)
        thread.start()
        job = milepost.job(id={job_id!r})
        assert milepost.flush(60)
        while not seen:
            time.sleep(0.01)
        job.complete()
        thread.join()
        assert seen[-1] == "completed", seen
    """
    assert Worker(program(tmp_path, kind, "after", code), server.url).finish() == (0, "")


APP = """
import milepost

def app(environ, start_response):
    with milepost.job("request", id=environ["PATH_INFO"][1:]) as job:
        job.stage("answering")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]

preloaded = milepost.job(id="{job}-preloaded")
"""


@pytest.mark.parametrize("options", [["-k", "gevent", "--preload"], ["-k", "gevent"], ["--preload"]])
def test_gunicorn(server: LiveServer, job_id: str, options: list[str], tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    pytest.importorskip("gevent")
    (tmp_path / "app.py").write_text(APP.format(job=job_id))
    url = f"http://127.0.0.1:{free_port()}"
    log = tmp_path / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "-b", url[7:], "-w", "2", "app:app"],
            cwd=tmp_path,
            env={**ENVIRONMENT, "PYTHONPATH": SOURCE, "MILEPOST_URL": server.url},
            stdout=errors,
            stderr=errors,
        )
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"{url}/{job_id}", timeout=5) as answer:
                    return bool(answer.read() == b"done")
            except OSError:
                return False

        eventually(answers, "gunicorn")
        until(server, job_id, status="completed")
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert "Traceback" not in log.read_text()
