"""A thread for long work on records, with the stack that decoding them may need."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from ..safe_json import mark_stack
from ..sync import _start_lock  # pyright: ignore[reportPrivateUsage]

R = TypeVar("R")

_STACK: Final = 16 * 1024 * 1024


def in_thread(function: Callable[[], R]) -> asyncio.Future[R]:
    """Run a function in a thread of its own. Ending the interpreter does not wait for it, as a crash would not."""
    result: Future[R] = Future()

    def work() -> None:
        mark_stack(_STACK)
        try:
            result.set_result(function())
        except BaseException as error:  # noqa: BLE001 (whoever waits gets it)
            result.set_exception(error)

    with _start_lock:
        before = threading.stack_size(_STACK)
        try:
            threading.Thread(target=work, name="stackone_lms-export", daemon=True).start()
        finally:
            threading.stack_size(before)
    return asyncio.wrap_future(result)
