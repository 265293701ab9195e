"""Shows people how far a long-running job is, live.

    import milepost

    with milepost.job("render", id="vid-42") as job:
        for frame in job.track(frames, stage="render"):
            encode(frame)
        job.result({"url": url})

    for state in milepost.watch("vid-42"):
        print(state.status, state.progress)

`MILEPOST_URL` is the server's URL (`http(s)://…` or `redis(s)://…`). Without it, nothing is reported and nothing is
logged. Reporting never hurts the job: no call raises an error of its own or waits for a server, and memory is bounded.
A background thread sends at most five updates a second for each job. The logger `milepost` warns once about each
problem.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ._address import InvalidUrl
from ._counted_file import open as open  # not in `__all__`: a star import leaves the built-in one
from ._counted_file import wrap_file
from ._current import current
from ._default import configure, flush, job, report
from ._job import Job
from ._job_id import InvalidJobId
from ._listing import jobs
from ._log_handler import LogHandler
from ._outcome import Refusal
from ._refused import InvalidToken, JobForgotten, NoServer, Unreachable, WatchRefused
from ._reporter import Reporter
from ._request import CancelRequested, Request
from ._signal import exit_on_signal
from ._stage import Stage
from ._state import State
from ._status import status, wait, watch
from ._tracked import track
from ._watch import Watch
from ._watch_token import watch_token

if TYPE_CHECKING:
    from ._tqdm import tqdm as tqdm
    from ._tqdm import trange as trange

__version__ = "0.1.0"

__all__ = [
    "CancelRequested",
    "InvalidJobId",
    "InvalidToken",
    "InvalidUrl",
    "Job",
    "JobForgotten",
    "LogHandler",
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
    "jobs",
    "report",
    "status",
    "track",
    "wait",
    "watch",
    "watch_token",
    "wrap_file",
]


def _bar(name: str) -> Any:
    try:
        from . import _tqdm
    except ModuleNotFoundError as error:
        raise ImportError("milepost.tqdm needs the package tqdm: `pip install 'milepost[tqdm]'`") from error

    return getattr(_tqdm, name)


class _Package(ModuleType):
    """Imports the bars on first use, because they need the package tqdm.

    An import of the module `milepost.tqdm` would set `tqdm` here; it stays the class, as in `from tqdm import tqdm`.
    """

    def __reduce__(self) -> Any:
        # joblib, dask and others send functions of a script together with the modules that these use.
        return importlib.import_module, (self.__name__,)

    @property
    def tqdm(self) -> Any:
        return _bar("tqdm")

    @tqdm.setter
    def tqdm(self, module: object) -> None:
        pass

    @property
    def trange(self) -> Any:
        return _bar("trange")


sys.modules[__name__].__class__ = _Package
