"""The watches of one server share a socket, and the thread that reads it: section 6 of the protocol."""

from __future__ import annotations

import json
import os
import random
import select
import socket
import threading
import time
from collections import deque
from typing import Any, Deque, NamedTuple, Optional

from . import _credential, _http, _notice, _threads
from ._backlog import Backlog
from ._backoff import LONGEST_WAIT, STABLE, Backoff
from ._credential import Token
from ._http_source import read_state
from ._outcome import Failure, Lost, RetryLater
from ._refused import WatchRefused
from ._source import Query
from ._topic import Topic
from ._websocket import Closed, NotAWebSocket, WebSocket

MAX_TOPICS = 500
"""The jobs of one socket: half of what a server allows by default, because each end takes another subscription."""
LINGER = 1.0
"""A socket that nobody needs is kept for so many seconds, for the next watch."""
TIMEOUT = 10.0
"""For a connection, and for what is sent, in seconds."""
WITHOUT = 600.0
"""For so many seconds, a server that does not speak WebSocket is only asked for event streams."""
MAX_WITHOUT = 64
_REFUSED = {"invalid-job-id": 400, "invalid-parameter": 400, "unauthenticated": 401, "forbidden": 403}


class NoSocket(Exception):
    """The job has to be watched without the shared socket."""


class Server(NamedTuple):
    url: str
    token: Token


_lock = threading.RLock()
_sockets: dict[Server, list[SharedSocket]] = {}
_abandoned: list[SharedSocket] = []
"""Those of the parent, in the child of a fork."""
_without: dict[Server, float] = {}
"""Servers that do not speak WebSocket, and until when that is believed."""


def follow(server: Server, job_id: str, query: Query, backlog: Backlog) -> Optional[SharedSocket]:
    """From now on, the backlog gets the states of the job. Returns the socket that they come from, whose `leave` ends
    this; None if there can be none."""
    # A greenlet must not wait for a native thread.
    if _threads.are_greenlets():
        return None
    with _lock:
        if _without.get(server, 0.0) > time.monotonic():
            return None
        for each in _sockets.get(server, ()):
            if each.follow(job_id, query, backlog):
                return each
        try:
            made = SharedSocket(server)
            made.follow(job_id, query, backlog)
            made.start()
        except (OSError, RuntimeError):
            # There are no more files, or no more threads.
            return None
        _sockets.setdefault(server, []).append(made)
        return made


