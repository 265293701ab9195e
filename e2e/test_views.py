"""One job, watched in five ways at once: all show the same health, stage, progress, children, time left."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import sys
import time
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Optional

from binary import BINARY, ENVIRONMENT, Server
from scene import Scene
from watchers import Curl, Page, ProcessWatcher, Watcher, all_of

JOB = "film-1"
SDK = Path(__file__).parent.parent / "sdks" / "python" / "src"
NOT_WELL = ("No progress", "Silent", "stalled", "lost")
"""What a view would say of a worker that is not well."""
LEFT = re.compile(r"\d+\s\w+ left|longer than usual")
"""How a view says how long the job still takes."""
AMBER_WITHIN = 30
"""Seconds from a worker's sudden death until every view shows that it is not well: docs/health.md."""


class Moment(NamedTuple):
    """What the views show after these updates, each of a job."""

    updates: list[tuple[str, dict[str, Any]]]
    percent: int
    stage: str
    ended: Optional[int] = None
    """How many of three children have ended; None: none has begun."""
    stalled: bool = False
    left: Optional[str] = None
    """How long it still takes, in the words of the page and the terminal."""


class Python(ProcessWatcher):
    """The Python package."""

    def command(self) -> list[str]:
        lines = [
            "import json, sys",
            f"sys.path.insert(0, {str(SDK)!r})",
            "import milepost",
            f"for state in milepost.watch({self.job!r}, url={self.server.url!r}):",
            "    print(json.dumps(state), flush=True)",
        ]
        return [sys.executable, "-c", "\n".join(lines)]

    async def line(self, line: str) -> None:
        await self.show(line)


class Bars(Watcher):
    """`milepost watch` on a terminal. `row` is the job's row as it was drawn last."""

    def __init__(self, server: Server, job: str) -> None:
        super().__init__(server, job)
        self.row = ""

    async def watch(self) -> None:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *["sh", "-c", f'stty rows 24 cols 160; exec "{BINARY}" watch {self.job}'],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**ENVIRONMENT, "MILEPOST_URL": self.server.url, "TERM": "xterm-256color"},
        )
        os.close(theirs)
        try:
            drawn = ""
            while chunk := await asyncio.to_thread(read, ours):
                drawn = (drawn + chunk)[-20_000:]
                rows = re.findall(rf"{self.job} [^\r\n]*", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn))
                self.row = rows[-1] if rows else ""
                await self.notify()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            os.close(ours)


def read(terminal: int) -> str:
    try:
        return os.read(terminal, 65_536).decode(errors="replace")
    except OSError:
        # Nobody has it open any more.
        return ""


class Views(Scene):
    async def test_all_views_show_the_same(self) -> None:
        page = Page(self.server, JOB)
        component = Page(self.server, JOB, f"{self.server.url}/embed/{JOB}?stages")
        curl, python, bars = Curl(self.server, JOB), Python(self.server, JOB), Bars(self.server, JOB)
        self.server.report(JOB, {"children_expected": 3})
        async with page, component, curl, python, bars:
            await page.until_there()
            await component.until("the job", lambda: "processing" in component.text)
            for moment in moments():
                for job, update in moment.updates:
                    self.server.report(job, update)
                await self.check(moment, page, component, bars, [curl, python])
            self.server.report(JOB, {"status": "failed", "error": "no space left on device"})
            await all_of([curl, python], lambda watcher: watcher.until_end())
            await page.until_reads("Failed", "at 75", "Encode the film", "no space left")
            await component.until_reads(
                "Failed", "75%", "\N{MULTIPLICATION X} Encode the film", "no space left"
            )
            await bars.until("the failure", lambda: "failed" in bars.row and "Encode the film" in bars.row)
            self.assertEqual([*page.faults, *component.faults], [])

    async def test_a_worker_that_is_killed_turns_amber_and_returns(self) -> None:
        page = Page(self.server, JOB)
        component = Page(self.server, JOB, f"{self.server.url}/embed/{JOB}?stages")
        curl, python, bars = Curl(self.server, JOB), Python(self.server, JOB), Bars(self.server, JOB)
        programs: list[Watcher] = [curl, python]
        worker = await work(self.server, done=1, stall_after=12)
        try:
            async with page, component, curl, python, bars:
                await page.until_there()
                await self.check_health("ok", page, component, bars, programs)
                os.kill(worker.pid, signal.SIGKILL)
                killed = time.monotonic()
                await worker.wait()
                await self.check_health("stalled", page, component, bars, programs)
                self.assertLess(time.monotonic() - killed, AMBER_WITHIN, "amber in all views")
                await self.check_health("lost", page, component, bars, programs)
                # It returns, and is the same attempt of the same job.
                worker = await work(self.server, done=2, stall_after=None)
                await self.check_health("ok", page, component, bars, programs)
                self.assertEqual([*page.faults, *component.faults], [])
            seen = [state.get("health") for state in map(json.loads, curl.states)]
            changes = [after for before, after in zip(["ok", *seen], seen) if after != before]
            self.assertEqual(changes, ["stalled", "lost", "ok"])
        finally:
            worker.kill()
            await worker.wait()

    async def check_health(
        self, health: str, page: Page, component: Page, bars: Bars, programs: list[Watcher]
    ) -> None:
        """All views show that the worker is well, stands still, or is silent; and nothing else."""
        for program in programs:
            await program.until(health, partial(shows_health, program, health))
        words = {"stalled": ("No progress for", "Not advancing"), "lost": ("Silent for", "Silent")}
        if health == "ok":
            for view in (page, component):
                await view.until(
                    "health",
                    partial(
                        lambda it: JOB in it.text and not it.healths and "encode" in it.text.lower(), view
                    ),
                )
            await bars.until("health", lambda: "encode" in bars.row and not bad(bars.row))
            return
        await page.until_reads(*words[health])
        await component.until_reads(words[health][0])
        for view in (page, component):
            await view.until("amber", partial(lambda it: set(it.healths) == {health}, view))
        await bars.until(health, lambda: health in bars.row or words[health][0].lower() in bars.row)

    async def check(
        self, moment: Moment, page: Page, component: Page, bars: Bars, programs: list[Watcher]
    ) -> None:
        percent, stage = moment.percent, moment.stage
        counted = [] if moment.ended is None else [f"{moment.ended} of 3"]
        ended = [f"{words} ended" for words in counted]
        left = [moment.left] if moment.left else []
        await page.until_reads(f"{percent}\N{NARROW NO-BREAK SPACE}%", stage, *ended, *left)
        # The component has its units from the browser's language.
        aside = [*counted, *(words.replace(" h ", " hr ") for words in left)]
        await component.until_reads(f"{percent}%", stage, *(["No progress for"] if moment.stalled else aside))
        drawn = [f"{percent} %", stage, *ended, *left, *(["stalled"] if moment.stalled else [])]
        await bars.until(f"{drawn}", lambda: all(word in bars.row for word in drawn))
        if moment.stalled:
            await page.until_reads("No progress for", "Not advancing")
        else:
            for shown in (page.text, component.text, bars.row):
                self.assertFalse([word for word in NOT_WELL if word in shown], shown)
        if not moment.left:
            for view in (page, component):
                await view.until("no time left", partial(lambda it: not LEFT.search(it.text), view))
            await bars.until("no time left", lambda: not LEFT.search(bars.row))
        # Programs read the same JSON.
        state = self.server.get(f"/jobs/{JOB}")
        self.assertEqual(state.get("children", {}).get("expected"), 3 if counted else None)
        # One that stands still keeps its estimate, which nobody shows.
        self.assertEqual("eta" in state, bool(moment.left) or moment.stalled)
        for program in programs:
            await program.until(f"{state}", partial(has, program, state))


