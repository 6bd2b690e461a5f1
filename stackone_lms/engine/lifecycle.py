"""The life of a client: what its views share, the event loop that it is bound to, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable
from random import random
from typing import NamedTuple

from ..errors import ClientClosedError, ConfigurationError, ForkedError, WrongLoopError
from ..options import RateLimit
from ..transport.base import LazyTransport, ThisProcess, Transport
from .admission import Admission
from .concurrency import ConcurrencyLimit
from .deadlines import DeadlineTimer
from .rate_limit import Clock, Limiter, RateLimitBackend, Sleep
from .retry import Budget
from .stats import Choice, Counts, Stats

get_running_loop = asyncio._get_running_loop  # pyright: ignore[reportPrivateUsage] (None where none runs)


class BulkContext(NamedTuple):
    """What a bulk fetch has to know of its account and client."""

    concurrency: ConcurrencyLimit
    """The account's requests."""
    limiter: Limiter
    """The rate limit of the key."""
    max_concurrency: int
    """Requests under way at once, over all accounts."""
    clock: Clock
    """Monotonic seconds."""
    sleep: Sleep
    """Suspends for so many seconds."""
    choices: deque[Choice]
    """Where to note which strategy was chosen."""


class Lifecycle:
    """What all views of a client share: session, limiter, retry budget, slots, and the calls under way.

    Args:
        transport: Makes the transport, when it is first needed.
        prefix: Path of the base URL, without a slash at its end.
        rate_limit: Client-side limit, one shared with other processes, or None.
        max_concurrency: Requests under way at once.
        max_body: Most bytes of an answer.
        budget: Size of the retry budget.
        clock: Monotonic seconds.
        sleep: Suspends for so many seconds.
        random: Numbers from 0 to 1, for jitter.
        wall: Seconds since the epoch, for dates in answers that have no `Date` of their own.
    """

    def __init__(
        self,
        transport: Callable[[], Transport],
        *,
        prefix: str,
        rate_limit: RateLimit | RateLimitBackend | None,
        max_concurrency: int,
        max_body: int,
        budget: int,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = random,
        wall: Clock = time.time,
    ) -> None:
        self._prefix, self._max_body = prefix, max_body
        self._make_transport = transport
        self._transport = LazyTransport(transport)
        self._closing_with_loop: AsyncGenerator[None] | None = None
        self._clock, self._sleep, self._random, self._wall = clock, sleep, random, wall
        self.budget = Budget(budget)
        self.deadlines = DeadlineTimer(clock)
        self.counts = Counts()
        if isinstance(rate_limit, RateLimitBackend):
            limiter = rate_limit.limiter(clock=clock, sleep=sleep)
        else:
            limiter = Limiter(rate_limit, clock=clock, sleep=sleep, slack=0.02)
        self.admission = Admission(
            limiter,
            max_concurrency=max_concurrency,
            clock=clock,
            sleep=sleep,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = ThisProcess.id
        self._closed = False
        self._drained: asyncio.Future[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def _bind(self) -> asyncio.AbstractEventLoop:
        """Return the loop of the client, which is the running one.

        From one that is closed the client moves on; two that live would share connections and queues.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._process != ThisProcess.id:  # before asking for the loop: after a fork, none is running
            if self._loop is not None:
                raise ForkedError("this client was used before a fork; make a new one in the child process")
            self._process = ThisProcess.id  # never used, it holds nothing of the parent's
        loop = running_loop()
        self._leave_closed_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise WrongLoopError(
                    "this client belongs to another event loop, which is not closed; make one for each loop"
                )
            self._loop = loop
            self._closing_with_loop = closing = _close_with_loop(self._transport)
            # Begun here, without waiting for anything, since the loop then knows of it.
            with contextlib.suppress(StopIteration, ResourceWarning):  # it warns where it has ended all others already
                closing.__anext__().send(None)
        return loop

    def _leave_closed_loop(self) -> None:
        """Take along, from a loop that is closed, what is not bound to it: what the limits have found."""
        if self._loop is None or not self._loop.is_closed() or self._process != ThisProcess.id:
            return
        self._loop = self._closing_with_loop = None
        self._transport = LazyTransport(self._make_transport)
        self.deadlines = DeadlineTimer(self._clock)
        self.admission = self.admission.without_calls()

    def close_unused(self) -> None:
        """Close a client that has not made a call."""
        self._closed = True

    @property
    def transport(self) -> Transport | None:
        """What requests are sent with; None before the first."""
        return self._transport.transport

    async def aclose(self) -> None:
        """Close: calls under way and waiting end with ClientClosedError, then the session closes."""
        if self._process != ThisProcess.id:
            # What is open belongs to the parent process.
            self._closed = True
        if self._closed:
            if self._drained is not None and not self._drained.done() and self._loop is asyncio.get_running_loop():
                await asyncio.shield(self._drained)
            return
        if self._loop is not None and self._loop is not asyncio.get_running_loop() and not self._loop.is_closed():
            raise WrongLoopError("close the client on the event loop that it was used on")
        self._closed = True
        if self._loop is None or self._loop.is_closed():
            self.admission.limiter.close()
            return
        self._drained = self._loop.create_future()
        self.deadlines.close_all()
        try:
            for _ in range(100):  # about a second at most, then the session closes under them
                if not len(self.deadlines):
                    break
                await asyncio.sleep(0.01)
        finally:  # also when this is cancelled: nobody would get a second chance
            self.admission.limiter.close()
            self.deadlines.stop()
            try:
                await self._transport.close()
                if self._closing_with_loop is not None:
                    with contextlib.suppress(RuntimeError):  # the loop ends, and is at it
                        await self._closing_with_loop.aclose()
            finally:
                self._drained.set_result(None)

    def bulk_context(self, account: str | None) -> BulkContext:
        """Return what a bulk fetch has to know of an account and the client."""
        self._leave_closed_loop()
        admission = self.admission
        return BulkContext(
            concurrency=admission.limit_of(account),
            limiter=admission.limiter,
            max_concurrency=admission.max_concurrency,
            clock=self._clock,
            sleep=self._sleep,
            choices=self.counts.choices,
        )

    def stats(self) -> Stats:
        """Return a snapshot; any thread may ask."""
        return self.counts.snapshot(self.admission, self.budget, self._clock())

    def weak_stats(self) -> Callable[[], Stats | None]:
        """Return what takes a snapshot as long as the client lives, and does not keep it alive."""
        this = weakref.ref(self)

        def stats() -> Stats | None:
            engine = this()
            return None if engine is None else engine.stats()

        return stats


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        ConfigurationError: None of asyncio's runs here.
    """
    loop = get_running_loop()
    if loop is None:
        raise ConfigurationError(
            "AsyncClient needs asyncio, and no event loop of asyncio runs here (as under trio): "
            "use SyncClient in a thread, such as with trio.to_thread.run_sync"
        )
    return loop


async def _close_with_loop(transport: LazyTransport) -> AsyncGenerator[None]:
    """Close a transport when its event loop ends: `asyncio.run` closes what was begun and not ended."""
    try:
        yield
    finally:
        await transport.close()
