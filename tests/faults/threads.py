"""A fault server for code that blocks its thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager

from .server import FaultServer


@contextmanager
def serving(server: FaultServer) -> Generator[FaultServer]:
    """Run a server on an event loop in a thread of its own."""
    ready = threading.Event()
    loop: asyncio.AbstractEventLoop | None = None
    done: asyncio.Event | None = None

    async def main() -> None:
        nonlocal loop, done
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        async with server:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="fault server")
    thread.start()
    if not ready.wait(5):
        raise RuntimeError("the fault server did not start")
    try:
        yield server
    finally:
        assert loop is not None
        assert done is not None
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
