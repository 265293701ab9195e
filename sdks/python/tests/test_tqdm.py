"""`from milepost import tqdm`, against a real server and with the real pandas."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import io
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import ENVIRONMENT, LiveServer
from reported import history, jobs, state, until
from test_processes import Worker

import milepost
from milepost import tqdm, trange
from milepost._program import program_name


@pytest.fixture(autouse=True)
def reporting(server: LiveServer) -> Iterator[None]:
    reporter = milepost.configure(server.url)
    yield
    reporter.close()


def quiet() -> dict[str, Any]:
    """Drawn where nobody looks, at each step."""
    return {"file": io.StringIO(), "mininterval": 0, "miniters": 1}


def described(job: milepost.Job) -> dict[str, Any]:
    """The job's state as it would be sent now."""
    import json

    found: dict[str, Any] = json.loads(job._record.encode(0.0).data)
    return found


def test_it_is_a_tqdm() -> None:
    import tqdm as original

    assert issubclass(tqdm, original.tqdm)
    file = io.StringIO()
    assert list(tqdm("abc", file=file, desc="letters")) == ["a", "b", "c"]
    assert "letters: 100%" in file.getvalue()


def test_items_keep_their_type() -> None:
    lengths: list[int] = [len(letter) for letter in tqdm("abc", **quiet())]
    steps: list[int] = list(trange(2, **quiet()))
    assert (lengths, steps) == ([1, 1, 1], [0, 1])


def test_a_bar_with_an_id_is_a_job(server: LiveServer, job_id: str) -> None:
    # Many begin their unit with a space, for the bar.
    bar = tqdm(range(10), desc="adding", unit=" numbers", job=job_id, **quiet())
    assert milepost.flush(60)
    assert sum(bar) == 45
    end = until(server, job_id, status="completed")
    assert end["metadata"]["current"] == 10
    assert end["metadata"]["total"] == 10
    assert end["metadata"]["unit"] == "numbers"
    assert "adding" in {each["stage"] for each in history(server, job_id)}


def test_a_bar_without_an_id_has_one_of_its_description(server: LiveServer, job_id: str) -> None:
    list(tqdm("abc", desc=job_id, **quiet()))
    assert milepost.flush(60)
    assert [each["status"] for each in jobs(server, f"{job_id}-")] == ["completed"]


@pytest.mark.parametrize(
    "code",
    ["list(milepost.tqdm('abc'))", "list(milepost.track('abc'))", "milepost.job().complete()"],
)
def test_what_has_no_name_is_named_after_the_program(
    server: LiveServer, job_id: str, tmp_path: Path, code: str
) -> None:
    script = tmp_path / f"{job_id}.py"
    script.write_text(f"import milepost\n{code}\n")
    assert Worker(script, server.url).finish()[0] == 0
    (found,) = jobs(server, f"{job_id}-")
    assert (found["status"], found["name"]) == ("completed", job_id)


@pytest.mark.parametrize(
    ("given", "notebook", "name"),
    [
        ("/home/ann/train.py", "", "train"),
        ("/srv/app/tools/__main__.py", "", "tools"),
        ("/usr/bin/celery", "", "celery"),
        ("-c", "", "python"),
        ("", "", "python"),
        ("/lib/ipykernel_launcher.py", "", "notebook"),
        ("/lib/ipykernel_launcher.py", "/home/ann/fit.ipynb", "fit"),
    ],
)
def test_the_name_of_a_program(monkeypatch: pytest.MonkeyPatch, given: str, notebook: str, name: str) -> None:
    monkeypatch.setattr(sys, "argv", [given])
    monkeypatch.setenv("JPY_SESSION_NAME", notebook)
    assert program_name() == name


def test_the_same_id_again_is_the_next_attempt(server: LiveServer, job_id: str) -> None:
    for attempt in (1, 2):
        list(tqdm("abc", job=job_id, **quiet()))
        until(server, job_id, status="completed", attempt=attempt)


