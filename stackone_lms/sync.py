"""`SyncClient`: the same calls, carried over to an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import anyio
from anyio.from_thread import BlockingPortal

from .api.accounts import AccountIds, Accounts, SyncAccounts, SyncAccountsExecutor
from .base_client import BaseClient
from .calls.operation import SyncExecutor
from .calls.request import REQUEST_KEYWORDS, RequestResult
from .checks import known_keywords, levels_to_the_caller
from .client import HTTPMethod
from .engine.call import BoundExecutor, Engine
from .engine.lifecycle import get_running_loop
from .errors import ClientClosedError, ConfigurationError, ForkedError
from .options import VIEW_OPTIONS
from .threads import ProcessLock, start_kept_thread, start_thread

if TYPE_CHECKING:
    from .diagnosis import CheckReport

T = TypeVar("T")

_adoption_lock = ProcessLock()

_CLOSING_TIME = 2.0
"""Seconds that closing may take, in all."""


class PortalThread:
    """An event loop in a daemon thread, with an anyio BlockingPortal that ends it.

    `anyio.from_thread.start_blocking_portal` would hang the interpreter at exit when it is never left, so the
    thread is our own. Calls go to the loop directly: the portal waits, without limit, until the loop has taken them.

    Raises:
        ClientClosedError: The interpreter is ending and starts no threads any more.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._given: dict[Future[Any], Coroutine[Any, Any, Any]] = {}
        self._stopping = self._ended = False
        ready: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]] = Future()
        start_kept_thread()  # the loop would need it, and may come to that too late
        self._thread = start_thread(lambda: self._run(ready), "stackone_lms")
        self.portal, self._loop = ready.result()

    def _run(self, ready: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]]) -> None:
        async def main() -> None:
            async with BlockingPortal() as portal:
                ready.set_result((portal, asyncio.get_running_loop()))
                await portal.sleep_until_stopped()
            self._stopping = self._ended = True

        try:
            anyio.run(main)
        except BaseException as error:  # noqa: BLE001 (the one who waits has to hear of it)
            if not ready.done():
                ready.set_exception(error)
        self._stopping = self._ended = True
        for future, coroutine in self._given.copy().items():  # what the loop was given and did not come to
            future.cancel()
            coroutine.close()

    @property
    def usable(self) -> bool:
        """Whether the thread runs, in this process, and goes on to."""
        return self._pid == os.getpid() and self._thread.is_alive() and not sys.is_finalizing()

    @property
    def runs(self) -> bool:
        """Whether its loop takes calls."""
        return self.usable and not self._stopping

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the portal's own."""
        return threading.current_thread() is self._thread

    def submit(self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any) -> Future[T]:
        """Run a coroutine function on the loop, without waiting for anything.

        Raises:
            ClientClosedError: The loop has ended.
        """
        coroutine = self._contained(function, args)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except BaseException as error:
            coroutine.close()
            if isinstance(error, RuntimeError) and self._loop.is_closed():
                raise ClientClosedError("the client is closed") from None
            raise
        self._given[future] = coroutine
        future.add_done_callback(self._forget)
        if self._loop.is_closed():
            future.cancel()
            coroutine.close()
        return future

    def _forget(self, future: Future[Any]) -> None:
        self._given.pop(future, None)

    async def _contained(self, function: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...]) -> T:
        if self._ended:  # the loop has cancelled all that it had, and would leave this behind
            raise asyncio.CancelledError
        # SystemExit or KeyboardInterrupt in a portal's task would end the portal for everybody.
        try:
            return await function(*args)
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(f"{type(error).__name__} inside a call") from None

    def stop(self, within: float = _CLOSING_TIME) -> None:
        """End the loop and the thread; waits so many seconds at most."""
        self._stopping = True
        if self.usable:
            with contextlib.suppress(ClientClosedError):
                self.submit(self.portal.stop, True)
            self._thread.join(within)


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


class PortalExecutor(SyncExecutor, shown_as="SyncClient"):
    """Carries calls over to the loop in the other thread, and waits for them."""

    def __init__(self, aio: BoundExecutor, shared: _Shared) -> None:
        self.aio, self._engine, self._shared = aio, aio.engine, shared

    def run(self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any) -> T:
        """Run a coroutine function on the other loop and wait; Ctrl-C cancels it there."""
        future: Future[T] = self._thread().submit(function, *args)
        try:
            if sys.platform == "win32":
                _wait_interruptibly(future)
            return future.result()
        except CancelledError:
            if not self._shared.closed and self._thread_runs():  # what ran in it raised this, such as a hook
                raise
            raise ClientClosedError("the client is closed") from None  # the loop ended first
        except BaseException:
            future.cancel()
            raise

    def _thread_runs(self) -> bool:
        thread = self._shared.thread
        return thread is not None and thread.runs

    def _thread(self) -> PortalThread:
        shared = self._shared
        if shared.pid != os.getpid():
            shared.adopt()
        if shared.closed:
            raise ClientClosedError("the client is closed")
        _refuse_green_threads()  # each time: they may be patched after the first call
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
        if sys.is_finalizing():  # threads do not run any more: nobody would answer
            raise ClientClosedError("the interpreter is ending")
        if get_running_loop() is not None and not shared.warned:
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


