"""How far a bulk fetch has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..engine.concurrency import ConcurrencyLimit
from ..engine.rate_limit import Clock, Limiter

_INTERVAL = 0.1  # seconds between reports


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a bulk fetch has come; given to its `progress=` callback ten times a second at most."""

    done: int
    """Outcomes delivered."""
    failed: int
    """Of those, errors."""
    total: int | None
    """How many there will be; None as long as the ids have not been counted."""
    retries: int
    """Requests that were sent again for the outcomes delivered."""
    throttled: int
    """How often the server asked for less since the fetch began: 429, 503, or an answer not in time."""
    rate: float
    """Outcomes a second, lately."""
    eta: float | None
    """Seconds to go at that rate, and no faster than the client-side limit allows; None if it cannot be told."""


Report = Callable[[Progress], object]
"""What `progress=` takes: called in the task, or the thread, that iterates; what it raises ends the fetch."""


class ProgressMeter:
    """Counts outcomes, and makes a report when it is time for one.

    Args:
        clock: Monotonic seconds.
        limiter: The rate limit of the key.
        total: Outcomes to come, if known.
    """

    def __init__(self, clock: Clock, limiter: Limiter, total: int | None) -> None:
        self._clock, self._limiter = clock, limiter
        self.total = total
        self._limits: list[ConcurrencyLimit] = []
        self._done = self._failed = self._retries = self._reported = 0
        self._throttled = 0
        self._last = clock()
        self._rate = 0.0

    def watch(self, limit: ConcurrencyLimit) -> None:
        """Count from now on how often the server asks less of an account."""
        self._throttled += limit.throttled
        self._limits.append(limit)

    def add(self, result: Any, error: Any) -> None:
        """Count an outcome."""
        self._done += 1
        if error is not None:
            self._failed += 1
        self._retries += max(0, getattr(result if error is None else error, "attempts", 1) - 1)

    def due(self, *, final: bool = False) -> Progress | None:
        """Return a report if it is time for one, else None."""
        now = self._clock()
        passed = now - self._last
        if passed < _INTERVAL and not final:
            return None
        if passed > 0:
            rate = (self._done - self._reported) / passed
            self._rate = rate if not self._reported else 0.7 * self._rate + 0.3 * rate
        self._last, self._reported = now, self._done
        return Progress(
            done=self._done,
            failed=self._failed,
            total=self.total,
            retries=self._retries,
            throttled=sum(limit.throttled for limit in self._limits) - self._throttled,
            rate=self._rate,
            eta=self._eta(),
        )

    def _eta(self) -> float | None:
        if self.total is None:
            return None
        left = max(0, self.total - self._done)
        rates = [rate for rate in (self._rate, self._limiter.rate) if rate]
        return left / min(rates) if rates else None if left else 0.0