def test_a_bar_inside_a_job_is_its_stage_and_does_not_end_it(server: LiveServer, job_id: str) -> None:
    with milepost.job(id=job_id) as job:
        list(tqdm(range(4), desc="first", **quiet()))
        assert (described(job)["stage"], described(job)["progress"]) == ("first", 1.0)
        bar = tqdm(total=8, desc="second", **quiet())
        bar.update(2)
        assert (described(job)["stage"], described(job)["progress"]) == ("second", 0.25)
        bar.close()
        assert not job.has_ended
        job.result("done")
    assert until(server, job_id, status="completed")["result"] == "done"
    assert jobs(server, "second") == []


def test_a_bar_may_be_given_a_job(job_id: str) -> None:
    job = milepost.job(id=job_id)
    thread = threading.Thread(target=lambda: list(tqdm(range(3), job=job, **quiet())))
    thread.start()
    thread.join()
    assert (described(job)["metadata"]["current"], job.has_ended) == (3, False)
    job.complete()


def test_a_total_without_an_iterable(server: LiveServer, job_id: str) -> None:
    with tqdm(total=100, unit="B", job=job_id, **quiet()) as bar:
        bar.update(30)
        bar.update(30)
        bar.total = 120
        bar.refresh()
        assert described(bar._reported.job)["progress"] == 0.5
        bar.update(60)
    assert until(server, job_id, status="completed")["metadata"]["current"] == 120


def test_a_bar_that_is_closed_early_is_cancelled(server: LiveServer, job_id: str) -> None:
    """As a loop that is left early: `test_a_loop_that_is_left`."""
    with tqdm(total=10, job=job_id, **quiet()) as bar:
        bar.update(3)
    end = until(server, job_id, status="cancelled", progress=0.3, current=3)
    assert end["message"] == "the bar was closed at 3 of 10"


def test_what_was_all_is_completed(server: LiveServer, job_id: str) -> None:
    with tqdm(total=10, job=f"{job_id}-fewer", **quiet()) as bar:
        bar.update(3)
        bar.total = bar.n
    with tqdm(job=f"{job_id}-unknown", **quiet()) as bar:
        bar.update(3)
    with tqdm(total=1, job=f"{job_id}-parts", **quiet()) as bar:
        # Together they are a little less than 1.
        for _ in range(10):
            bar.update(0.1)
    # The loop knows that there were no more.
    assert len(list(tqdm(iter("abc"), total=10, job=f"{job_id}-items", **quiet()))) == 3
    for name in ("fewer", "unknown", "parts", "items"):
        until(server, f"{job_id}-{name}", status="completed")


def test_without_a_total_the_progress_is_unknown(job_id: str) -> None:
    seen = []
    with milepost.job(id=job_id) as job:
        for _ in tqdm(iter("abcd"), **quiet()):
            seen.append(described(job))
        job.cancel()
    assert [each["progress"] for each in seen] == [None] * 4
    assert seen[-1]["metadata"]["current"] == 3


def test_nested_bars_refine_the_progress_of_the_outer_one(job_id: str) -> None:
    seen = []
    with milepost.job(id=job_id) as job:
        for _ in tqdm(range(2), desc="epoch", unit="epochs", **quiet()):
            for _ in tqdm(range(4), desc="batch", leave=False, **quiet()):
                seen.append(described(job))
        end = described(job)
    assert [each["progress"] for each in seen] == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]
    assert {each["stage"] for each in seen} == {"epoch"}
    assert seen[5]["metadata"]["current"] == 1
    assert seen[5]["metadata"]["bars"] == [{"current": 1, "total": 4, "unit": "it", "desc": "batch"}]
    assert (end["progress"], end["metadata"]["bars"]) == (1.0, [])


def test_two_loops_in_one_item_never_step_back(job_id: str) -> None:
    seen = []
    with milepost.job(id=job_id) as job:
        for _ in tqdm(range(3), **quiet()):
            for name in ("train", "validate"):
                for _ in tqdm(range(2), desc=name, **quiet()):
                    seen.append(described(job)["progress"])
    assert seen == sorted(seen)
    assert seen[-1] <= 1.0