_GREEN = {
    "gevent": ("gevent.monkey", "is_module_patched", "threading"),
    "eventlet": ("eventlet.patcher", "is_monkey_patched", "thread"),
}
"""Of what puts threads of its own in the place of the system's: how to ask it whether it has."""


def _refuse_green_threads() -> None:
    for name, (module, question, threads) in _GREEN.items():
        ask: Any = getattr(sys.modules.get(module), question, None)
        if ask is not None and ask(threads):
            raise ConfigurationError(
                f"SyncClient needs threads of the system, and {name} has patched them: use it in a process where "
                f"{name} patches nothing"
            )


_ending: set[asyncio.Task[None]] = set()


def _finish(thread: PortalThread, engine: Engine) -> None:
    """Close the client on its loop, then end the loop; bounded in time, and nothing in a forked child."""
    if thread.is_current:  # the garbage collector found the client, and happened to run there
        with contextlib.suppress(RuntimeError):  # no loop runs: it has ended already
            task = asyncio.get_running_loop().create_task(_finish_within(thread.portal, engine))
            _ending.add(task)
            task.add_done_callback(_ending.discard)
        return
    if not thread.usable:
        return
    end = time.monotonic() + _CLOSING_TIME
    try:
        with contextlib.suppress(ClientClosedError, CancelledError, TimeoutError):
            thread.submit(engine.aclose).result(_CLOSING_TIME)
    finally:
        thread.stop(max(0.0, end - time.monotonic()))


async def _finish_within(portal: BlockingPortal, engine: Engine) -> None:
    await engine.aclose()
    await portal.stop(cancel_remaining=True)


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
        stacklevel=levels_to_the_caller(),
    )


class SyncClient(BaseClient[SyncExecutor]):
    """A client of the StackOne Unified LMS API, for code without asyncio.

    The same calls as `AsyncClient`, run on an event loop in a thread of its own, which the first call starts. Threads
    may share it. Use `with`, or call `close()`; left open, it ends with the interpreter. Where gevent or eventlet has
    patched threads, the first call raises a ConfigurationError.
    """

    def _accept_session(self) -> None:
        raise ConfigurationError(
            "SyncClient cannot use a session that was made elsewhere, since it has an event loop of its own: "
            "pass session_factory=, a function that makes the session there"
        )

    def _executor_for(self, bound: BoundExecutor) -> SyncExecutor:
        if "_shared" not in self.__dict__:
            self._shared = _Shared()
        self._portal_executor = PortalExecutor(bound, self._shared)
        return self._portal_executor

    def for_accounts(self, account_ids: AccountIds) -> SyncAccounts:
        """Return the resources of several accounts at once: every read is performed in each of them.

        Args:
            account_ids: The linked accounts: their ids, or what `accounts.list()` delivers, such as
                `client.accounts.list(status="active")`, which is walked here; or the `pathlib.Path` of a file with one
                id a line.

        Raises:
            InvalidArgumentError: There are none, or one of them cannot be an account.
        """
        executors = self._by_account(account_ids)
        return Accounts(SyncAccountsExecutor(executors, self._portal_executor), len(executors))

    @overload
    def request(
        self,
        method: HTTPMethod,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        account_id: str | EllipsisType | None = ...,
        answer: type[T],
    ) -> RequestResult[T]: ...
    @overload
    def request(
        self,
        method: HTTPMethod,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        account_id: str | EllipsisType | None = ...,
    ) -> RequestResult[Any]: ...
    def request(
        self,
        method: HTTPMethod,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        account_id: str | EllipsisType | None = ...,
        answer: Any = Any,
        **unknown: Any,
    ) -> RequestResult[Any]:
        """Send a request to any endpoint of the API; see `AsyncClient.request` for what it takes and raises."""
        known_keywords("request", unknown, REQUEST_KEYWORDS, elsewhere=VIEW_OPTIONS)
        executor, operation, args = self._describe_request(method, path, query, body, headers, account_id, answer)
        return self._portal_executor.run(executor.execute, operation, args)

    def check(self) -> CheckReport:
        """Find out whether everything works; see `AsyncClient.check` for what it looks at and returns."""
        from .diagnosis import diagnose  # noqa: PLC0415 (seldom needed)

        return self._portal_executor.run(diagnose, self._subject())

    def close(self) -> None:
        """Close the client and all its views; calls under way end with ClientClosedError. Closing twice is fine."""
        self._portal_executor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
