"""Processes that end, fork, are killed: what a watcher then sees. docs/python.md has these as a table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional, Union

import pytest
from fake_server import Answer, FakeServer, Request, accept
from live_redis import LiveRedis
from live_server import ENVIRONMENT, PATIENCE, LiveServer, eventually, free_port
from reported import without_frame

import milepost

SOURCE = str(Path(milepost.__file__).parents[1])


class Worker:
    """A Python of its own, which runs a worker's code."""

    def __init__(self, code: Union[str, Path], url: Optional[str], **environment: str) -> None:
        paths = {"PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1"}
        where = {"MILEPOST_URL": url} if url is not None else {}
        prelude = "import os, signal, sys, time\nimport milepost\n"
        program = [str(code)] if isinstance(code, Path) else ["-c", prelude + textwrap.dedent(code)]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**ENVIRONMENT, **paths, **where, **environment},
        )

    def until_it_says(self, line: str) -> None:
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        assert said == line, (said, self.process.stderr and self.process.stderr.read())

    def kill(self, how: int = signal.SIGKILL) -> None:
        self.process.send_signal(how)

    def finish(self) -> tuple[int, str]:
        """Its exit code, and what it wrote to its standard error."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


def state(server: LiveServer, job_id: str) -> milepost.State:
    found = milepost.status(job_id, url=server.url)
    assert found is not None
    return found


RUN_ON = """
    with milepost.job(id={job!r}) as job:
        for n in job.track(range(10**9), stage="render"):
            if n == 3:
                assert milepost.flush(60)
                print("running", flush=True)
            time.sleep(0.01)