class SharedSocket:
    """A socket, its jobs and its thread. Whatever more than one thread uses is used under the lock."""

    def __init__(self, server: Server) -> None:
        self.has_connected = False
        """Whether the server has ever answered as one."""
        self._server = server
        self._lock = threading.RLock()
        self._topics: dict[str, Topic] = {}
        self._begun: Deque[Topic] = deque()
        self._left: Deque[str] = deque()
        self._silence = 15.0
        self._is_closed = False
        self._is_lost = False
        self._why_refused = ""
        self._rejections = _credential.Rejections(server.token)
        self._asked = 0.0
        self._renew_at: Optional[float] = None
        """When to ask for the next token."""
        self._present: Optional[str] = None
        self._renewed: Optional[str] = None
        """A token that the server has not been sent yet."""
        self._give_up_at: Optional[float] = None
        """When to look whether a job that was forgotten is to be given up; it may be too early."""
        self._idle_since = time.monotonic()
        self._websocket: Optional[WebSocket] = None
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="milepost-watch", daemon=True)

    def start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError:
            self._close_pair()
            raise

    def follow(self, job_id: str, query: Query, backlog: Backlog) -> bool:
        """Returns whether the socket takes one more."""
        with self._lock:
            topic = self._topics.get(job_id)
            if self._is_closed or (topic is None and len(self._topics) >= MAX_TOPICS):
                return False
            if topic is None:
                topic = self._topics[job_id] = Topic(job_id, query)
                self._begun.append(topic)
            elif not topic.takes(query):
                return False
            topic.follow(backlog)
            self._silence = min(self._silence, query.silence)
        self._wake()
        return True

    def leave(self, job_id: str, backlog: Backlog) -> None:
        """The backlog gets no more states."""
        backlog.close()
        with self._lock:
            topic = self._topics.get(job_id)
            if topic is not None and backlog in topic.backlogs:
                topic.backlogs.remove(backlog)
                if not topic.backlogs:
                    self._drop(topic)
        self._wake()

    def _drop(self, topic: Topic) -> None:
        if self._topics.pop(topic.job_id, None) is None:
            return
        if topic in self._begun:
            self._begun.remove(topic)
        else:
            self._left.append(topic.job_id)
        self._idle_since = time.monotonic()

    def _wake(self) -> None:
        try:
            self._writing.send(b"x")
        except OSError:
            # It is awake already, or over.
            pass

    def abandon(self) -> None:
        """In the child of a fork, which does not have the thread: the loops begin anew."""
        self._is_closed = True
        for topic in self._topics.values():
            for backlog in topic.backlogs:
                backlog.abandon(RetryLater("the process was forked", 0.0))
        self._topics.clear()
        self._close_pair()
        if self._websocket is not None:
            self._websocket.abandon()

    def _close_pair(self) -> None:
        self._reading.close()
        self._writing.close()

    # The thread

    def _run(self) -> None:
        backoff = Backoff(random.Random())
        try:
            while not self._is_done():
                begun = time.monotonic()
                wait = self._connect()
                if time.monotonic() - begun >= STABLE:
                    backoff.reset()
                drawn = backoff.next()
                self._sleep(drawn if wait is None else min(LONGEST_WAIT, wait) + (drawn if self._is_lost else 0.0))
        except NoSocket as why:
            with _lock:
                while len(_without) >= MAX_WITHOUT:
                    del _without[next(iter(_without))]
                _without[self._server] = time.monotonic() + WITHOUT
            self._finish(why)
        except Exception as error:
            self._finish(error)
        finally:
            self._close_pair()

    def _connect(self) -> Optional[float]:
        """One connection, until it is lost or not needed. Returns how long the server asks to wait, if it does."""
        try:
            try:
                self._asked, self._renew_at = time.monotonic(), None
                self._websocket = WebSocket(*self._server, TIMEOUT)
                self._present = self._websocket.token
                self._converse(self._websocket)
            except NotAWebSocket as answer:
                raise self._refusal(answer) from answer
            except Closed as closed:
                raise self._reason(closed) from closed
            finally:
                if self._websocket is not None:
                    self._websocket.release()
                    self._websocket = None
                self._disconnected()
        except Failure as failure:
            names = self._names()
            # A socket that is only kept for the next watch may be lost.
            if names and not self._is_lost and not (isinstance(failure, RetryLater) and self.has_connected):
                self._is_lost = True
                _notice.notify(f"cannot watch {names}; retrying: {failure}")
            return failure.retry_after if isinstance(failure, RetryLater) else None
        return 0.0

    def _disconnected(self) -> None:
        now, self._give_up_at = time.monotonic(), None
        with self._lock:
            for topic in self._topics.values():
                topic.forgotten.disconnected(now)

    def _converse(self, websocket: WebSocket) -> None:
        with self._lock:
            self._begun.clear()
            self._left.clear()
            self._renewed = None
            commands: list[Any] = [topic.subscribe() for topic in self._topics.values()]
        heard = time.monotonic()
        while not self._is_done():
            if commands:
                websocket.send(commands, TIMEOUT)
                commands = []
            now = time.monotonic()
            left = heard + self._silence - now
            if left <= 0:
                raise Lost("the server does not answer in time")
            if self._renew_at is not None:
                if self._renew_at <= now:
                    self._renew()
                else:
                    left = min(left, self._renew_at - now)
            give_up_at = self._give_up(now)
            if give_up_at is not None:
                left = min(left, give_up_at - now)
            if self._wait(websocket, left if self._topics else min(left, LINGER)):
                messages = websocket.receive(self._silence)
                heard = time.monotonic()
                for message in messages:
                    commands += self._message(message)
            commands += self._changes()
        websocket.close(TIMEOUT)

    def _give_up(self, now: float) -> Optional[float]:
        """Ends the loops of jobs that were forgotten a while ago. Returns when to look again, if at all."""
        if self._give_up_at is not None and self._give_up_at <= now:
            with self._lock:
                for topic in list(self._topics.values()):
                    if topic.give_up(now):
                        self._drop(topic)
                ends = [topic.forgotten.until for topic in self._topics.values()]
            self._give_up_at = min((end for end in ends if end is not None), default=None)
        return self._give_up_at

    def _look_at(self, topic: Topic) -> None:
        until = topic.forgotten.until
        if until is not None and (self._give_up_at is None or until < self._give_up_at):
            self._give_up_at = until

    def _renew(self) -> None:
        """Asks for another token, in a thread: states go on meanwhile. Without one, the server closes the socket."""
        self._renew_at = None

        def ask() -> None:
            try:
                token = _credential.ask(self._server.token)
            except Lost:
                return
            # The same one again would expire as soon.
            if token and token != self._present:
                with self._lock:
                    self._renewed = token
                self._wake()

        try:
            threading.Thread(target=ask, name="milepost-token", daemon=True).start()
        except RuntimeError:
            # There are no more threads.
            pass

    def _changes(self) -> list[Any]:
        """The commands of the loops that have begun or ended, and a new token."""
        with self._lock:
            # A job that was left and is watched again has to be left first.
            commands: list[Any] = [{"type": "unsubscribe", "job_id": each} for each in self._left]
            commands += [topic.subscribe() for topic in self._begun]
            if self._renewed is not None:
                self._present = self._renewed
                commands.append({"type": "auth", "token": self._renewed})
            self._left.clear()
            self._begun.clear()
            self._renewed = None
        return commands

    def _message(self, text: bytes) -> list[Any]:
        """Handles a message of the server's. Returns commands to send."""
        state = read_state(text)
        with self._lock:
            if state is not None:
                topic = self._topics.get(state.job_id)
                command = None if topic is None else topic.state(state)
                if topic is not None and topic.is_over:
                    self._drop(topic)
                return [] if command is None else [command]
            self._event(_decode(text))
        return []

    def _event(self, event: dict[str, Any]) -> None:
        kind, job_id = event.get("type"), event.get("job_id")
        topic = self._topics.get(job_id) if isinstance(job_id, str) else None
        if kind == "connected":
            self.has_connected = True
            self._rejections.accept()
            if self._is_lost:
                self._is_lost = False
                _notice.notify(f"watching {self._names() or 'jobs'} works again")
        elif kind == "subscribed" and topic is not None:
            topic.subscribed(event.get("known") is not False, time.monotonic())
            self._look_at(topic)
            if topic.is_over:
                self._drop(topic)
        elif kind == "token_expiring" and _credential.is_renewable(self._server.token):
            seconds = event.get("in")
            left = seconds if isinstance(seconds, (int, float)) else 0.0
            self._renew_at = time.monotonic() + left / 3
        elif kind == "error" and topic is not None:
            self._reject(topic, str(event.get("problem")), str(event.get("message")))
        elif kind == "error":
            self._why_refused = str(event.get("message"))

    def _reject(self, topic: Topic, problem: str, detail: str) -> None:
        if problem == "unreadable-job":
            _notice.notify(f"the server cannot read {topic.job_id}: {detail}")
            return
        if problem == "unknown-job":
            topic.unknown(time.monotonic())
            self._look_at(topic)
            return
        status = _REFUSED.get(problem)
        topic.finish(NoSocket(detail) if status is None else WatchRefused(status, detail))
        self._drop(topic)

    def _refusal(self, answer: NotAWebSocket) -> Exception:
        is_passing = answer.status >= 500 or answer.status in (408, 425, 429)
        if is_passing or self.has_connected:
            return RetryLater(str(answer), _http.retry_after(answer.retry_after))
        return NoSocket(str(answer))

    def _reason(self, closed: Closed) -> Exception:
        if closed.code == 4401:
            return self._rejections.reject(self._why_refused or closed.reason, self._asked)
        if 4400 <= closed.code < 4500:
            return WatchRefused(closed.code - 4000, self._why_refused or closed.reason)
        if closed.code in (1002, 1007, 1009):
            return NoSocket(str(closed))
        if closed.code in (1012, 1013):
            return RetryLater(str(closed), closed.retry_after)
        return Lost(str(closed))

    def _wait(self, websocket: WebSocket, timeout: float) -> bool:
        """Waits until there is something to read, or to do. Returns whether there is something to read."""
        if websocket.has_pending:
            return True
        return websocket.fileno() in self._poll([websocket.fileno()], timeout)

    def _sleep(self, seconds: float) -> None:
        """Waits, but not if nobody watches any more."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._is_done():
            self._poll([], left if self._topics else min(left, LINGER))

    def _poll(self, files: list[int], timeout: float) -> list[int]:
        """The files that can be read; this is over at once if a loop has begun or ended."""
        files = [*files, self._reading.fileno()]
        if hasattr(select, "poll"):
            # Unlike `select`, it takes any file.
            poll = select.poll()
            for each in files:
                poll.register(each, select.POLLIN)
            found = [each for each, _ in poll.poll(max(0.0, timeout) * 1000)]
        else:
            found = select.select(files, [], [], max(0.0, timeout))[0]
        if self._reading.fileno() in found:
            self._reading.recv(4096)
        return found

    def _is_done(self) -> bool:
        """Whether the socket is not needed any more. If so, it takes no more loops."""
        with _lock, self._lock:
            if not self._topics and time.monotonic() - self._idle_since >= LINGER:
                self._retire()
            return self._is_closed

    def _finish(self, error: BaseException) -> None:
        with _lock, self._lock:
            self._retire()
            for topic in self._topics.values():
                topic.finish(error)
            self._topics.clear()

    def _retire(self) -> None:
        self._is_closed = True
        others = [each for each in _sockets.get(self._server, ()) if each is not self]
        if others:
            _sockets[self._server] = others
        else:
            _sockets.pop(self._server, None)

    def _names(self) -> str:
        """The job, or how many there are; empty if there are none."""
        with self._lock:
            topics = list(self._topics)
        return f"{len(topics)} jobs" if len(topics) > 1 else "".join(topics)


def _decode(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _before_fork() -> None:
    # No thread is in the middle of a change while the process is copied.
    _lock.acquire()
    for sockets in _sockets.values():
        for each in sockets:
            each._lock.acquire()


def _after_fork() -> None:
    for sockets in _sockets.values():
        for each in sockets:
            each._lock.release()
    _lock.release()


def _after_fork_in_child() -> None:
    known = [each for sockets in _sockets.values() for each in sockets]
    _after_fork()
    _sockets.clear()
    for each in known:
        each.abandon()
    # Their streams may be locked for good: they must not be collected, which closes them.
    _abandoned.extend(known)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
