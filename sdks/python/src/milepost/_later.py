"""A transport that cannot be made yet, as there are no more files: it is tried again with each request."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Optional, Union

from . import _address
from ._outcome import Busy, Lost, Outcome, Refused
from ._transport import Outgoing, Transport


class LaterTransport:
    """One thread owns it, as any transport."""

    def __init__(self, make: Callable[[], Transport]) -> None:
        self._make = make
        self._made: Optional[Transport] = None

    def _transport(self) -> Transport:
        if self._made is None:
            try:
                self._made = self._make()
            except Exception as error:
                raise Lost(_address.explain(error)) from error
        return self._made

    def send(self, updates: Sequence[Outgoing], timeout: float) -> list[Outcome]:
        return self._transport().send(updates, timeout)

    def append_log(self, job_id: str, lines: bytes, timeout: float) -> Optional[Union[Busy, Refused]]:
        return self._transport().append_log(job_id, lines, timeout)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()


def may_pass(error: Exception) -> bool:
    """Whether what failed may work later: the process has, or had, no more files. Otherwise a package or a file is
    missing or unsuitable."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return True
    # An import of a native module says nothing of why it could not open it.
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False
