"""`SyncClient`: the same calls, carried over to an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from .api.accounts import Accounts, SyncAccountsExecutor
from .bulk.ids import Ids
from .calls.operation import SyncExecutor, SyncFanOutExecutor
from .client import BaseClient
from .engine.call import BoundExecutor, Engine
from .errors import ClientClosedError, ForkedError
from .threads import start_thread

T = TypeVar("T")

_PACKAGE = __name__.partition(".")[0]
_adoption_lock = threading.Lock()


def _renew_lock() -> None:
    global _adoption_lock  # noqa: PLW0603 (another thread may have held it when the process forked)
    _adoption_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class PortalThread:
    """An event loop in a daemon thread, reached through an anyio BlockingPortal.

    `anyio.from_thread.start_blocking_portal` would hang the interpreter at exit when it is never left, so the
    thread is our own: it ends with `stop`, which a finalizer calls while threads still work.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        ready: Future[BlockingPortal] = Future()
        self._thread = start_thread(lambda: _run_portal(ready), "stackone_lms")
        self.portal = ready.result()

    @property
    def usable(self) -> bool:
        """Whether the thread runs, in this process."""
        return self._pid == os.getpid() and self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the portal's own."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End the loop and the thread; waits two seconds at most. Does nothing in a forked child."""
        if not self.usable:
            return
        try:
            self.portal.start_task_soon(self.portal.stop, True)
        except RuntimeError:
            return
        if not self.is_current:
            self._thread.join(2.0)


def _run_portal(ready: Future[BlockingPortal]) -> None:
    async def main() -> None:
        async with BlockingPortal() as portal:
            ready.set_result(portal)
            await portal.sleep_until_stopped()

    try:
        anyio.run(main)
    except BaseException as error:  # noqa: BLE001 (the one who waits has to hear of it)
        if not ready.done():
            ready.set_exception(error)


class _Shared:
    """What all views of a blocking client share: the thread, made at the first call."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: PortalThread | None = None
        self.pid = os.getpid()
        self.closed = False
        self.warned = False

    def adopt(self) -> None:
        """Belong to this process, a fork of the one where the client was made: if unused, it holds nothing.

        Raises:
            ForkedError: It has been used.
        """
        if self.thread is not None:
            raise ForkedError("this client was used before a fork; make a new one in the child process")
        with _adoption_lock:
            if self.pid != os.getpid():
                self.lock, self.pid = threading.Lock(), os.getpid()


class PortalExecutor(SyncExecutor):
    """Carries calls over to the loop in the other thread, and waits for them."""

    def __init__(self, aio: BoundExecutor, shared: _Shared) -> None:
        self.aio, self._engine, self._shared = aio, aio.engine, shared

    def run(self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any) -> T:
        """Run a coroutine function on the other loop and wait; Ctrl-C cancels it there."""
        thread = self._thread()
        try:
            future: Future[T] = thread.portal.start_task_soon(_contained, function, args)
        except RuntimeError:
            raise ClientClosedError("the client is closed") from None
        try:
            if sys.platform == "win32":
                _wait_interruptibly(future)
            return future.result()
        except CancelledError:  # the loop ended before the call had begun
            raise ClientClosedError("the client is closed") from None
        except BaseException:
            future.cancel()
            raise

    def _thread(self) -> PortalThread:
        shared = self._shared
        if shared.pid != os.getpid():
            shared.adopt()
        if shared.closed:
            raise ClientClosedError("the client is closed")
        thread = shared.thread
        if thread is None:
            with shared.lock:
                if shared.closed:
                    raise ClientClosedError("the client is closed")
                thread = shared.thread
                if thread is None:
                    thread = shared.thread = PortalThread()
                    weakref.finalize(shared, _finish, thread, self._engine)
        if thread.is_current:
            raise RuntimeError("a SyncClient cannot be called from its own event loop")
        if asyncio._get_running_loop() is not None and not shared.warned:  # pyright: ignore[reportPrivateUsage]
            shared.warned = True
            _warn_of_blocking()
        return thread

    def close(self) -> None:
        """Close the client behind and end the thread."""
        shared = self._shared
        if shared.pid != os.getpid():
            if shared.thread is None:
                shared.closed = True
            return
        if shared.thread is not None and shared.thread.is_current:
            raise RuntimeError("a SyncClient cannot be closed from its own event loop")
        with shared.lock:
            shared.closed = True
        if shared.thread is None:
            self._engine.close_unused()
        else:
            _finish(shared.thread, self._engine)


_ending: set[asyncio.Task[None]] = set()


def _finish(thread: PortalThread, core: Engine) -> None:
    """Close the client on its loop, then end the loop; bounded in time, and nothing in a forked child."""
    if thread.is_current:  # the garbage collector found the client, and happened to run there
        with contextlib.suppress(RuntimeError):  # no loop runs: it has ended already
            task = asyncio.get_running_loop().create_task(_finish_within(thread.portal, core))
            _ending.add(task)
            task.add_done_callback(_ending.discard)
        return
    if thread.usable:
        with contextlib.suppress(RuntimeError, TimeoutError):
            thread.portal.start_task_soon(core.aclose).result(5.0)
    thread.stop()


async def _finish_within(portal: BlockingPortal, core: Engine) -> None:
    await core.aclose()
    await portal.stop(cancel_remaining=True)


async def _contained(function: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...]) -> T:
    # SystemExit or KeyboardInterrupt in a portal's task would end the portal for everybody.
    try:
        return await function(*args)
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"{type(error).__name__} inside a call") from None


def _wait_interruptibly(future: Future[Any]) -> None:
    # Waiting without a timeout ignores Ctrl-C on Windows.
    while not future.done():
        try:
            future.exception(0.2)
        except TimeoutError:
            continue
        except BaseException:
            if not future.done():
                raise


def _warn_of_blocking() -> None:
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        return  # a notebook cell may block its loop
    warnings.warn(
        "SyncClient is called where an event loop runs and blocks it; use AsyncClient there",
        RuntimeWarning,
        stacklevel=_levels_to_the_caller(),
    )


def _levels_to_the_caller() -> int:
    """Return how far up from the function that asks the first code is that is not this package's own."""
    frame, level = sys._getframe(1), 1  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame, level = frame.f_back, level + 1
    return level


class SyncClient(BaseClient[SyncExecutor]):
    """A client of the StackOne Unified LMS API, for code without asyncio.

    The same calls as `AsyncClient`, run on an event loop in a thread of its own, which the first call starts. Threads
    may share it. Use `with`, or call `close()`; left open, it ends with the interpreter.
    """

    def _executor_for(self, bound: BoundExecutor) -> SyncExecutor:
        if "_shared" not in self.__dict__:
            self._shared = _Shared()
        self._portal_executor = PortalExecutor(bound, self._shared)
        return self._portal_executor

    def for_accounts(self, account_ids: Ids) -> Accounts[SyncFanOutExecutor]:
        """Return the resources of several accounts at once: every read is performed in each of them.

        Args:
            account_ids: The linked accounts: a list, or the `pathlib.Path` of a file with one id a line.

        Raises:
            InvalidArgumentError: There are none, or one of them cannot be an account id.
        """
        executors = self._by_account(account_ids)
        return Accounts(SyncAccountsExecutor(executors, self._portal_executor), len(executors))

    def close(self) -> None:
        """Close the client and all its views; calls under way end with ClientClosedError. Closing twice is fine."""
        self._portal_executor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