"""


def test_a_worker_that_is_done(server: LiveServer, job_id: str) -> None:
    worker = Worker(f"with milepost.job(id={job_id!r}) as job: job.result(7)", server.url)
    assert worker.finish() == (0, "")
    assert (state(server, job_id).status, state(server, job_id).result) == ("completed", 7)


def test_a_worker_that_raises(server: LiveServer, job_id: str) -> None:
    worker = Worker(f"with milepost.job(id={job_id!r}) as job: raise ValueError('no')", server.url)
    code, errors = worker.finish()
    assert code == 1
    assert "ValueError: no" in errors
    assert "milepost: " not in errors
    assert (state(server, job_id).status, state(server, job_id).error) == ("failed", "ValueError: no (<string>:3)")


def test_a_worker_that_exits_without_an_outcome(server: LiveServer, job_id: str) -> None:
    worker = Worker(f"job = milepost.job(id={job_id!r}); keep = [job]; job.stage('one')", server.url)
    assert worker.finish() == (0, "")
    assert state(server, job_id).status == "failed"
    assert state(server, job_id).error == "the process ended without an outcome"


def test_ctrl_c_during_the_wait_at_exit_ends_it(fake: Callable[..., FakeServer], job_id: str) -> None:
    is_over = threading.Event()

    def answer(request: Request) -> Answer:
        if any(update["status"] == "completed" for update in request.updates):
            # The worker has nothing left to do but to wait for this answer.
            worker.kill(signal.SIGINT)
            is_over.wait(PATIENCE)
            return None
        return accept(request)

    code = f"""
        milepost.configure(flush_timeout=600)
        job = milepost.job(id={job_id!r}, stage="one")
        assert milepost.flush(60)
        # An atexit handler that is registered later runs first.
        import atexit
        atexit.register(job.complete)
    """
    worker = Worker(code, fake(answer).url)
    done = worker.finish()
    is_over.set()
    assert done == (0, "milepost: the last states of some jobs were not delivered: interrupted\n")


NO_FILES = """
    import resource
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    files = []
    try:
        while True:
            files.append(open(os.devnull))
    except OSError:
        pass
    with milepost.job(id={job!r}) as job:
        job.result(7)
    for file in files:
        file.close()
    assert milepost.flush(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of this kind")
@pytest.mark.parametrize("kind", ["server", "redis"])
def test_a_job_that_begins_while_there_are_no_files(
    server: LiveServer, redis: LiveRedis, job_id: str, kind: str
) -> None:
    """Nothing of the transport has been imported yet."""
    url = server.url if kind == "server" else redis.url
    assert Worker(NO_FILES.format(job=job_id), url).finish()[0] == 0
    found = milepost.status(job_id, url=url)
    assert found is not None
    assert (found.status, found.result) == ("completed", 7)


@pytest.mark.parametrize("code", ["0", "3", "'no'", "None"])
def test_a_worker_that_calls_exit(server: LiveServer, job_id: str, code: str) -> None:
    Worker(f"with milepost.job(id={job_id!r}) as job: sys.exit({code})", server.url).finish()
    assert state(server, job_id).status == ("cancelled" if code in ("0", "None") else "failed")


def test_a_worker_that_is_killed_mid_loop(server: LiveServer, job_id: str) -> None:
    """The job stands still where it was, and goes on with the next attempt."""
    worker = Worker(RUN_ON.format(job=job_id), server.url)
    worker.until_it_says("running")
    worker.kill()
    assert worker.finish()[0] == -signal.SIGKILL
    before = state(server, job_id)
    assert (before.status, before.stage) == ("processing", "render")
    # Nobody knows that it is dead: a process that does not name the attempt joins it.
    joins = f"job = milepost.job(id={job_id!r}, attempt='next', total=10); milepost.flush(60); os._exit(0)"
    assert Worker(joins, server.url).finish() == (0, "")
    assert (state(server, job_id).status, state(server, job_id).attempt) == ("processing", 1)
    assert (state(server, job_id).stage, state(server, job_id).progress) == ("render", 0.0)
    assert Worker(f"milepost.job(id={job_id!r}, attempt=2).complete()", server.url).finish() == (0, "")
    assert (state(server, job_id).status, state(server, job_id).attempt) == ("completed", 2)


def test_sigterm_as_python_takes_it(server: LiveServer, job_id: str) -> None:
    worker = Worker(RUN_ON.format(job=job_id), server.url)
    worker.until_it_says("running")
    worker.kill(signal.SIGTERM)
    assert worker.finish()[0] == -signal.SIGTERM
    assert state(server, job_id).status == "processing"


def test_sigterm_where_it_is_asked_to_exit(server: LiveServer, job_id: str) -> None:
    worker = Worker("milepost.exit_on_signal()\n" + textwrap.dedent(RUN_ON.format(job=job_id)), server.url)
    worker.until_it_says("running")
    worker.kill(signal.SIGTERM)
    assert worker.finish() == (128 + signal.SIGTERM, "")
    assert (state(server, job_id).status, state(server, job_id).message) == ("cancelled", "ended by signal 15")


def test_control_c(server: LiveServer, job_id: str) -> None:
    worker = Worker(RUN_ON.format(job=job_id), server.url)
    worker.until_it_says("running")
    worker.kill(signal.SIGINT)
    _, errors = worker.finish()
    assert "KeyboardInterrupt" in errors
    assert (state(server, job_id).status, state(server, job_id).message) == ("cancelled", "interrupted")


def test_a_handler_of_signals_may_report(server: LiveServer, job_id: str) -> None:
    """Also in the middle of a report."""
    code = f"""
        job = milepost.job(id={job_id!r})
        count = 0
        def handle(*_):
            global count
            count += 1
            job.message(str(count)); job.metadata(n=count); job.advance(2); job.stage(str(count))
            if count >= 200:
                job.cancel("enough")
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        while not job.has_ended:
            job.message("m"); job.metadata(n=0); job.advance(2); job.stage("s")
        signal.setitimer(signal.ITIMER_REAL, 0)
    """
    assert Worker(code, server.url).finish() == (0, "")
    assert state(server, job_id).message == "enough"


def test_an_exit_does_not_wait_long_for_a_server_that_is_down(job_id: str) -> None:
    code, errors = Worker(f"milepost.job(id={job_id!r}).complete()", f"http://127.0.0.1:{free_port()}").finish()
    assert code == 0
    first, second = errors.strip().splitlines()
    assert first.startswith("milepost: cannot report to http://127.0.0.1:")
    assert second == "milepost: the last states of 1 job were not delivered in time"


def test_without_a_server_there_is_no_thread(job_id: str) -> None:
    code = f"""
        import threading
        with milepost.job(id={job_id!r}) as job:
            for _ in job.track(range(1000), stage="one"):
                pass
        assert threading.active_count() == 1, threading.enumerate()
        # Nor is anything imported that takes its time.
        assert not {{"http.client", "ssl", "redis", "asyncio"}} & set(sys.modules), sys.modules.keys()
        milepost.flush()
    """
    assert Worker(code, None).finish() == (0, "")


FORK = """
    job = milepost.job(id={job!r}, stage="parent")
    assert milepost.flush(60)
    child = os.fork()
    if child == 0:
        {child}
    assert os.waitpid(child, 0)[1] == 0
    print("forked", flush=True)
    input()
    job.advance()
    job.complete()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize(
    "child",
    [
        # It says something, and leaves as forks do.
        "job.stage('child'); job.complete(); milepost.flush(60); os._exit(0)",
        # It raises in the parent's block.
        "job.__exit__(ValueError, ValueError('no'), None); milepost.flush(60); os._exit(0)",
        # It drops the job, and ends as a program does.
        "job = None; sys.exit(0)",
    ],
)
def test_a_forked_child_says_nothing_of_its_parent_s_job(server: LiveServer, job_id: str, child: str) -> None:
    worker = Worker(FORK.format(job=job_id, child=child), server.url)
    worker.until_it_says("forked")
    assert (state(server, job_id).status, state(server, job_id).stage) == ("processing", "parent")
    assert worker.process.stdin is not None
    worker.process.stdin.write("\n")
    code, errors = worker.finish()
    assert code == 0, errors
    assert ("is a job of the process that this one was forked from" in errors) == ("stage" in child)
    assert state(server, job_id).status == "completed"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forks_while_other_threads_report(server: LiveServer, job_id: str) -> None:
    """A child never finds a lock that is held by a thread that it does not have."""
    code = f"""
        import threading
        parent = milepost.job(id={job_id!r})
        is_over = False
        def work():
            while not is_over:
                parent.message("m"); parent.advance(2); parent.stage("s"); parent.metadata(n=1)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        children = []
        for n in range(30):
            child = os.fork()
            if child == 0:
                with milepost.job(id={job_id!r} + f"-{{n}}") as job:
                    job.advance()
                os._exit(0 if milepost.flush(60) else 1)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        is_over = True
        for thread in threads: thread.join()
        parent.complete()
        assert codes == [0] * 30, codes
    """
    worker = Worker(code, server.url, PYTHONWARNINGS="ignore::DeprecationWarning")
    code_, errors = worker.finish()
    assert code_ == 0, errors
    assert state(server, job_id).status == "completed"
    assert all(state(server, f"{job_id}-{number}").status == "completed" for number in range(30))


POOL = """
    import multiprocessing
    def work(n):
        with milepost.job(id=f"{job}-{{n}}") as job:
            if n == 2:
                job.fail("no")
        return n
    if __name__ == "__main__":
        context = multiprocessing.get_context({method!r})
        with milepost.job(id={job!r}) as job, context.Pool(2) as pool:
            for n in job.track(pool.imap_unordered(work, range(4)), total=4):
                pass
            pool.close()
            pool.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing(server: LiveServer, job_id: str, method: str, tmp_path: Path) -> None:
    # What is spawned imports the program anew: it has to be a file.
    program = tmp_path / "program.py"
    program.write_text("import milepost\n" + textwrap.dedent(POOL.format(job=job_id, method=method)))
    assert Worker(program, server.url).finish() == (0, "")
    assert (state(server, job_id).status, state(server, job_id).metadata["current"]) == ("completed", 4)
    statuses = [state(server, f"{job_id}-{number}").status for number in range(4)]
    assert statuses == ["completed", "completed", "failed", "completed"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_that_is_terminated(fake: Callable[..., FakeServer], job_id: str, method: str, tmp_path: Path) -> None:
    """As `with Pool()` does with its children, as soon as the last result is there."""

    def slowly(request: Request) -> Answer:
        time.sleep(0.02)
        return accept(request)

    server = fake(slowly)
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
            import multiprocessing
            import milepost
            def work(n):
                with milepost.job(id=f"{job_id}-{{n}}") as job:
                    job.stage("work")
            if __name__ == "__main__":
                with multiprocessing.get_context({method!r}).Pool(2) as pool:
                    pool.map(work, range(18), chunksize=1)
        """)
    )
    assert Worker(program, server.url).finish() == (0, "")
    ended = {update["job_id"] for update in server.updates if update["status"] == "completed"}
    assert len(ended) == 18


def test_the_end_of_a_job_in_a_pool_waits_in_vain_only_once(job_id: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
            import multiprocessing
            import milepost
            def work(n):
                with milepost.job(id=f"{job_id}-{{n}}"):
                    pass
                return milepost._default.default()._inbox.waits_in_vain
            if __name__ == "__main__":
                with multiprocessing.get_context("fork").Pool(1) as pool:
                    assert pool.map(work, range(50), chunksize=1) == [1] * 50
        """)
    )
    code, errors = Worker(program, f"http://127.0.0.1:{free_port()}").finish()
    assert code == 0, errors


