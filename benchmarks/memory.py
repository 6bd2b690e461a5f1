"""The peak of this process's memory, watched from a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import psutil


@contextlib.contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """Watch the resident memory; yields a function that returns the most bytes so far."""
    process, stop = psutil.Process(), threading.Event()
    most = process.memory_info().rss

    def sample() -> None:
        nonlocal most
        while not stop.wait(0.01):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    try:
        yield lambda: most
    finally:
        stop.set()
        watcher.join()
