"""Who may send a request now: pauses of an account, free slots, the rate limit of the key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from .errors import Phase
from .limiter import Clock, Limiter, Sleep
from .transport.base import Watch


class Admission:
    """Lets requests pass, in the order they came, when their account, the client and the key allow it.

    Args:
        limiter: The rate limit of the API key, which all accounts share.
        max_concurrency: Requests under way at once.
        heed: Told whenever the time limit of a wait has changed.
        clock: Monotonic seconds.
        sleep: Suspends for so many seconds.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        max_concurrency: int,
        heed: Callable[[Watch], None],
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self.limiter = limiter
        self.max_concurrency = max_concurrency
        self.in_flight = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._paused: dict[str | None, float] = {}
        self._heed, self._clock, self._sleep = heed, clock, sleep

    @property
    def waiting(self) -> int:
        """How many calls wait for a slot or for the rate limit."""
        return len(self._queue) + self.limiter.waiting

    def hold(self, account: str | None, seconds: float, *, everyone: bool) -> None:
        """Let nobody of an account pass for so many seconds, or nobody at all, as a `Retry-After` asked."""
        if everyone:
            self.limiter.pause(seconds)
        self._paused[account] = max(self._paused.get(account, 0.0), self._clock() + seconds)

    async def enter(self, account: str | None, watch: Watch, end: float) -> None:
        """Wait until a request may go; each success needs a `leave` when the request is over.

        Args:
            account: The account it is for.
            watch: The time limits of the call; it cancels the wait at `end`.
            end: When, on the clock, the call has to be over.
        """
        while True:
            if self._paused:
                while (delay := self._paused.get(account, 0.0) - self._clock()) > 0:
                    await self._wait(watch, "rate_limit", end, self._sleep(delay))
                self._paused.pop(account, None)
            if self.in_flight < self.max_concurrency and not self._queue:
                self.in_flight += 1
            else:
                await self._wait(watch, "pool", end, self._slot())
                if account in self._paused:
                    self.leave()
                    continue
            if not self.limiter.try_acquire():
                try:
                    await self._wait(watch, "rate_limit", end, self.limiter.acquire())
                except BaseException:
                    self.leave()
                    raise
            return

    def leave(self) -> None:
        """Give the slot back; it goes to who waits longest, without becoming free in between."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.in_flight -= 1

    async def _wait(self, watch: Watch, phase: Phase, end: float, something: Awaitable[object]) -> None:
        watch.wait(phase, end)
        self._heed(watch)
        await something

    async def _slot(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.leave()  # it was handed over at the very moment of the cancellation
            elif turn in self._queue:  # `leave` throws out whom it finds cancelled
                self._queue.remove(turn)
            raise
