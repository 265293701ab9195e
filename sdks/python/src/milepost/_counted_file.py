"""Files whose bytes are counted: `with milepost.open("in.csv") as file`."""

from __future__ import annotations

import builtins
import codecs
import os
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Optional, TypeVar, Union

from ._boundary import harmless
from ._current import current
from ._default import job as begin_job
from ._job import Job
from ._left_block import outcome_of
from ._stage import Stage

F = TypeVar("F", bound="CountedFile")


class CountedFile:
    """A file that counts the bytes that are read from it or written to it. Otherwise it is that file."""

    def __init__(self, file: Any, total: Optional[int], name: Optional[str], id: Optional[object]) -> None:
        self._file = file
        self._shown: Union[Job, Stage, None] = None
        self._own: Optional[Job] = None
        self._encoder = codecs.getincrementalencoder("utf-8")("replace")
        self._begin(total, name, id)

    @harmless
    def _begin(self, total: Optional[int], name: Optional[str], id: Optional[object]) -> None:
        # It writes a byte order mark only once, as the file does.
        self._encoder = codecs.getincrementalencoder(_encoding_of(self._file))("replace")
        total = _size_of(self._file) if total is None else total
        name = _name_of(self._file) if name is None else name
        job = current() if id is None else None
        if job is None:
            self._own = self._shown = begin_job(
                name, id=id, total=total, unit="B", attempt=None if id is None else "next"
            )
        else:
            self._shown = job.stage(name, total=total, unit="B")

    def _count(self, data: Any) -> Any:
        self._advance(data)
        return data

    @harmless
    def _advance(self, data: Any) -> None:
        if data is not None:
            self._advance_by(len(self._encoder.encode(data)) if isinstance(data, str) else memoryview(data).nbytes)

    @harmless
    def _advance_by(self, size: Optional[int]) -> None:
        if self._shown is not None and size:
            self._shown.advance(size)

    def read(self, *size: Any) -> Any:
        return self._count(self._file.read(*size))

    def read1(self, *size: Any) -> Any:
        return self._count(self._file.read1(*size))

    def readline(self, *size: Any) -> Any:
        return self._count(self._file.readline(*size))

    def readlines(self, *size: Any) -> Any:
        lines = self._file.readlines(*size)
        for line in lines:
            self._advance(line)
        return lines

    def readinto(self, buffer: Any) -> Any:
        size = self._file.readinto(buffer)
        self._advance_by(size)
        return size

    def readinto1(self, buffer: Any) -> Any:
        size = self._file.readinto1(buffer)
        self._advance_by(size)
        return size

    def write(self, data: Any) -> Any:
        written = self._file.write(data)
        self._advance(data)
        return written

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._count(next(self._file))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        """Closes the file. A job of its own is completed."""
        self._file.close()
        self._end("completed", None)

    def __enter__(self: F) -> F:
        self._file.__enter__()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> Any:
        if error is not None:
            self._end(*outcome_of(error))
        try:
            swallows = self._file.__exit__(kind, error, traceback)
        except BaseException as raised:
            # A disk may be full only now.
            self._end(*outcome_of(raised))
            raise
        self._end("completed", None)
        return swallows

    def _end(self, status: str, text: Optional[str]) -> None:
        if self._own is not None:
            self._own._end(status, text)


def _size_of(file: Any) -> Optional[int]:
    """How much there is to read; None if that is not known."""
    try:
        if not file.readable():
            return None
        return max(0, os.fstat(file.fileno()).st_size - file.tell()) or None
    except Exception:  # it is not a file of the disk, or not much of a file
        return None


def _encoding_of(file: Any) -> str:
    encoding = getattr(file, "encoding", None)
    return encoding if isinstance(encoding, str) else "utf-8"


def _name_of(file: Any) -> str:
    name = getattr(file, "name", None)
    return os.path.basename(name) if isinstance(name, str) else "file"


def wrap_file(
    file: Any, total: Optional[int] = None, *, name: Optional[str] = None, id: Optional[object] = None
) -> CountedFile:
    """The file, which from now on counts the bytes that are read from it or written to it.

    Inside the `with` block of a job, the file is a stage of that job. Otherwise, or with an `id`, it is a job of its
    own, which ends when the file is closed, and has failed if an exception leaves its `with` block. `name` is that of
    the stage or the job: by default the file's. `total` is how many bytes there are: by default the rest of a file on
    disk. Text counts as many bytes as it has in the file's encoding, without carriage returns that Python removes.
    """
    return CountedFile(file, total, name, id)


def open(
    path: Any,
    mode: str = "r",
    *,
    total: Optional[int] = None,
    name: Optional[str] = None,
    id: Optional[object] = None,
    **options: Any,
) -> CountedFile:
    """Opens a file as the built-in `open` does, with the same options, and counts its bytes: see `wrap_file`."""
    return CountedFile(builtins.open(path, mode, **options), total, name, id)
