"""Threads of the package's own. They are daemons: the interpreter ends without waiting for them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from typing import Any, TypeVar

from .errors import ClientClosedError

R = TypeVar("R")


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Run a function in a new daemon thread, with the stack that threads of this process have.

    Raises:
        ClientClosedError: The interpreter is ending and starts no threads any more.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        Context().run(thread.start)  # from Python 3.14 on, threads can inherit contextvars
    except RuntimeError as error:
        if "shutdown" not in str(error):
            raise
        raise ClientClosedError("the interpreter is ending: it starts no thread for this client") from None
    return thread


def run_in_thread(function: Callable[[], R], name: str) -> asyncio.Future[R]:
    """Run a function in a new daemon thread, and return a future of what it returns or raises.

    Unlike `asyncio.to_thread` it does not wait until a thread of the loop's executor is free.
    """
    result: Future[R] = Future()

    def work() -> None:
        try:
            result.set_result(function())
        except BaseException as error:  # noqa: BLE001 (whoever waits gets it)
            result.set_exception(error)

    start_thread(work, name)
    return asyncio.wrap_future(result)


class ProcessLock:
    """A lock that is free in a forked child, where the thread that held it in the parent does not run."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _KeptThreads:
    """Daemon threads that are kept for the next function; started when all others are busy.

    Some interpreters (Python 3.12.0 to 3.12.2) start no thread any more once the main thread has ended: then those
    that are here do the work.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Not a SimpleQueue: gevent may patch queues alone, and those do not wake threads of the system.
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._available = threading.Semaphore(0)
        self._free = self._started = 0

    def start_first(self) -> None:
        with self._lock:
            if not self._started:
                self._start()
                self._free += 1

    def _start(self) -> None:
        start_thread(self._work, "stackone_lms-helper")
        self._started += 1

    def submit(self, function: Callable[[], R]) -> Future[R]:
        result: Future[R] = Future()
        with self._lock:
            if self._free > 0:
                self._free -= 1
            elif self._started < _MOST_KEPT:
                try:
                    self._start()
                except RuntimeError:
                    if not self._started:
                        raise
                    self._free -= 1
            else:
                self._free -= 1
            self._waiting.append((function, result))
        self._available.release()
        return result

    def _work(self) -> None:
        while True:
            self._available.acquire()
            function, result = self._waiting.popleft()
            wanted, found, failed = result.set_running_or_notify_cancel(), None, None
            if wanted:
                try:
                    found = function()
                except BaseException as error:  # noqa: BLE001 (whoever waits gets it)
                    failed = error
            with self._lock:  # before the result is there, so that who waited for it finds this thread free
                self._free += 1
            if failed is not None:
                result.set_exception(failed)
            elif wanted:
                result.set_result(found)
            del function, result, found, failed


_MOST_KEPT = 32
_kept = _KeptThreads()


def run_in_kept_thread(function: Callable[[], R]) -> asyncio.Future[R]:
    """Run a short function in a daemon thread that is kept for the next, and return a future of its result.

    Unlike the loop's executor these threads are the package's own: they are there when an application has filled the
    executor, when the main thread has ended, and they never keep a process from ending.

    Raises:
        ClientClosedError: There is no such thread yet, and the interpreter starts none any more.
    """
    return asyncio.wrap_future(_kept.submit(function))


def start_kept_thread() -> None:
    """Have one such thread, so that work that comes when the interpreter starts none any more is done.

    Raises:
        ClientClosedError: The interpreter starts none any more already.
    """
    _kept.start_first()


def _renew() -> None:
    global _kept  # noqa: PLW0603 (a forked child has none of these threads)
    _kept = _KeptThreads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
