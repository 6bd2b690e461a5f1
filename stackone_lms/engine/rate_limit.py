"""The client-side rate limit and the pauses that servers ask for: who may send, and when."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable

from ..calls.signatures import not_for_users
from ..options import RateLimit
from .concurrency import NO_PAUSE, WaitReason

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[object]]


class RateLimitBackend:
    """Stands in the place of a `RateLimit`: makes the limiter of a client. See `stackone_lms.shared_limit`.

    Attributes:
        requests: Requests in any window of `per` seconds.
        per: Length of the window in seconds.
    """

    requests: int
    per: float

    @not_for_users("each client has a limiter made")
    def limiter(self, *, clock: Clock, sleep: Sleep) -> Limiter:
        """Return a new limiter for one client."""
        raise NotImplementedError


_MAX_SLACK = 0.6


class Limiter:
    """Lets at most `limit.own_requests` pass in any `limit.per` seconds, first come, first served.

    When they passed is remembered, and another one passes only when the window has room for it: so all of the limit can
    be used. A token bucket of `burst` tokens spreads them over the window, and lets those that were held up catch up.
    Cancelling a waiting caller costs nobody a token.

    Args:
        limit: The limit; None lets everything pass, apart from `pause`.
        clock: Monotonic seconds.
        sleep: Suspends for so many seconds.
        slack: Part of `per`, at most 0.6 seconds, by which windows are longer here than where the requests arrive:
            the first of a window may be under way longer than the last (it has to connect).

    Attributes:
        wait_reason: What those wait for who do not pass at once, if it is not the end of a pause.
        last_pause: The pause under way, or the last one.
        place: Where a limit is kept that several processes share, with nothing secret.
        outage: Why a limit that is kept elsewhere cannot be reached just now.
    """

    wait_reason: WaitReason = "rate_limit"
    place: str | None = None

    def __init__(self, limit: RateLimit | None, *, clock: Clock, sleep: Sleep, slack: float = 0.0) -> None:
        self.limit = limit
        self.requests: int | None = None if limit is None else limit.own_requests
        self.per: float | None = None if limit is None else limit.per
        self._clock, self._sleep = clock, sleep
        self._queue: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._paused_until = self._widened_until = float("-inf")
        self.last_pause = NO_PAUSE
        self.outage: str | None = None
        self._history: deque[float] = deque()  # when the last `requests` callers passed: 3 MB for 100,000
        if limit is None:
            self._burst = self._rate = self._window = float("inf")
        else:
            self._burst = float(limit.burst or max(1, limit.own_requests // 20))
            self._window = limit.per + min(_MAX_SLACK, slack * limit.per)
            self._rate = limit.own_requests / self._window
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
        now = self._clock()
        if self._paused_until > now:
            return 0.0
        room = self.limit.own_requests - self._passed_lately(now)
        return min(self._burst, self._tokens + max(0.0, now - self._filled_at) * self._rate, float(room))

    def _passed_lately(self, now: float) -> int:
        passed = self._history.copy()  # any thread may ask
        return len(passed) - bisect_right(passed, now, key=lambda moment: moment + self._window)

    @property
    def used(self) -> int | None:
        """How many passed in the last `per` seconds (and the slack); None without a limit, or if it is not known."""
        return None if self.limit is None else self._passed_lately(self._clock())

    @property
    def rate(self) -> float | None:
        """Requests a second that the limit allows for long; None without a limit."""
        return None if self.limit is None else self._rate

    @property
    def paused_for(self) -> float:
        """Seconds until the pause that a server asked for is over; 0 if there is none."""
        return max(0.0, self._paused_until - self._clock())

    def pause(self, seconds: float) -> None:
        """Let nobody pass for so many seconds (a `Retry-After`); a longer pause under way stays.

        Where the limit was kept and the server refused all the same, requests were under way for longer than the slack
        allows for: from then on the window is a hundredth of `per` longer, and in the end a twentieth.
        """
        now = self._clock()
        # Once a window: what is refused in the same one, or in a pause, has the same cause. A slack above a twentieth
        # stays, hence the outer `max`.
        if self.limit is not None and now > max(self._paused_until, self._widened_until):
            self._window = max(self._window, min(self._window + 0.01 * self.limit.per, 1.05 * self.limit.per))
            self._rate = self.limit.own_requests / self._window
            self._widened_until = now + self._window
        self.last_pause = self.last_pause.extended(now, now + seconds, "key_pause")
        self._paused_until = max(self._paused_until, now + seconds)

    def try_acquire(self) -> bool:
        """Pass without waiting if there is room and nobody is ahead."""
        if self._queue or self._delay() > 0:
            return False
        self._pass()
        return True

    def give_back(self) -> None:
        """Return the token of the one who passed last, and then sent nothing."""
        if self.limit is None:
            return
        self._tokens = min(self._burst, self._tokens + 1.0)
        self._history.pop()

    async def acquire(self) -> None:
        """Wait for one's turn and pass."""
        if self.try_acquire():
            return
        turn, queue = asyncio.get_running_loop().create_future(), self._queue
        queue[turn] = None
        try:
            if next(iter(queue)) is not turn:
                await turn
            await self._admit()
        finally:
            first = next(iter(queue)) is turn
            del queue[turn]
            if first and queue is self._queue:
                self._wake()

    def leave_behind(self) -> None:
        """Forget who waits: their event loop is closed. What has passed counts on."""
        self._queue = OrderedDict()

    def close(self) -> None:
        """Give back what the limiter holds open."""

    async def _admit(self) -> None:
        while (delay := self._delay()) > 0:
            await self._sleep(delay)
        self._pass()

    def _pass(self) -> None:
        if self.limit is None:
            return
        self._tokens -= 1.0
        if len(self._history) == self.requests:
            self._history.popleft()  # it has left the window, as `_delay` has seen
        self._history.append(self._filled_at)  # now, as `_delay` has just seen it

    def _wake(self) -> None:
        if self._queue and not (first := next(iter(self._queue))).done():
            first.set_result(None)

    def _delay(self) -> float:
        now = self._clock()
        if self.limit is None:
            return self._paused_until - now
        tokens = self._tokens
        if now > self._filled_at:
            tokens += (now - self._filled_at) * self._rate
            tokens = min(tokens, self._burst)
            self._tokens, self._filled_at = tokens, now
        wait = (1.0 - tokens) / self._rate if tokens < 1.0 - 1e-9 else 0.0
        if len(self._history) == self.requests:
            wait = max(wait, self._history[0] + self._window - now)
        if wait > 0:
            # A hair more than needed, or rounding could leave the bucket a fraction short for ever.
            wait += max(1e-9, math.ulp(now))
        pause = self._paused_until - now
        return max(pause, wait)
