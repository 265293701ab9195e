"""Native threads and locks, even if gevent or eventlet has replaced Python's own.

A greenlet that waits for a native lock stops every greenlet of its thread, and a lock of gevent or eventlet cannot be
shared with a native thread. So the sender is always a native thread, and the locks that it shares with the program are
native, whether the program is patched or not, before or after the import of this package.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

_POLL = 0.005
"""How often a waiting greenlet checks its flag, in seconds."""


def _own_copy_of_thread() -> Any:
    """An unpatched copy of the module `_thread`. Patches change only the copy in `sys.modules`.

    Eventlet also replaces every existing lock of the type `threading.RLock`. The copy's locks have another type, which
    eventlet does not find.
    """
    # Python 3.9 has only one copy. An attempt to make another one would take the patches back.
    spec = importlib.util.find_spec("_thread") if sys.version_info >= (3, 10) else None
    if spec is not None and spec.loader is not None:
        copy: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(copy)
        if copy is not sys.modules.get("_thread"):
            return copy
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
    """Whether the program's threads are greenlets at present."""
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
    """Whether this code runs in a thread that this module started."""
    return get_ident() in _own


def forget_threads() -> None:
    """In the child of a fork, which has none of its parent's threads."""
    _own.clear()


class Flag:
    """An event that happens once. Any thread or greenlet may wait for it."""

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
        """Waits for at most `timeout` seconds. Returns whether it has happened."""
        if are_greenlets() and not is_own():
            # Other greenlets run meanwhile: `sleep` is the patched one.
            deadline = time.monotonic() + timeout
            while not self._is_set and time.monotonic() < deadline:
                time.sleep(_POLL)
        elif not self._is_set and self._lock.acquire(True, max(0.0, timeout)):
            # Lets all other waiters through.
            self._lock.release()
        return self._is_set


def _import_what_hubs_need() -> None:
    """Lets gevent import the modules that it needs for a thread's first hub.

    redis-py uses gevent's sockets in the sender, which creates a hub for that thread. If another thread creates its
    first hub at the same time, as the main thread does at its exit, both wait forever for the same import, whose lock
    needs a hub. Importing before there are two threads avoids this deadlock.
    """
    config = getattr(sys.modules.get("gevent"), "config", None)
    for setting in ("loop", "format_context", "resolver", "threadpool"):
        try:
            getattr(config, setting)
        except Exception:  # an unknown or misconfigured gevent, which will raise where it is used
            pass
    if config is not None:
        try:
            importlib.import_module("gevent.resolver.blocking")
        except Exception:  # likewise
            pass


def resolve_here() -> None:
    """Lets the present thread look up names itself, if it is one of our own and gevent's sockets are used in it.

    Otherwise, gevent has another thread do that. From Python 3.12 on, no thread can be started while the process exits,
    which is when the last states of a short program are sent.
    """
    if is_own() and _is_patched_by_gevent():
        hub = sys.modules["gevent"].get_hub()
        hub.resolver = sys.modules["gevent.resolver.blocking"].Resolver(hub)


class Thread:
    """A native thread. The exit of the process does not wait for it."""

    def __init__(self, run: Callable[[], object], name: str) -> None:
        self._run = run
        self._name = name
        self._ended = Flag()
        self._is_greenlets = are_greenlets()
        if self._is_greenlets:
            _import_what_hubs_need()

    def start(self) -> None:
        """Starts it, without waiting until it runs. Raises RuntimeError if no more threads can be created."""
        if self._is_greenlets:
            _start_new_thread(self._main, ())
        else:
            # A `threading.Thread` has a name for debuggers and profilers. But its `start` waits until the new thread
            # runs, where a finaliser may wait for a lock that the caller holds. So a helper thread calls `start`.
            named = threading.Thread(target=self._main, name=self._name, daemon=True)
            _start_new_thread(self._start, (named,))

    def _start(self, named: threading.Thread) -> None:
        try:
            named.start()
        except RuntimeError:
            # No more threads can be created, so the helper thread does the work.
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
        """Waits for at most `timeout` seconds. Returns whether it has ended."""
        return self._ended.wait(timeout)
