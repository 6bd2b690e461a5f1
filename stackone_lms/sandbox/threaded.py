"""A sandbox in a thread of its own."""

from concurrent.futures import Future
from contextlib import AbstractContextManager
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from .server import Sandbox

_LONGEST_STOP = 10.0


class InThread(AbstractContextManager["Sandbox"]):
    """Runs a sandbox in a daemon thread with a loop of its own, from enter to exit."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._thread: Thread | None = None
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    def __enter__(self) -> "Sandbox":
        if self._thread is not None:
            raise RuntimeError("enter a sandbox in a thread once; make another")
        self._thread = Thread(target=self._run, name="stackone-lms-sandbox", daemon=True)
        self._thread.start()
        try:
            self._started.result()
        except Exception:
            self._thread.join(_LONGEST_STOP)
            raise
        return self._sandbox

    def __exit__(self, *_: object) -> None:
        loop, stop = self._started.result()
        loop.call_soon_threadsafe(stop.set)
        if self._thread is not None:
            self._thread.join(_LONGEST_STOP)

    def _run(self) -> None:
        import asyncio  # noqa: PLC0415 (only a sandbox that starts needs a loop)

        asyncio.run(self._serve())

    async def _serve(self) -> None:
        import asyncio  # noqa: PLC0415

        stop = asyncio.Event()
        try:
            await self._sandbox.__aenter__()
        except BaseException as error:  # noqa: BLE001 (the thread that waits raises it)
            self._started.set_exception(error)
            return
        self._started.set_result((asyncio.get_running_loop(), stop))
        try:
            await stop.wait()
        finally:
            await self._sandbox.__aexit__()
