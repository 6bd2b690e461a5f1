"""SIGTERM, taken like Ctrl-C: what is under way ends in good order, and the exit code tells."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")

EXIT_CODE: Final = 128 + 15
"""What shells and supervisors take for: ended by SIGTERM."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def sigterm_as_ctrl_c() -> Generator[list[int]]:
    """Raise KeyboardInterrupt at SIGTERM meanwhile, also as the first process of a container, where it is ignored.

    Yields:
        The signals that came.
    """
    received: list[int] = []

    def take(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise TerminatedError

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = signal.signal(signal.SIGTERM, take)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine like `asyncio.run`; SIGTERM cancels it, as Ctrl-C does.

    Raises:
        KeyboardInterrupt: One of them came.
    """
    return asyncio.run(_cancelled_by_sigterm(main))


async def _cancelled_by_sigterm(main: Coroutine[Any, Any, T]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)
    handler = signal.getsignal(signal.SIGTERM)
    came = False

    def cancel() -> None:
        nonlocal came
        came = True
        task.cancel()

    installed = False
    if callable(handler):  # of `sigterm_as_ctrl_c`: whoever runs this in a program of their own keeps theirs
        with suppress(NotImplementedError, ValueError, RuntimeError):  # Windows; another thread
            loop.add_signal_handler(signal.SIGTERM, cancel)
            installed = True
    try:
        return await task
    except asyncio.CancelledError:
        if not came:
            raise
    finally:
        if installed:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, handler)
    if callable(handler):
        handler(signal.SIGTERM, None)
    raise TerminatedError