def test_a_child_of_multiprocessing_that_leaves_its_job_open(server: LiveServer, job_id: str) -> None:
    """Such children leave without what is registered with atexit."""
    code = f"""
        import multiprocessing
        def work():
            global job
            job = milepost.job(id={job_id!r})
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
    """
    code_, errors = Worker(code, server.url).finish()
    assert code_ == 0, errors
    assert state(server, job_id).error == "the process ended without an outcome"


def test_a_child_that_raises_in_the_parent_s_block(server: LiveServer, job_id: str) -> None:
    code = f"""
        import multiprocessing
        def work():
            raise ValueError("in the child")
        with milepost.job(id={job_id!r}) as job:
            process = multiprocessing.get_context("fork").Process(target=work)
            process.start()
            process.join()
            job.result(process.exitcode)
    """
    code_, errors = Worker(code, server.url).finish()
    assert code_ == 0, errors
    assert (state(server, job_id).status, state(server, job_id).result) == ("completed", 1)


def test_a_server_that_is_killed_mid_loop(own_server: LiveServer, job_id: str) -> None:
    worker = Worker(RUN_ON.format(job=job_id), own_server.url)
    worker.until_it_says("running")
    own_server.kill()
    own_server.start()

    def goes_on() -> bool:
        found = milepost.status(job_id, url=own_server.url)
        return found is not None and found.metadata["current"] > 100

    eventually(goes_on)
    worker.kill(signal.SIGINT)
    worker.finish()
    assert state(own_server, job_id).status == "cancelled"


