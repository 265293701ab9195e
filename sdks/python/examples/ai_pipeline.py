"""A picture goes through four stages, each with a part of the bar and a total of its own: `ai_pipeline.py [JOB_ID]`.

What stands in for a model here is small but real: it finds the picture's edges, names the colours that there are most
of, and crops to where most happens.
"""

import io
import sys
from collections import Counter

import milepost

SIDE, CROP, STEP = 128, 32, 8
COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255), "blue": (60, 120, 220), "green": (40, 160, 60)}
Rgb = tuple[int, int, int]


def main(job_id: str = "ai-pipeline") -> None:
    with milepost.job(id=job_id) as job:
        picture = upload(job, painted())
        edges = analyze(job, picture)
        caption = describe(job, picture)
        job.message(caption)
        left, top = crop(job, edges)
        job.result({"caption": caption, "crop": {"left": left, "top": top, "side": CROP}})
    print(caption)


def upload(job: milepost.Job, file: bytes) -> list[Rgb]:
    source, received = io.BytesIO(file), bytearray()
    with job.stage("uploading", total=len(file), unit="B", within=(0.0, 0.25)) as stage:
        while chunk := source.read(4096):
            received += chunk
            stage.advance(len(chunk))
    return list(zip(*[iter(received)] * 3))


def analyze(job: milepost.Job, picture: list[Rgb]) -> list[int]:
    """How much neighbouring pixels differ, row by row."""
    edges = []
    for y in job.track(range(SIDE), stage="analyzing", unit="rows", within=(0.25, 0.6)):
        for x in range(SIDE):
            here = picture[y * SIDE + x]
            right = picture[y * SIDE + (x + 1) % SIDE]
            below = picture[(y + 1) % SIDE * SIDE + x]
            edges.append(difference(here, right) + difference(here, below))
    return edges


def describe(job: milepost.Job, picture: list[Rgb]) -> str:
    """Names the two colours that most pixels are near to."""
    votes = Counter(
        min(COLOURS, key=lambda name: difference(COLOURS[name], pixel))
        for pixel in job.track(picture, stage="captioning", unit="pixels", within=(0.6, 0.8))
    )
    first, second = (name for name, _ in votes.most_common(2))
    return f"A picture in {first} and {second}"


def crop(job: milepost.Job, edges: list[int]) -> tuple[int, int]:
    """The square with the most edges in it."""
    corners = range(0, SIDE - CROP + 1, STEP)
    energies = {}
    windows = [(left, top) for top in corners for left in corners]
    for left, top in job.track(windows, stage="cropping", unit="windows", within=(0.8, 1.0)):
        rows = (edges[y * SIDE + left : y * SIDE + left + CROP] for y in range(top, top + CROP))
        energies[left, top] = sum(map(sum, rows))
    return max(windows, key=lambda corner: energies[corner])


def difference(one: Rgb, other: Rgb) -> int:
    return sum(abs(a - b) for a, b in zip(one, other))


def painted() -> bytes:
    """A sky, a meadow, and a chequered flag: the picture that is uploaded."""
    file = bytearray()
    for y in range(SIDE):
        for x in range(SIDE):
            if 80 <= x < 112 and 16 <= y < 48:
                file += bytes([255 * ((x // 2 + y // 2) % 2)] * 3)
            else:
                file += bytes((70, 130, 220) if y < SIDE * 2 // 3 else (50, 160, 70))
    return bytes(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
