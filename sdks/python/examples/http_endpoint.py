"""A web service that starts a job for each request, and says where to watch it: `http_endpoint.py [PORT]`, then

curl -X POST http://127.0.0.1:3000/videos

The answer comes at once; the work, a checksum over some frames, goes on in the background.
"""

import hashlib
import sys
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI

import milepost
from milepost.fastapi import Accepted, Jobs

FRAMES = 200
app = FastAPI()


@app.post("/videos", status_code=202)
def start(jobs: Annotated[Jobs, Depends()]) -> Accepted:
    return jobs.start(milepost.job("video", queued=True), process)


def process(job: milepost.Job) -> dict[str, str]:
    checksum = hashlib.sha256()
    for frame in job.track(range(FRAMES), stage="processing", unit="frames"):
        checksum.update(bytes([frame]) * 65_536)
    return {"checksum": checksum.hexdigest()}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