def test_a_redis_that_is_killed_mid_loop(own_redis: LiveRedis, tmp_path: Path, job_id: str) -> None:
    """It has forgotten everything when it is back; the watcher of a server sees the job go on."""
    server = LiveServer(tmp_path, environment={"REDIS_URL": own_redis.url})
    server.start()
    try:
        watch = milepost.watch(job_id, url=server.url)
        worker = Worker(RUN_ON.format(job=job_id), own_redis.url)
        worker.until_it_says("running")
        states = iter(watch)
        before = next(states)
        own_redis.kill()
        own_redis.start()
        after: Any = next(states)
        while (after.position or "").partition("-")[0] == (before.position or "").partition("-")[0]:
            after = next(states)
        assert after.metadata["current"] >= before.metadata["current"]
        worker.kill(signal.SIGINT)
        worker.finish()
        assert [state.status for state in states][-1] == "cancelled"
    finally:
        server.stop()


def test_a_clock_that_is_set_back(server: LiveServer, redis: LiveRedis, job_id: str) -> None:
    """The worker's clock is shown, and orders nothing."""
    for url in (server.url, redis.url):
        code = f"""
            from datetime import datetime, timedelta, timezone
            import milepost._update as update
            real, back = time.time, 0.0
            time.time = lambda: real() - back
            class Clock(datetime):
                @classmethod
                def now(cls, zone=None):
                    return datetime.now(zone) - timedelta(seconds=back)
            update.datetime = Clock
            with milepost.job(id={job_id!r}) as job:
                job.stage("before")
                assert milepost.flush(60)
                back = 86_400.0
                job.stage("after")
                assert milepost.flush(60)
                assert milepost.status({job_id!r}).stage == "after"
        """
        assert Worker(code, url).finish() == (0, "")
        found = milepost.status(job_id, url=url)
        assert found is not None
        assert found.status == "completed"


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@FULL
def test_a_full_disk_of_the_worker(server: LiveServer, job_id: str) -> None:
    """Nothing is written there. The worker's own failure is reported."""
    code = f"""
        with milepost.job(id={job_id!r}) as job, open("/dev/full", "w") as file:
            for n in job.track(range(10), stage="writing"):
                file.write("x" * 100_000)
                file.flush()
    """
    worker = Worker(code, server.url)
    assert worker.finish()[0] == 1
    found = state(server, job_id)
    assert found.status == "failed"
    assert without_frame(found.error) == "OSError: [Errno 28] No space left on device"
    assert found.metadata["current"] == 0


@FULL
def test_where_warnings_cannot_be_written(job_id: str) -> None:
    """Standard error on a full disk: the job does not suffer."""
    code = f"""
        sys.stderr = open("/dev/full", "w")
        with milepost.job(id={job_id!r}) as job:
            for _ in job.track(range(100), stage="one"):
                pass
        milepost.flush(0.2)
        print("done", flush=True)
        os._exit(0)
    """
    worker = Worker(code, f"http://127.0.0.1:{free_port()}")
    worker.until_it_says("done")
    assert worker.finish()[0] == 0
