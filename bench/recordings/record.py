#!/usr/bin/env python3
"""Records how the progress of real jobs grows: `record.py MILEPOST [NAME…]`.

Each job runs under `milepost run` against a server of its own. The states that a watcher receives become a
file `NAME.txt` beside this script: a line for each change of the progress, with the seconds since the job
began and the progress; the last line is the end. `cargo run --release -p milepost-bench -- eta` reads these
files. They are checked in, so that everybody measures the same runs.

Needs ffmpeg, rsync and tqdm. A job takes one to three minutes.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).parent

RSYNC = "rsync -a --info=progress2 --no-inc-recursive --outbuf=L"
VIDEO = "ffmpeg -nostdin -loglevel error -y"
X264 = "-c:v libx264 -preset {} -f null -"
TRAINING = """
import math, random, sys, time
from tqdm import tqdm
random.seed(7)
points = [[random.gauss(0, 1) for _ in range(24)] for _ in range(3000)]
labels = [1.0 if sum(point[:5]) > 0 else 0.0 for point in points]
weights = [0.0] * 24
epochs, size = int(sys.argv[1]), 50
bar = tqdm(total=epochs * (len(points) // size), mininterval=0.2)
for epoch in range(epochs):
    for start in range(0, len(points), size):
        for point, label in zip(points[start:start + size], labels[start:start + size]):
            guess = 1 / (1 + math.exp(-sum(w * x for w, x in zip(weights, point))))
            for place, x in enumerate(point):
                weights[place] += 0.01 * (label - guess) * x
        bar.update(1)
    # The validation after each epoch: work without progress.
    for point in points * int(sys.argv[2]):
        sum(w * x for w, x in zip(weights, point))
bar.close()
"""

JOBS = {
    "ffmpeg-steady": f"{VIDEO} -f lavfi -i testsrc2=s=1280x720:d=60 {X264.format('medium')}",
    # Each second of the picture takes longer to compute than the one before.
    "ffmpeg-mandelbrot": f"{VIDEO} -f lavfi -i mandelbrot=s=640x480:rate=25 -t 24 {X264.format('veryfast')}",
    "ffmpeg-vp9": f"{VIDEO} -f lavfi -i testsrc2=s=640x360:d=20 -c:v libvpx-vp9 -cpu-used 4 -f null -",
    "rsync-small-files": f"{RSYNC} --bwlimit=4m {{source}}/small/ {{scratch}}/copy/",
    "rsync-large-files": f"{RSYNC} --bwlimit=2m {{source}}/large/ {{scratch}}/copy/",
    "rsync-small-then-large": f"{RSYNC} --bwlimit=6m {{source}}/ {{scratch}}/copy/",
    "training": "{python} {source}/training.py 150 2",
    "training-long-validation": "{python} {source}/training.py 70 25",
}


def prepare(source: Path) -> None:
    """The files that the jobs work on."""
    (source / "small").mkdir(parents=True)
    (source / "large").mkdir()
    (source / "training.py").write_text(TRAINING)
    block = Path(sys.executable).resolve().read_bytes()[:65536]
    for number in range(6000):
        (source / "small" / str(number)).write_bytes(block[: 1000 + number % 40 * 1500])
    for number in range(8):
        (source / "large" / str(number)).write_bytes(block * (400 + 300 * (number % 3)))


def record(milepost: str, name: str, command: list[str], port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    lines: list[str] = []

    def watch() -> None:
        with urllib.request.urlopen(f"{url}/jobs/{name}/events") as stream:
            began = None
            for line in stream:
                if not line.startswith(b"data: {"):
                    continue
                state = json.loads(line[6:])
                if "started_at" not in state:
                    continue
                moment = state.get("last_seen_at") or state["ended_at"]
                began = began or datetime.fromisoformat(state["started_at"].replace("Z", "+00:00"))
                seconds = (datetime.fromisoformat(moment.replace("Z", "+00:00")) - began).total_seconds()
                if state["status"] == "completed":
                    lines.append(f"{seconds:.3f} end")
                    return
                if state["status"] != "processing":
                    return
                progress = state.get("progress")
                if progress is not None and not (lines and lines[-1].endswith(f" {progress}")):
                    lines.append(f"{seconds:.3f} {progress}")

    watcher = threading.Thread(target=watch)
    watcher.start()
    subprocess.run([milepost, "run", "--job", name, "--server", url, "--quiet", "--", *command], check=False)
    watcher.join(30)
    if len(lines) > 3 and lines[-1].endswith("end"):
        (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n")
        print(f"{name}: {len(lines)} lines, {lines[-1]}", flush=True)
    else:
        print(f"{name}: it has not completed, or has no progress; nothing is recorded", flush=True)


def main() -> None:
    milepost, *names = sys.argv[1:]
    for name in names:
        if name not in JOBS:
            sys.exit(f"{name} is not a job: {', '.join(JOBS)}")
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        source, scratch = Path(folder) / "source", Path(folder) / "scratch"
        prepare(source)
        serve = [milepost, "serve", "--port", str(port)]
        server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(2)
            for name in names or JOBS:
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir()
                places = {"source": source, "scratch": scratch, "python": sys.executable}
                command = [part.format(**places) if "{" in part else part for part in JOBS[name].split()]
                record(milepost, name, command, port)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
