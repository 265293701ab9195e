"""Shows people how far a long-running job is, live.

    import milepost

    with milepost.job("render", id="vid-42") as job:
        for frame in job.track(frames, stage="render"):
            encode(frame)
        job.result({"url": url})

    for state in milepost.watch("vid-42"):
        print(state.status, state.progress)

`MILEPOST_URL` says where the server is (`http(s)://…` or `redis(s)://…`); without it, nothing is
reported, quietly. Reporting never hurts the job: no call raises on its own account, waits for a server or makes
memory grow; a background thread sends, at most five updates a second of each job; what goes wrong is a warning of the
logger `milepost`, once.
"""

from typing import TYPE_CHECKING, Any

from ._address import InvalidUrl
from ._default import configure, flush, job, report
from ._job import Job, current
from ._job_id import InvalidJobId
from ._outcome import Refusal
from ._refused import NoServer, Unreachable, WatchRefused
from ._reporter import Reporter
from ._request import CancelRequested, Request
from ._signal import exit_on_signal
from ._stage import Stage
from ._state import State
from ._status import status, wait, watch
from ._tracked import track
from ._watch import Watch

if TYPE_CHECKING:
    from ._tqdm import tqdm as tqdm
    from ._tqdm import trange as trange

__version__ = "0.1.0"

__all__ = [
    "CancelRequested",
    "InvalidJobId",
    "InvalidUrl",
    "Job",
    "NoServer",
    "Refusal",
    "Reporter",
    "Request",
    "Stage",
    "State",
    "Unreachable",
    "Watch",
    "WatchRefused",
    "__version__",
    "configure",
    "current",
    "exit_on_signal",
    "flush",
    "job",
    "report",
    "status",
    "track",
    "wait",
    "watch",
]


def __getattr__(name: str) -> Any:
    # Only who asks for the bars needs tqdm.
    if name in ("tqdm", "trange"):
        try:
            from . import _tqdm
        except ModuleNotFoundError as error:
            raise ImportError("milepost.tqdm takes the package tqdm, `pip install 'milepost[tqdm]'`") from error

        return getattr(_tqdm, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
