"""What a worker has in hand, without anybody who sends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import itertools
import json
import pickle
import re
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from datetime import timedelta
from typing import Any, Optional

import pytest
from fake_server import FakeServer
from reported import without_frame

import milepost
from milepost import compat
from milepost._inbox import Inbox
from milepost._job import Job
from milepost._record import Record
from milepost._track import AsyncTrack


def begin() -> Job:
    record = Record("a")
    inbox = Inbox(10)
    inbox.begin(record)
    return Job(record, inbox)


def said(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(job._record.encode(0.0).data)
    return found


def counted(job: Job) -> Optional[int]:
    count: Optional[int] = said(job).get("metadata", {}).get("current")
    return count


@pytest.fixture
def job() -> Job:
    return begin()


def test_a_loop_counts_each_item_when_the_next_one_is_asked_for(job: Job) -> None:
    seen = []
    for item in job.track("abcd"):
        seen.append((item, counted(job) or 0))
    assert seen == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert (counted(job), said(job)["progress"]) == (4, 1.0)


def test_a_loop_that_is_left_does_not_count_its_last_item(job: Job) -> None:
    for item in job.track(range(10)):
        if item == 4:
            break
    assert (counted(job), said(job)["progress"]) == (4, 0.4)


def test_a_loop_without_a_length_has_no_progress(job: Job) -> None:
    assert list(job.track(iter("abc"))) == ["a", "b", "c"]
    assert said(job)["progress"] is None
    assert said(job)["metadata"] == {"current": 3}


def test_a_loop_may_be_given_its_length(job: Job) -> None:
    for item in job.track(iter("abcd"), total=4):
        if item == "c":
            assert said(job)["progress"] == 0.5
    assert said(job)["progress"] == 1.0


def test_loops_one_after_the_other_and_in_each_other(job: Job) -> None:
    for _ in job.track(range(3)):
        for _ in job.track(range(5)):
            pass
    assert counted(job) == 3 + 15
    job = begin()
    for _ in range(2):
        list(job.track("ab", total=2))
    assert said(job)["metadata"] == {"current": 4, "total": 4}


def test_what_the_items_raise_is_raised(job: Job) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("no more")

    track = iter(job.track(items()))
    assert [next(track), next(track)] == [1, 2]
    with pytest.raises(ValueError, match="no more"):
        next(track)
    assert counted(job) == 2

    class Unmeasurable:
        def __len__(self) -> int:
            raise RuntimeError("no length")

        def __iter__(self) -> Iterator[int]:
            return iter([1])

    assert list(job.track(Unmeasurable())) == [1]
    with pytest.raises(TypeError):
        list(job.track(5))  # type: ignore[call-overload]


def test_a_track_is_an_iterable_and_an_iterator(job: Job) -> None:
    track = job.track([1, 2, 3])
    assert len(track) == 3
    assert bool(track)
    assert next(track) == 1
    assert list(track) == [2, 3]
    assert not begin().track([])
    assert bool(begin().track(iter([])))
    with pytest.raises(StopIteration):
        next(begin().track(iter([])))


def test_threads_may_share_a_loop_and_count_together(job: Job) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(job.track(pool.map(abs, range(100)), total=100)) == list(range(100))
    assert counted(job) == 100

    def count() -> None:
        for _ in range(10_000):
            job.advance()
            job.advance(2)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(job) == 100 + 4 * 30_000


def test_async_loops(job: Job) -> None:
    async def items() -> AsyncIterator[str]:
        for item in "abc":
            await asyncio.sleep(0)
            yield item

    async def main() -> None:
        seen = [(item, counted(job) or 0) async for item in job.track(items(), total=3)]
        assert seen == [("a", 0), ("b", 1), ("c", 2)]
        assert said(job)["progress"] == 1.0
        # What is no async iterable does as well.
        assert [item async for item in job.track("de")] == ["d", "e"]

    assert isinstance(job.track(items()), AsyncTrack)
    asyncio.run(main())
    assert counted(job) == 5


def test_counting_by_hand(job: Job) -> None:
    job.total(10)
    job.advance()
    job.advance(3)
    assert said(job)["progress"] == 0.4
    job.advance(-1)
    assert said(job)["metadata"]["current"] == 3
    job.update(current=7, unit="rows", message="row 7", metadata={"file": "a"}, stage="reading")
    update = said(job)
    assert (update["progress"], update["stage"], update["message"]) == (0.7, "reading", "row 7")
    assert update["metadata"] == {"current": 7, "total": 10, "unit": "rows", "file": "a"}
    job.progress(0.25)
    assert said(job)["progress"] == 0.25
    job.progress(None)
    job.total(None)
    assert said(job)["progress"] is None
    job.progress(7)
    assert said(job)["progress"] == 1.0


@pytest.mark.parametrize("odd", [None, "x", float("nan"), float("inf"), object(), [], 10**400])
def test_what_is_no_number_counts_for_nothing(job: Job, odd: Any) -> None:
    job.total(10)
    job.advance(2)
    job.advance(odd)
    job.update(current=odd, total=odd, progress=odd)
    if odd is not None:
        job.progress(odd)
    assert said(job)["progress"] == 0.2
    job._record.snapshot()


def test_stages(job: Job) -> None:
    for item in job.track("abcd", stage="render", unit="frames"):
        if item == "c":
            update = said(job)
            assert (update["stage"], update["progress"]) == ("render", 0.5)
            assert update["metadata"] == {"current": 2, "total": 4, "unit": "frames"}
    with job.stage("upload", total=200, unit="B") as stage:
        assert (said(job)["stage"], said(job)["progress"]) == ("upload", 0.0)
        stage.advance(50)
        assert said(job)["metadata"] == {"current": 50, "total": 200, "unit": "B"}
    assert said(job)["progress"] == 0.25
    assert said(job)["stage"] == "upload"


def test_a_stage_without_a_count_leaves_the_job_s(job: Job) -> None:
    job.total(10)
    job.stage("one")
    job.advance(5)
    assert (said(job)["stage"], said(job)["progress"]) == ("one", 0.5)
    with job.stage("two") as stage:
        assert said(job)["progress"] == 0.5
        stage.progress(0.9)
        assert said(job)["progress"] == 0.9
    assert (said(job)["stage"], said(job)["progress"]) == ("two", 0.5)


def test_a_stage_within_a_part_of_the_job(job: Job) -> None:
    with job.stage("one", within=(0.0, 0.25)) as stage:
        assert said(job)["progress"] == 0.0
        stage.update(current=1, total=2)
        assert said(job)["progress"] == 0.125
    for _ in job.track("ab", stage="two", within=(0.25, 1.0)):
        break
    assert said(job)["progress"] == 0.25
    job.stage("odd", within=(3.0, -1.0)).progress(0.5)
    assert said(job)["progress"] == 1.0


def test_a_part_of_the_job_that_is_none_is_warned_of(job: Job, warnings: Callable[[], list[str]]) -> None:
    for _ in job.track("ab", within=(0.0, 0.5)):
        pass
    job.stage("percent", within=(25, 75))
    job.stage("reversed", within=(0.9, 0.1))
    assert warnings() == [
        "within is ignored: it is the part of a stage, so `track` takes `stage` as well",
        "within must be between 0 and 1, so 25 counts as 1; 50 % is 0.5",
        "within takes the smaller number first, so (0.9, 0.1) counts as nothing of the whole",
    ]


def test_a_block_completes_its_job(job: Job) -> None:
    with job as entered:
        assert entered is job
        assert milepost.current() is job
        job.result([1])
    assert milepost.current() is None
    update = said(job)
    assert (update["status"], update["result"], update["message"]) == ("completed", [1], "Job completed")
    assert job.has_ended


class Own(Exception):
    pass


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (ValueError("no"), "failed", "Error: ValueError: no"),
        (Own(), "failed", "Error: Own"),
        (KeyError("k"), "failed", "Error: KeyError: 'k'"),
        (KeyboardInterrupt(), "cancelled", "interrupted"),
        (SystemExit(), "cancelled", "the process exits"),
        (SystemExit(0), "cancelled", "the process exits"),
        (SystemExit(143), "cancelled", "ended by signal 15"),
        (SystemExit(3), "failed", "Error: exit status 3"),
        (SystemExit("no such file"), "failed", "Error: no such file"),
        (asyncio.CancelledError(), "cancelled", "cancelled"),
        (concurrent.futures.CancelledError(), "cancelled", "cancelled"),
        (GeneratorExit(), "cancelled", "cancelled"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_block_that_raises(job: Job, raised: BaseException, status: str, message: str, is_async: bool) -> None:
    async def in_async_block() -> None:
        async with job:
            raise raised

    def in_block() -> None:
        with job:
            raise raised

    def without_a_loop() -> None:
        # Event loops have ideas of their own about some of these.
        in_async_block().send(None)

    with pytest.raises(type(raised)):
        without_a_loop() if is_async else in_block()
    assert (said(job)["status"], without_frame(said(job)["message"])) == (status, message)
    if status == "failed" and isinstance(raised, Exception):
        assert re.search(r" \(test_job.py:\d+ in in_(async_)?block\)$", said(job)["message"])


def test_the_first_end_counts(job: Job) -> None:
    with job:
        job.fail("no")
        job.complete({"never": 1})
        job.message("nor this")
        job.stage("nor that")
    update = said(job)
    assert (update["status"], update["error"]) == ("failed", "no")
    assert "result" not in update


def test_an_exception_whose_text_cannot_be_had(job: Job) -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("even ruder")

    with pytest.raises(Rude), job:
        raise Rude
    assert without_frame(said(job)["error"]) == "Rude"


def test_a_job_that_is_dropped_has_failed() -> None:
    job = begin()
    record = job._record
    del job
    gc.collect()
    update = json.loads(record.encode(0.0).data)
    assert (update["status"], update["error"]) == ("failed", "dropped without an outcome")


def test_a_queued_job_is_queued_until_something_happens() -> None:
    reporter = milepost.Reporter(None)
    beginnings: list[Callable[[Job], object]] = [
        # In a context of its own: it is never left.
        lambda job: contextvars.copy_context().run(job.__enter__),
        lambda job: job.advance(),
        lambda job: job.stage("one"),
        lambda job: job.progress(0.1),
        lambda job: list(job.track("ab")),
    ]
    for begin_it in beginnings:
        job = reporter.job(queued=True)
        assert (job.status, said(job)["status"]) == ("queued", "queued")
        begin_it(job)
        assert (job.status, said(job)["status"]) == ("processing", "processing")


def test_blocks_in_blocks_and_across_contexts() -> None:
    outer, inner = begin(), begin()

    def generator() -> Generator[Optional[Job], None, None]:
        with inner:
            yield milepost.current()

    with outer:
        steps = generator()
        assert next(steps) is inner
        # A generator's block is left wherever the generator is.
        thread = threading.Thread(target=steps.close)
        thread.start()
        thread.join()
        assert inner.status == "cancelled"
    assert outer.status == "completed"


def test_a_job_does_not_leave_its_process(job: Job) -> None:
    with pytest.raises(TypeError, match="belongs to its process"):
        pickle.dumps(job)


def test_what_a_worker_says_wrongly_does_not_hurt_it(warnings: Callable[[], list[str]]) -> None:
    reporter = milepost.Reporter(None)
    job = reporter.job("a", id="not an id", total="many", metadata={"x": object()})  # type: ignore[arg-type]
    assert job.id == "not an id"
    job.message(5)  # type: ignore[arg-type]
    job.stage(None)  # type: ignore[arg-type]
    job.metadata({1: 2})  # type: ignore[dict-item]
    job.metadata(5)  # type: ignore[arg-type]
    job.complete()
    assert warnings() == [
        "'not an id' is not a job id, so this job is not reported: a job id may not contain ' '",
        "total is ignored: it takes a finite number, not 'many'",
        "part of not an id is not reported: the metadata: 'int' object has no attribute 'items'",
    ]


class Rude:
    """Whatever is asked of it, it raises."""

    def __float__(self) -> float:
        raise RuntimeError("rude")

    __int__ = __str__ = __repr__ = __len__ = __iter__ = __float__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("rude")

    def __bool__(self) -> bool:
        raise RuntimeError("rude")

    def __hash__(self) -> int:
        raise RuntimeError("rude")


RUDE: Any = Rude()


@pytest.mark.parametrize(
    "call",
    [
        lambda job: job.progress(RUDE),
        lambda job: job.total(RUDE),
        lambda job: job.advance(RUDE),
        lambda job: job.update(current=RUDE, total=RUDE, progress=RUDE, unit=RUDE, metadata={"a": 1}),
        lambda job: job.update(metadata=RUDE),
        lambda job: job.update(stage=RUDE, message=RUDE),
        lambda job: job.message(RUDE),
        lambda job: job.metadata(RUDE),
        lambda job: job.metadata(a=RUDE),
        lambda job: job.result(RUDE),
        lambda job: job.complete(RUDE, message=RUDE),
        lambda job: job.fail(RUDE),
        lambda job: job.cancel(RUDE),
        lambda job: job.stage(RUDE, total=RUDE, unit=RUDE, within=RUDE).advance(RUDE),
        lambda job: job.stage("s", within=(0.5,)).total(RUDE),
        lambda job: job.stage("s", within=(RUDE, "x")).progress(RUDE),
        lambda job: list(job.track("abc", RUDE, stage="s", unit=RUDE, within="x")),
        lambda job: setattr(job, "progress", RUDE),
        lambda job: setattr(job, "total", RUDE),
        lambda job: milepost.report(RUDE, status=RUDE, stage=RUDE, progress=RUDE, message=RUDE),
        lambda job: milepost.report("a", metadata=RUDE, result=RUDE, error=RUDE, attempt=RUDE, ttl=RUDE),
        lambda job: milepost.Reporter(RUDE).job(RUDE),
        lambda job: milepost.Reporter(None, interval=RUDE, heartbeat=RUDE, flush_timeout=RUDE, max_jobs=RUDE),
        lambda job: milepost.job(RUDE, id=RUDE, total=RUDE, unit=RUDE, stage=RUDE, message=RUDE).complete(),
        lambda job: milepost.job(metadata=RUDE, attempt=RUDE, ttl=RUDE, queued=RUDE).complete(),
        lambda job: milepost.flush(RUDE),
    ],
)
def test_nothing_that_is_passed_raises(
    job: Job, call: Callable[[Job], object], fake: Callable[..., FakeServer], warnings: Callable[[], list[str]]
) -> None:
    server = fake()
    reporter = milepost.configure(server.url)
    call(job)
    with milepost.job(id="after") as after:
        after.progress(0.5)
    assert milepost.flush(60)
    assert server.updates[-1]["status"] == "completed"
    reporter.close()


def test_assigning_to_what_reports_nothing_is_warned_of(job: Job, warnings: Callable[[], list[str]]) -> None:
    for _ in range(2):
        job.progres = 0.5  # type: ignore[attr-defined]
        job.message = "half"  # type: ignore[method-assign, assignment]
        job.status = "completed"  # type: ignore[misc]
        job.stage("one").totl = 3  # type: ignore[attr-defined]
        job.owner = "me"  # type: ignore[attr-defined]
    assert warnings() == [
        "assigning to Job.progres reports nothing: there is no such attribute. Did you mean progress?",
        "assigning to Job.message is ignored: it is a method. Call message(…)",
        "assigning to Job.status is ignored: it cannot be set",
        "assigning to Stage.totl reports nothing: there is no such attribute. Did you mean total?",
        "assigning to Job.owner reports nothing: there is no such attribute.",
    ]
    # The program's own attributes are its own, and a method stays one.
    assert job.owner == "me"  # type: ignore[attr-defined]
    job.message("half")
    assert said(job)["message"] == "half"


def test_a_time_to_live_may_be_a_timedelta() -> None:
    job = milepost.Reporter(None).job(id="a", ttl=timedelta(hours=1))
    assert said(job)["ttl"] == 3600


def test_a_message_is_taken_back(job: Job) -> None:
    for nothing in ("", None):
        job.message("something")
        job.message(nothing)
        assert "message" not in said(job)


def test_a_progress_in_percent_is_warned_of_once(job: Job, warnings: Callable[[], list[str]]) -> None:
    for percent in (51, 51, 52, 99):
        job.progress(percent)
    job.progress(1.0000001)
    assert said(job)["progress"] == 1.0
    assert warnings() == ["progress must be between 0 and 1, so 51 counts as 1; 50 % is 0.5"]


def test_progress_and_total_may_be_assigned(job: Job) -> None:
    job.progress = 0.5
    assert (said(job)["progress"], float(job.progress), repr(job.progress)) == (0.5, 0.5, "0.5")
    job.progress = None
    job.total = 4
    job.advance()
    assert (said(job)["progress"], job.total.value) == (0.25, 4)
    with job.stage("s") as stage:
        stage.total = 10
        stage.progress = 0.7
        assert said(job)["progress"] == 0.7


def test_a_status_that_is_none_is_warned_of(fake: Callable[..., FakeServer], warnings: Callable[[], list[str]]) -> None:
    server = fake()
    reporter = milepost.configure(server.url)
    for _ in range(2):
        milepost.report("a", status="done")
    assert milepost.flush(60)
    reporter.close()
    assert server.updates[-1]["status"] == "processing"
    expected = "queued, processing, cancelled, completed, failed"
    assert warnings() == [f"status 'done' counts as processing: it must be one of {expected}"]


def test_an_attempt_that_is_none_stops_no_other_job(
    fake: Callable[..., FakeServer], warnings: Callable[[], list[str]]
) -> None:
    server = fake()
    reporter = milepost.configure(server.url)
    milepost.report("a", attempt="1\n2")  # type: ignore[arg-type]
    milepost.job(id="b").complete()
    assert milepost.flush(60)
    reporter.close()
    assert {update["job_id"] for update in server.updates} == {"a", "b"}
    assert warnings() == ["attempt is ignored: it takes a finite number, not '1\\n2'"]


def test_the_same_id_is_the_same_job_while_it_goes_on() -> None:
    reporter = milepost.Reporter(None)
    first = reporter.job(id="a")
    assert reporter.job(id="a") is first
    assert reporter.job(id="a", attempt=2) is not first
    first.complete()
    again = reporter.job(id="a")
    assert again is not first
    assert not again.has_ended


@pytest.mark.parametrize("url", ["", "localhost:8084", "ftp://host", "http://", "http://host?x=1", "http://host:x"])
def test_a_url_that_cannot_be_used_is_warned_of(url: str, warnings: Callable[[], list[str]]) -> None:
    reporter = milepost.Reporter(url)
    assert reporter.url is None
    reporter.job("a").complete()
    assert len(warnings()) == (1 if url else 0)


@pytest.mark.parametrize("url", ["http://me:secret@host?x=1", "http://host?token=secret", "http://host/#secret"])
def test_passwords_and_tokens_are_not_shown(url: str, warnings: Callable[[], list[str]]) -> None:
    milepost.Reporter(url)
    assert len(warnings()) == 1
    assert "secret" not in warnings()[0]


def test_the_environment_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    assert milepost.configure().url is None
    # That is mostly the program's own Redis.
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    assert milepost.configure().url is None
    monkeypatch.setenv("MILEPOST_URL", "redis://127.0.0.1:1")
    assert milepost.configure().url == "redis://127.0.0.1:1"
    monkeypatch.setenv("MILEPOST_URL", "http://127.0.0.1:1/")
    assert milepost.configure().url == "http://127.0.0.1:1"
    assert milepost.configure("http://127.0.0.1:2").url == "http://127.0.0.1:2"


def test_a_misspelt_variable_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    for name in ("MILEPOST_ULR", "MILPOST_URL", "milepost_token", "MILEPOST_TOKENS"):
        monkeypatch.setenv(name, "x")
    # These are the server's, Kubernetes' or the program's own.
    for name in ("MILEPOST_KEY", "MILEPOST_TTL", "MILEPOST_LOG", "MILEPOST_HOST", "MILEPOST_PORT", "MY_URL"):
        monkeypatch.setenv(name, "x")
    for _ in range(2):
        milepost.configure()
        compat.ProgressReporter()
    assert sorted(warnings()) == [
        "the environment variable MILEPOST_TOKENS has no effect: did you mean MILEPOST_TOKEN?",
        "the environment variable MILEPOST_ULR has no effect: did you mean MILEPOST_URL?",
        "the environment variable MILPOST_URL has no effect: did you mean MILEPOST_URL?",
        "the environment variable milepost_token has no effect: did you mean MILEPOST_TOKEN?",
    ]


def interrupted(job: Job, at: int, call: Callable[[], object]) -> bool:
    """Makes the call, and cancels the job before the call's `at`th line, as a signal handler may. False if it has
    fewer lines."""
    lines = itertools.count()
    cancelled = False

    def trace(frame: types.FrameType, event: str, _: object) -> Any:
        nonlocal cancelled
        if event == "line" and next(lines) == at:
            cancelled = True
            sys.settrace(None)
            job.cancel("enough")
        return None if cancelled else trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return cancelled


@pytest.mark.parametrize(
    "name", ["stage", "message", "metadata", "progress", "advance", "update", "begin", "queue", "complete", "fail"]
)
def test_an_end_in_the_middle_of_a_call_stands(name: str) -> None:
    calls: dict[str, Callable[[Job], object]] = {
        "stage": lambda job: job.stage("s"),
        "message": lambda job: job.message("m"),
        "metadata": lambda job: job.metadata(n=0),
        "progress": lambda job: job.progress(0.5),
        "advance": lambda job: job.advance(),
        "update": lambda job: job.update(current=1, stage="s", message="m"),
        "begin": lambda job: job.__enter__(),
        "queue": lambda job: job._record.queue(),
        "complete": lambda job: job.complete(),
        "fail": lambda job: job.fail("no"),
    }
    for at in itertools.count():
        job = begin()
        if not interrupted(job, at, lambda job=job: calls[name](job)):  # type: ignore[misc]
            break
        # Where the call is an end itself, it may have been first.
        expected = {"complete": "completed", "fail": "failed"}.get(name, "cancelled")
        assert job.status in {"cancelled", expected}, f"before line {at}"
        assert said(job)["status"] == job.status, f"before line {at}"
    assert at > 3
