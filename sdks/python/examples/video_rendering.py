"""Renders a short film, frame by frame, and reports each frame: `video_rendering.py [JOB_ID [FRAMES]]`.

It writes `JOB_ID.y4m` into the temporary directory: a zoom into the Mandelbrot set that mpv, VLC and ffplay show.
"""

import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

import milepost

WIDTH, HEIGHT = 64, 36
DEPTH = 64


def main(job_id: str = "video-rendering", frames: str = "60") -> None:
    path = Path(tempfile.gettempdir()) / f"{job_id.replace(':', '-')}.y4m"
    # An exception on the way, a disk that is full, say: then the job has failed, and says why.
    with milepost.job(id=job_id, metadata={"resolution": [WIDTH, HEIGHT]}) as job:
        with path.open("wb") as video:
            render(job, video, int(frames))
        job.result({"video": str(path), "bytes": path.stat().st_size})
    print(path)


def render(job: milepost.Job, video: BinaryIO, frames: int) -> None:
    video.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F30:1 Ip A1:1 Cmono\n".encode())
    for frame in job.track(range(frames), stage="rendering", unit="frames"):
        job.message(f"Rendering frame {frame + 1}/{frames}")
        video.write(b"FRAME\n" + picture(frame / frames))


def picture(time: float) -> bytes:
    """One frame; `time` goes from 0 to 1 through the film."""
    zoom = 0.05 * 100**-time
    return bytes(
        brightness(complex(-0.743643 + (x - WIDTH / 2) * zoom, 0.131825 + (y - HEIGHT / 2) * zoom))
        for y in range(HEIGHT)
        for x in range(WIDTH)
    )


def brightness(c: complex) -> int:
    """How soon the sequence z² + c leaves the circle of radius 2."""
    z = 0j
    for step in range(DEPTH):
        if abs(z) > 2:
            return step * 255 // DEPTH
        z = z * z + c
    return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
