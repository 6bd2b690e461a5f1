"""Retry decisions, without I/O: how long to wait, what the server asked for, what retries may cost."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

from ..options import RetryPolicy

_SECONDS = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,9})?", re.ASCII)

COST = 14
COST_THROTTLED = 5


def parse_retry_after(value: str | None, date: str | None = None, *, now: float) -> float | None:
    """Read a `Retry-After` header.

    Args:
        value: The header: seconds (digits, perhaps with a fraction) or an HTTP date. RFC 9110 section 10.2.3.
        date: The answer's own `Date` header, against which an HTTP date is measured: that leaves the two
            clocks out of it.
        now: Seconds since the epoch, used when there is no usable `date`.

    Returns:
        Seconds to wait (0 for a date in the past), or None if the value means nothing. Only plain ASCII digits
        count as a number: `inf`, `1e3`, `-5` or `1_0` mean nothing.
    """
    if value is None:
        return None
    text = value.strip(" \t")
    if _SECONDS.fullmatch(text):
        return float(text)
    then = _epoch(text)
    if then is None:
        return None
    base = _epoch(date.strip(" \t")) if date else None
    return max(0.0, then - (now if base is None else base))


def _epoch(text: str) -> float | None:
    # An HTTP date has a weekday, spaces and colons; anything longer than the three legal forms is not one.
    if not 24 <= len(text) <= 40 or not text.isascii():
        return None
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def backoff(policy: RetryPolicy, retry: int, *, throttled: bool, random: Callable[[], float]) -> float:
    """Return the pause in seconds before the `retry`-th retry (from 1): random up to a doubling bound."""
    base, cap = (policy.throttle_base, policy.throttle_cap) if throttled else (policy.base, policy.cap)
    return random() * min(cap, base * math.ldexp(1.0, min(retry - 1, 60)))


class Budget:
    """Tokens that all retries of a client share, so that an outage is not answered with a storm.

    After botocore's standard mode: a retry takes 14 tokens, 5 after throttling; a call that succeeds gives
    back what its last retry took, or 1; an empty bucket means: fail now, do not wait.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = size

    def spend(self, *, throttled: bool) -> int:
        """Take the tokens for one retry; 0 if there are not enough."""
        cost = COST_THROTTLED if throttled else COST
        if self.left < cost:
            return 0
        self.left -= cost
        return cost

    def succeed(self, spent: int) -> None:
        """Give back after a success what its last retry took."""
        if self.left < self.size:
            self.left = min(self.size, self.left + (spent or 1))
