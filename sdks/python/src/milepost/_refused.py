"""What may be raised to those who watch."""

from __future__ import annotations


class NoServer(ValueError):
    """There is nothing to watch: no URL was given, and MILEPOST_URL is not set; or the package for such a URL is not
    installed, or cannot be used."""


class InvalidToken(ValueError):
    """The key or the token has a character that no HTTP header may have. The message says where it comes from, and
    never repeats it."""


class WatchRefused(Exception):
    """The server will not have this watcher, now or later."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the server refused with HTTP status {status}: {detail}" if status else detail)
        self.status = status
        """The HTTP status; 0 where HTTP is not spoken."""
        self.detail = detail


class JobForgotten(Exception):
    """The job was deleted, or its `ttl` is over, before it had ended, and nobody has reported it for a minute since."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"{job_id} was deleted, or its ttl is over, before it had ended")
        self.job_id = job_id


class Unreachable(ConnectionError):
    """The server does not answer, or not in a way that makes sense."""