def test_bars_nested_without_a_job_are_one_job(server: LiveServer, job_id: str) -> None:
    for _ in tqdm(range(2), job=job_id, **quiet()):
        for _ in trange(3, desc=f"inner-{job_id}", **quiet()):
            pass
    until(server, job_id, status="completed")
    assert jobs(server, f"inner-{job_id}") == []


def test_more_nested_bars_than_are_shown(job_id: str) -> None:
    with milepost.job(id=job_id) as job:
        bars = [tqdm(total=10, **quiet()) for _ in range(15)]
        assert len(described(job)["metadata"]["bars"]) == 8
        for bar in reversed(bars):
            bar.close()
        assert described(job)["metadata"]["bars"] == []


def test_what_the_bar_says_besides_is_the_message(job_id: str) -> None:
    with milepost.job(id=job_id) as job, tqdm(total=3, desc="train", **quiet()) as bar:
        assert "message" not in described(job)
        bar.set_postfix(loss=0.25)
        assert described(job)["message"] == "loss=0.25"
        bar.set_description("epoch 2")
        assert (described(job)["stage"], described(job)["message"]) == ("train", "epoch 2, loss=0.25")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [(ValueError("no frame"), "failed", "ValueError: no frame"), (KeyboardInterrupt(), "cancelled", "")],
)
def test_an_exception_in_its_block(
    server: LiveServer, job_id: str, error: BaseException, status: str, said: str
) -> None:
    def work() -> None:
        with tqdm(total=3, job=job_id, **quiet()) as bar:
            bar.update()
            raise error

    with pytest.raises(type(error)):
        work()
    assert until(server, job_id, status=status).get("error", "").partition(" (")[0] == said


def test_exceptions_of_the_items_and_at_close(server: LiveServer, job_id: str) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        list(tqdm(items(), job=job_id, **quiet()))
    assert until(server, job_id, status="failed")["error"].startswith("OSError: the disk is gone (test_tqdm.py:")

    def work() -> None:
        bar = tqdm(total=3, job=f"{job_id}-closed", **quiet())
        try:
            raise ValueError("odd")
        finally:
            bar.close()

    with pytest.raises(ValueError, match="odd"):
        work()
    assert until(server, f"{job_id}-closed", status="failed")["error"].startswith("ValueError: odd (")


def test_what_was_handled_before_is_not_the_bars(server: LiveServer, job_id: str) -> None:
    try:
        raise ValueError("long ago")
    except ValueError:
        list(tqdm(range(3), job=job_id, **quiet()))
    until(server, job_id, status="completed")


def test_a_loop_that_is_left(server: LiveServer, job_id: str) -> None:
    for item in tqdm(range(10), job=job_id, **quiet()):
        if item == 4:
            break
    assert until(server, job_id, status="cancelled")["message"] == "the loop was left at 4 of 10"


IN_ORDER = {
    "break": "for x in bar:\n    if x == 4: break",
    "return": "def f():\n    for x in bar:\n        if x == 4: return x\nf()",
    "a block": "for x in bar:\n    with open('/dev/null'):\n        if x == 4: break",
    "finally": "for x in bar:\n    try:\n        if x == 4: break\n    finally: pass",
    "enumerate": "for n, x in enumerate(bar):\n    if x == 4: break",
    "a generator": "def f():\n    for x in bar: yield x\nfor x in f():\n    if x == 4: break",
}


@pytest.mark.parametrize("way", IN_ORDER)
def test_a_loop_that_is_left_in_order_is_cancelled_at_once(server: LiveServer, job_id: str, way: str) -> None:
    bar = tqdm(range(10), job=job_id, **quiet())
    exec(textwrap.dedent(IN_ORDER[way]), {"bar": bar})
    assert bar._reported is None
    assert until(server, job_id, status="cancelled")["message"] == "the loop was left at 4 of 10"


