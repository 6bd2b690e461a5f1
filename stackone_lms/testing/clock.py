"""Time that passes in leaps."""

from __future__ import annotations

import asyncio
import time


class SkippingClock:
    """A clock that jumps over every pause, so that retries and rate limits take no time in tests.

        clock = SkippingClock()
        client = AsyncClient(..., clock=clock, sleep=clock.sleep)

    Pauses are the waits of the client itself: between attempts, for a `Retry-After`, for the rate limit. Between them
    the clock runs as always, so that time limits on answers hold. A time limit that would have passed during a pause
    is noticed after it.

    Attributes:
        pauses: Length of every pause in seconds, in the order in which they began.
        skipped: Seconds that were jumped over; pauses that overlap count once.
    """

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.skipped = 0.0

    def __call__(self) -> float:
        """Return monotonic seconds, the pauses included."""
        return time.monotonic() + self.skipped

    async def sleep(self, seconds: float) -> None:
        """Jump `seconds` ahead, after letting the other tasks run once."""
        self.pauses.append(seconds)
        over = self() + seconds
        await asyncio.sleep(0)
        self.skipped += max(0.0, over - self())
