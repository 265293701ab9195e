"""Several videos at once, each a job of its own, and one job for the whole batch: `batch.py [JOB_ID [VIDEOS]]`.

What is done to each video is a checksum over its bytes.
"""

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

import milepost

WORKERS, FRAMES = 3, 200


def main(job_id: str = "batch", videos: str = "6") -> None:
    numbers = range(1, int(videos) + 1)
    # Each video is shown as queued until a worker takes it.
    jobs = [milepost.job(id=f"{job_id}-{number}", queued=True) for number in numbers]
    with milepost.job(id=job_id, unit="videos") as batch, ThreadPoolExecutor(WORKERS) as workers:
        done = [workers.submit(process, job, number) for job, number in zip(jobs, numbers)]
        for each in batch.track(as_completed(done), total=len(done), stage="processing", unit="videos"):
            each.result()
        batch.result({"videos": len(done)})
    print(f"{len(done)} videos processed")


def process(job: milepost.Job, number: int) -> None:
    checksum = hashlib.sha256()
    with job:
        for frame in job.track(range(FRAMES), stage="analyzing", unit="frames"):
            checksum.update(bytes([frame ^ number]) * 65_536)
        job.result({"checksum": checksum.hexdigest()})


if __name__ == "__main__":
    main(*sys.argv[1:])
