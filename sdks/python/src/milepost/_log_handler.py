"""Python's own logging, as the log of a job."""

from __future__ import annotations

import logging
from typing import Optional, Union

from ._current import current, of_other_threads
from ._job import Job


class LogHandler(logging.Handler):
    """Writes what a program logs to the log of its job:

        logging.getLogger().addHandler(milepost.LogHandler())

    With `job`, everything is written to the log of that job. Otherwise each record goes to the job whose `with` block
    the code runs in, and records from elsewhere are ignored, as are those of the logger `milepost`. Everybody who may
    watch the job can read its log.
    """

    def __init__(self, job: Optional[Job] = None, level: Union[int, str] = logging.NOTSET) -> None:
        super().__init__(level)
        self._job = job

    def createLock(self) -> None:
        # A finaliser may log at any point, so this does not wait.
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        kept = self.filter(record)
        if kept:
            # From Python 3.12 on, a filter may replace the record.
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] == "milepost":
            return
        job = self._job or current() or of_other_threads()
        if job is not None:
            try:
                job._log(self.format(record), None, record.created)
            except Exception:
                self.handleError(record)
