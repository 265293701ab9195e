"""Threads and locks of the operating system, also where gevent or eventlet has replaced Python's own.

A greenlet that waits for a lock of the operating system stops every greenlet of its thread, and a lock of gevent's or
eventlet's cannot be shared with a real thread. So the sender is always a real thread, and whatever it shares with the
program is real as well: no matter whether the program is patched, or is patched after this package was imported.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

_POLL = 0.005
"""How often a greenlet looks whether what it waits for has happened, in seconds."""


def _own_copy_of_thread() -> Any:
    """The module `_thread` as Python made it. Patches change the copy that everybody else has.

    Eventlet also replaces every lock of the type `threading.RLock` that it finds. Those of the copy have a type of
    their own, which it does not know.
    """
    spec = importlib.util.find_spec("_thread")
    if spec is not None and spec.loader is not None:
        copy: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(copy)
        if copy is not sys.modules.get("_thread"):
            return copy
    # Python 3.9 has only one copy.
    return _Unpatched()


class _Unpatched:
    def __getattr__(self, name: str) -> Any:
        if _is_patched_by_eventlet():
            return getattr(sys.modules["eventlet.patcher"].original("_thread"), name)
        gevent = sys.modules.get("gevent.monkey")
        if gevent is not None and hasattr(gevent, "get_original"):
            return gevent.get_original("_thread", name)
        return getattr(sys.modules["_thread"], name)


def _is_patched_by_eventlet() -> bool:
    asks = getattr(sys.modules.get("eventlet.patcher"), "is_monkey_patched", None)
    return asks is not None and bool(asks("thread"))


def _is_patched_by_gevent() -> bool:
    asks = getattr(sys.modules.get("gevent.monkey"), "is_module_patched", None)
    return asks is not None and bool(asks("threading"))


def are_greenlets() -> bool:
    """Whether the program's threads are greenlets by now."""
    return _is_patched_by_gevent() or _is_patched_by_eventlet()


try:
    _thread = _own_copy_of_thread()
    allocate_lock: Callable[[], Any] = _thread.allocate_lock
    RLock: Callable[[], Any] = _thread.RLock
    _start_new_thread: Callable[..., Any] = _thread.start_new_thread
    get_ident: Callable[[], int] = _thread.get_ident
except Exception:  # an interpreter that is built differently
    allocate_lock, RLock, get_ident = threading.Lock, threading.RLock, threading.get_ident
    _start_new_thread = sys.modules["_thread"].start_new_thread

_own: set[int] = set()


def is_own() -> bool:
    """Whether this code runs in a thread that was started here."""
    return get_ident() in _own


def forget_threads() -> None:
    """In the child of a fork, which has none of its parent's threads."""
    _own.clear()


class Flag:
    """Something that happens once, and may be waited for by any thread or greenlet."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._is_set = False

    @property
    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            self._lock.release()

    def wait(self, timeout: float) -> bool:
        """Waits at most so many seconds. Returns whether it has happened."""
        if are_greenlets() and not is_own():
            # Other greenlets run meanwhile: `sleep` is the patched one.
            deadline = time.monotonic() + timeout
            while not self._is_set and time.monotonic() < deadline:
                time.sleep(_POLL)
        elif not self._is_set and self._lock.acquire(True, max(0.0, timeout)):
            # Everybody else who waits is let through.
            self._lock.release()
        return self._is_set


def _import_what_hubs_need() -> None:
    """Has gevent import what it imports when a thread gets its first hub.

    redis-py uses gevent's sockets in the sender, which gives that thread a hub. If another thread gets its first one at
    the same moment, as the main thread does at its exit, both wait for the same import, whose lock needs a hub: for
    ever. What is imported before there are two threads is not waited for.
    """
    config = getattr(sys.modules.get("gevent"), "config", None)
    for setting in ("loop", "format_context", "resolver", "threadpool"):
        try:
            getattr(config, setting)
        except Exception:  # another gevent, or one that is set up wrongly: it says so where it is used
            pass


class Thread:
    """A real thread, which the process' exit does not wait for."""

    def __init__(self, run: Callable[[], object], name: str) -> None:
        self._run = run
        self._name = name
        self._ended = Flag()
        self._is_greenlets = are_greenlets()
        if self._is_greenlets:
            _import_what_hubs_need()

    def start(self) -> None:
        """Starts it, without waiting for its first step. Raises RuntimeError if there can be no more threads."""
        if self._is_greenlets:
            _start_new_thread(self._main, ())
        else:
            # Debuggers and profilers know these by name. Their `start` waits until the new thread has begun, where a
            # finaliser may wait for a lock that the caller holds. So another thread waits.
            named = threading.Thread(target=self._main, name=self._name, daemon=True)
            _start_new_thread(self._start, (named,))

    def _start(self, named: threading.Thread) -> None:
        try:
            named.start()
        except RuntimeError:
            # There may be no more threads: this one does the work.
            self._main()

    def _main(self) -> None:
        ident = get_ident()
        _own.add(ident)
        try:
            self._run()
        finally:
            _own.discard(ident)
            self._ended.set()

    @property
    def is_alive(self) -> bool:
        return not self._ended.is_set

    def join(self, timeout: float) -> bool:
        """Waits at most so many seconds. Returns whether it has ended."""
        return self._ended.wait(timeout)