async def work(server: Server, *, done: int, stall_after: Optional[float]) -> asyncio.subprocess.Process:
    """A worker that has done so much of four, and then works without any progress."""
    lines = [
        "import sys, time",
        f"sys.path.insert(0, {str(SDK)!r})",
        "import milepost",
        f"with milepost.job('render', id={JOB!r}, stage='encode', total=4) as job:",
        f"    job.advance({done})",
        "    milepost.flush(5)",
        "    print('reported', flush=True)",
        "    while True: time.sleep(1)",
    ]
    worker = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", "\n".join(lines)],
        stdout=asyncio.subprocess.PIPE,
        env={**ENVIRONMENT, "MILEPOST_URL": server.url},
    )
    assert worker.stdout is not None
    await worker.stdout.readline()
    # How often it reports, the package says itself; when it stands still, only the program can say.
    server.report(JOB, {"stall_after": stall_after, "progress": done / 4, "stage": "encode"})
    return worker


def shows_health(watcher: Watcher, health: str) -> bool:
    return bool(watcher.states) and watcher.latest().get("health") == health


def bad(row: str) -> bool:
    return any(word in row for word in NOT_WELL)


def has(watcher: Watcher, state: dict[str, Any]) -> bool:
    """Whether it was shown this state last: the same health, stages, children, estimate, and all else."""
    return bool(watcher.states) and watcher.latest() == state


def expected(*hours: float) -> dict[str, str]:
    """An estimate of the worker: `eta` and `eta_high`, in so many hours."""
    now = datetime.now(timezone.utc)
    instants = [(now + timedelta(hours=each)).isoformat() for each in hours]
    return dict(zip(("eta", "eta_high"), instants))


def moments() -> list[Moment]:
    stages = ["fetch", {"id": "encode", "label": "Encode the film", "weight": 3}]
    begin = {"stages": stages, "stage": "fetch", "stage_progress": 0.5, "heartbeat": 10}
    ends: list[dict[str, Any]] = [
        {"status": "completed"},
        {"status": "failed", "error": "no"},
        {"progress": 0.1},
    ]
    children = [(f"part-{n}", {"parent_id": JOB, **end}) for n, end in enumerate(ends)]
    encode = {"stage": "encode"}
    return [
        Moment([(JOB, begin)], 12, "fetch"),
        Moment([(JOB, {**encode, "stage_progress": 0})], 25, "Encode the film"),
        Moment(children, 25, "Encode the film", 2),
        *(
            Moment(
                [(JOB, {**encode, "stage_progress": 0, **expected(*hours)})],
                25,
                "Encode the film",
                2,
                left=words,
            )
            for hours, words in (
                ((3, 6), "3\N{EN DASH}6 h left"),
                ((96, 120), "about 4 days left"),
                ((-1, 2), "less than 2 h left"),
                ((-2, -1), "longer than usual"),
            )
        ),
        Moment(
            [(JOB, {**encode, **expected(3, 6), "stage_progress": 0.5, "stall_after": 0.3})],
            *(62, "Encode the film", 2, True),
        ),
        Moment([(JOB, {**encode, "stage_progress": 0.667, "stall_after": None})], 75, "Encode the film", 2),
    ]