RAISES = {
    "a call": "def step(x):\n    if x == 7: raise RuntimeError('CUDA OOM')\nfor x in bar: step(x)",
    "raise": "for x in bar:\n    if x == 7: raise RuntimeError('CUDA OOM')",
    "enumerate": "for n, x in enumerate(bar):\n    if x == 7: raise RuntimeError('CUDA OOM')",
    "a function": "def train():\n    for x in bar:\n        if x == 7: raise RuntimeError('CUDA OOM')\ntrain()",
    "an inner loop": "def g():\n    raise RuntimeError('CUDA OOM')\n    yield\nfor x in bar:\n    for y in g(): pass",
    "finally": "try:\n    for x in bar:\n        if x == 7: raise RuntimeError('CUDA OOM')\nfinally: time.sleep(0.1)",
    "a thread": "import threading\ndef train():\n    for x in bar:\n        if x == 7: raise RuntimeError('CUDA OOM')\n"
    "t = threading.Thread(target=train)\nt.start()\nt.join()",
}


@pytest.mark.parametrize("way", RAISES)
def test_an_exception_in_a_loop_that_nobody_catches(server: LiveServer, job_id: str, way: str) -> None:
    code = f"bar = milepost.tqdm(range(30), job={job_id!r})\n{RAISES[way]}"
    Worker(code, server.url).finish()
    end = until(server, job_id, status="failed")
    assert end["error"].startswith("RuntimeError: CUDA OOM (<string>:")


def test_control_c_in_a_loop(server: LiveServer, job_id: str) -> None:
    code = f"for x in milepost.tqdm(range(30), job={job_id!r}):\n    if x == 7: os.kill(os.getpid(), signal.SIGINT)"
    Worker(code, server.url).finish()
    assert until(server, job_id, status="cancelled")["message"] == "interrupted"


