"""The client-side rate limit and the pauses that servers ask for: who may send, and when."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from .options import RateLimit

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[object]]


class Quota:
    """Stands in the place of a `RateLimit`: makes the limiter of a client. See `stackone_lms.shared_limit`.

    Attributes:
        requests: Requests in any window of `per` seconds.
        per: Length of the window in seconds.
    """

    requests: int
    per: float

    def limiter(self, *, clock: Clock, sleep: Sleep) -> Limiter:
        """Return a new limiter for one client."""
        raise NotImplementedError


class Limiter:
    """Lets at most `limit.requests` pass in any `limit.per` seconds, first come, first served.

    A token bucket of `burst` tokens that fills at `(requests - burst) / per` a second, so that the two together
    never exceed the limit in any window. Cancelling a waiting caller costs nobody a token.

    Args:
        limit: The limit; None lets everything pass, apart from `pause`.
        clock: Monotonic seconds.
        sleep: Suspends for so many seconds.
        slack: Part of `per`, at most one second, by which windows are longer here than where the requests arrive:
            the first of a window may be under way longer than the last (it has to connect).
    """

    def __init__(self, limit: RateLimit | None, *, clock: Clock, sleep: Sleep, slack: float = 0.0) -> None:
        self.limit = limit
        self.requests: int | None = None if limit is None else limit.requests
        self.per: float | None = None if limit is None else limit.per
        self._clock, self._sleep = clock, sleep
        self._queue: deque[asyncio.Future[None]] = deque()
        self._paused_until = float("-inf")
        if limit is None:
            self._burst, self._rate = float("inf"), float("inf")
        else:
            burst = limit.burst or max(1, limit.requests // 50)
            self._burst = float(burst)
            # burst + rate * per <= requests; a burst of one may run at the full rate, a hair wider than even.
            steady = limit.requests * (1 - 1e-6) if burst == 1 else max(limit.requests - burst, 1 - 1e-6)
            self._rate = steady / (limit.per + min(1.0, slack * limit.per))
        self._tokens = self._burst
        self._filled_at = clock()

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._queue)

    @property
    def tokens(self) -> float | None:
        """How many could pass at once now; None without a limit."""
        if self.limit is None:
            return None
        return min(self._burst, self._tokens + max(0.0, self._clock() - self._filled_at) * self._rate)

    @property
    def rate(self) -> float | None:
        """Requests a second that the limit allows for long; None without a limit."""
        return None if self.limit is None else self._rate

    @property
    def paused_for(self) -> float:
        """Seconds until the pause that a server asked for is over; 0 if there is none."""
        return max(0.0, self._paused_until - self._clock())

    def pause(self, seconds: float) -> None:
        """Let nobody pass for so many seconds (a `Retry-After`); a longer pause under way stays."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def try_acquire(self) -> bool:
        """Pass without waiting if there is room and nobody is ahead."""
        if self._queue or self._delay() > 0:
            return False
        self._tokens -= 1.0
        return True

    def give_back(self) -> None:
        """Return the token of somebody who passed and then sent nothing."""
        self._tokens = min(self._burst, self._tokens + 1.0)

    async def acquire(self) -> None:
        """Wait for one's turn and pass."""
        if self.try_acquire():
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            if self._queue[0] is not turn:
                await turn
            await self._admit()
        finally:
            first = self._queue[0] is turn
            self._queue.remove(turn)
            if first:
                self._wake()

    def close(self) -> None:
        """Give back what the limiter holds open."""

    async def _admit(self) -> None:
        while (delay := self._delay()) > 0:
            await self._sleep(delay)
        self._tokens -= 1.0

    def _wake(self) -> None:
        if self._queue and not self._queue[0].done():
            self._queue[0].set_result(None)

    def _delay(self) -> float:
        now = self._clock()
        if self.limit is None:
            return self._paused_until - now
        tokens = self._tokens
        if now > self._filled_at:
            tokens += (now - self._filled_at) * self._rate
            tokens = min(tokens, self._burst)
            self._tokens, self._filled_at = tokens, now
        # A hair more than needed, or rounding could leave the bucket a fraction short for ever.
        wait = (1.0 - tokens) / self._rate + 1e-9 if tokens < 1.0 - 1e-9 else 0.0
        pause = self._paused_until - now
        return max(pause, wait)
