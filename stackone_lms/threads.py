"""Threads of the package's own. They are daemons: the interpreter ends without waiting for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

R = TypeVar("R")


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Run a function in a new daemon thread, with the stack that threads of this process have."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
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