def test_an_exception_in_a_loop_that_is_caught(
    server: LiveServer, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(name: str) -> None:
        for item in tqdm(range(10), job=name, **quiet()):
            if item == 4:
                raise ValueError("odd")

    # By somebody who opens the next bar while handling it.
    try:
        work(job_id)
    except ValueError:
        list(tqdm("abc", **quiet()))
    assert until(server, job_id, status="failed")["error"].startswith("ValueError: odd (test_tqdm.py:")
    # By somebody of whom nothing more is heard.
    monkeypatch.setattr("milepost._left_loop.PATIENCE", 0.05)
    with contextlib.suppress(ValueError):
        work(f"{job_id}-b")
    assert until(server, f"{job_id}-b", status="cancelled")["message"] == "the loop was left at 4 of 10"


def test_a_bar_that_is_full_and_never_closed(server: LiveServer, job_id: str) -> None:
    code = f"""
        bar = milepost.tqdm(total=200, job={job_id!r})
        for _ in range(200):
            bar.update()
        again = milepost.tqdm(range(3), job="{job_id}-b")
        for _ in milepost.tqdm(range(3), desc="{job_id}-c"): pass
        last = milepost.tqdm(total=5, job="{job_id}-d")
        last.update(5)
        half = milepost.tqdm(total=5, job="{job_id}-e")
        half.update(2)
    """
    code_, _ = Worker(code, server.url).finish()
    assert code_ == 0
    end = until(server, job_id, status="completed")
    assert (end["progress"], end["metadata"]["current"]) == (1.0, 200)
    until(server, f"{job_id}-d", status="completed")
    assert until(server, f"{job_id}-e", status="failed")["error"] == "the process ended without an outcome"


def test_loops_in_a_row_are_jobs_of_their_own(server: LiveServer, job_id: str) -> None:
    bar = tqdm(total=20, job=job_id, file=io.StringIO())
    for _ in range(20):
        bar.update()
    list(tqdm("abc", desc=f"next-{job_id}", **quiet()))
    assert milepost.flush(60)
    assert [each["status"] for each in jobs(server, f"next-{job_id}")] == ["completed"]
    until(server, job_id, status="completed")


def test_bars_in_a_pool_of_threads_belong_to_the_job_around_it(server: LiveServer, job_id: str) -> None:
    def work(number: int) -> int:
        return len(list(tqdm(range(5), desc=f"pool-{job_id}", **quiet())))

    with milepost.job(id=job_id) as job, concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, range(6))) == [5] * 6
        assert not job.has_ended
    until(server, job_id, status="completed")
    assert jobs(server, f"pool-{job_id}") == []
    # Of two jobs, nobody can tell which one it is.
    with (
        milepost.job(id=f"{job_id}-1"),
        milepost.job(id=f"{job_id}-2"),
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(work, 1).result()
    assert milepost.flush(60)
    assert [each["status"] for each in jobs(server, f"pool-{job_id}")] == ["completed"]


def test_a_bar_that_is_dropped(server: LiveServer, job_id: str) -> None:
    bar = tqdm(total=3, job=job_id, **quiet())
    bar.update(2)
    del bar
    assert until(server, job_id, status="failed")["error"] == "dropped without an outcome"
    bar = tqdm(total=3, job=f"{job_id}-full", **quiet())
    bar.update(3)
    del bar
    until(server, f"{job_id}-full", status="completed")


def test_async_loops(server: LiveServer, job_id: str) -> None:
    async def items() -> AsyncIterator[int]:
        for item in range(5):
            yield item

    async def work() -> None:
        async for _ in tqdm(items(), total=5, job=job_id, **quiet()):
            await asyncio.sleep(0)

    async def side_by_side() -> None:
        # In one thread, and yet none is nested in the other.
        await asyncio.gather(*(tqdm.gather(*map(asyncio.sleep, [0, 0]), job=f"{job_id}-{n}") for n in (1, 2)))

    asyncio.run(work())
    assert until(server, job_id, status="completed")["metadata"]["current"] == 5
    asyncio.run(side_by_side())
    for n in (1, 2):
        until(server, f"{job_id}-{n}", status="completed")


def test_a_disabled_bar_reports_nothing(server: LiveServer, job_id: str) -> None:
    assert list(tqdm("abc", job=job_id, disable=True)) == ["a", "b", "c"]
    assert milepost.flush(60)
    assert state(server, job_id) is None


def test_without_a_terminal_a_bar_may_report_and_not_draw(server: LiveServer, job_id: str, capfd: Any) -> None:
    assert list(tqdm("abc", job=job_id, disable=None)) == ["a", "b", "c"]
    until(server, job_id, status="completed")
    assert capfd.readouterr() == ("", "")


def test_pandas(server: LiveServer, job_id: str) -> None:
    pandas = pytest.importorskip("pandas")
    tqdm.pandas(desc="applying", job=job_id, **quiet())
    frame = pandas.DataFrame({"a": range(20), "b": [1, 2] * 10})
    assert frame["a"].progress_apply(lambda value: value * 2).sum() == 380
    assert until(server, job_id, status="completed")["metadata"]["current"] == 20
    frame.groupby("b")[["a"]].progress_apply(lambda group: group.sum())
    until(server, job_id, status="completed", attempt=2)

    def fail(value: int) -> int:
        raise ValueError(f"cannot do {value}")

    with pytest.raises(ValueError, match="cannot"):
        frame["a"].progress_apply(fail)
    error = until(server, job_id, attempt=3, status="failed")["error"]
    assert error.startswith("ValueError: cannot do 0 (test_tqdm.py:")


def test_no_fault_of_a_report_reaches_the_loop(monkeypatch: pytest.MonkeyPatch, warnings: Any, job_id: str) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of its own")

    monkeypatch.setattr("milepost._bars.Reported.update", fail)
    assert list(tqdm("abc", job=job_id, **quiet())) == ["a", "b", "c"]
    assert len(warnings()) == 1


def test_without_tqdm_the_rest_works() -> None:
    code = (
        "import sys; sys.modules['tqdm'] = None; from milepost import *; import milepost; milepost.job('x')\n"
        "try: milepost.tqdm\nexcept ImportError: print('no tqdm')"
    )
    path = {**ENVIRONMENT, "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=True)
    assert found.stdout == "no tqdm\n"
