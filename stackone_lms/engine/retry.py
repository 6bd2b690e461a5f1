"""The retry rule: which failures are retried, how often, after which pause, and what that may cost. No I/O here.

`decide` is given the policy, an `AttemptFailure` and how far the call is, and returns a `Decision`: what the engine
does next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from ..errors import (
    APIStatusError,
    APITimeoutError,
    ConnectionLostError,
    RequestTimeoutError,
    StackOneError,
    UnexpectedResponseError,
)
from ..options import RetryPolicy
from .concurrency import Load

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, *range(520, 531)})
"""Statuses that may be different next time. 520 to 530 are those of Cloudflare, before the API."""
THROTTLED_STATUSES = frozenset({429, 503})
"""Those that ask for less."""
NOT_EXECUTED_STATUSES = frozenset({429})
"""Those of a request that was turned away before anything was done; any other error may come after the deed."""

COST = 14
"""Tokens that a retry takes."""
COST_THROTTLED = 5
"""Tokens that a retry takes after the server, or this machine, asked for less."""


class AttemptFailure(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Why an attempt did not succeed: the facts that decide what is done about it."""

    error: StackOneError
    """What the caller gets, unless a retry helps."""
    request_sent: bool = True
    """Whether the server may have executed the request."""
    max_retries: int | None = None
    """How many retries it is worth at most; None: what the kind of the error says."""
    garbled: bool = False
    """Whether it may have been spoiled on its way: asked for once more, it may come whole."""
    out_of_resources: bool = False
    """Whether this machine has run out of something that every request needs, such as descriptors."""
    key_wide: bool = False
    """Whether the server asks the whole API key to wait, and not only the account."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a failure."""

    delay: float | None
    """Seconds until the next attempt; None: there is none, the error is raised."""
    cost: int
    """What the next attempt takes from the retry budget."""
    new_connection: bool
    """Whether it has to go over a new connection."""
    close_connection: bool
    """Whether the last one may be out of step and must not be used again: what came is no answer of the API."""
    load: Load | None
    """What it says of the load. `served`: it was worked on, if in vain; None: nothing."""
    pause: float | None
    """Seconds for which nobody of the account, or of the key, should send; None for no pause."""
    key_wide: bool
    """Whether the pause is one of the whole API key."""


def status_failure(error: APIStatusError, *, key_wide: bool) -> AttemptFailure:
    """Return the failure that an error answer is.

    Args:
        error: Made of the answer; its `retryable` is set here.
        key_wide: Whether a 429 is StackOne's own and not one of a provider.
    """
    error.retryable = error.status in RETRIED_STATUSES
    return AttemptFailure(
        error=error,
        request_sent=error.status not in NOT_EXECUTED_STATUSES,
        key_wide=key_wide and error.status == 429,
    )


def decide(
    policy: RetryPolicy,
    failure: AttemptFailure,
    *,
    attempt: int,
    repeatable: bool,
    remaining: float,
    random: Callable[[], float],
) -> Decision:
    """Decide what to do after an attempt that failed.

    Args:
        policy: The caller's.
        failure: What happened.
        attempt: Which attempt it was, from 1.
        repeatable: Whether sending the request twice has the effect of sending it once: not a POST, not a PATCH.
        remaining: Seconds until the deadline of the call.
        random: Numbers from 0 to 1.
    """
    error = failure.error
    throttled = error.status in THROTTLED_STATUSES or failure.out_of_resources
    overloaded = throttled or isinstance(error, APITimeoutError | RequestTimeoutError)
    asked = error.retry_after if isinstance(error, APIStatusError) else None
    too_long = asked is not None and asked > policy.max_retry_after
    no_answer = isinstance(error, UnexpectedResponseError)
    delay = None
    if attempt < policy.attempts and attempt <= max_retries(failure) and (repeatable or not failure.request_sent):
        delay = backoff(policy, attempt, throttled=throttled, random=random)
        if asked is not None:
            # The whole of it and up to a tenth more (of a second, at most), so that not all come back at once.
            delay = max(delay, asked + min(asked, 1.0) * 0.1 * random())
        if too_long or delay >= remaining:
            delay = None
    return Decision(
        delay=delay,
        cost=COST_THROTTLED if throttled else COST,
        new_connection=no_answer
        or isinstance(error, ConnectionLostError)
        or (isinstance(error, APITimeoutError) and error.phase in {"read", "attempt"}),
        close_connection=no_answer,
        load="overloaded" if overloaded else "served" if error.status is not None and error.status < 500 else None,
        pause=asked if throttled and not too_long else None,
        key_wide=failure.key_wide,
    )


def max_retries(failure: AttemptFailure) -> float:
    """Return how many retries a failure is worth, as far as the policy has as many; infinity for any number."""
    if failure.max_retries is not None:
        return failure.max_retries
    if failure.garbled:
        return 1
    return math.inf if failure.error.retryable else 0


def backoff(policy: RetryPolicy, retry: int, *, throttled: bool, random: Callable[[], float]) -> float:
    """Return the pause in seconds before the `retry`-th retry (from 1): random up to a doubling bound."""
    base, cap = (policy.throttle_base, policy.throttle_cap) if throttled else (policy.base, policy.cap)
    return random() * min(cap, base * math.ldexp(1.0, min(retry - 1, 60)))


class Budget:
    """Tokens that all retries of a client share, so that an outage is not answered with a storm.

    After botocore's standard mode: a retry takes 14 tokens, 5 after throttling; a call that succeeds gives
    back what its last retry took, or 1; an empty bucket means: fail now, do not wait.

    Attributes:
        size: Tokens of a full bucket.
        tokens: Tokens left.
    """

    def __init__(self, size: int) -> None:
        self.size = self.tokens = size

    def spend(self, cost: int) -> bool:
        """Take the tokens for one retry; False if there are not enough."""
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def succeed(self, spent: int) -> None:
        """Give back after a success what its last retry took."""
        self.tokens = min(self.size, self.tokens + (spent or 1))


_SECONDS = re.compile(r"([0-9]+)(?:\.[0-9]+)?", re.ASCII)
_DIGITS = 10

_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_LONG_DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_MONTH = rf"(?P<month>{_MONTHS})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES = [
    re.compile(rf"(?:{_DAYS}), (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT", re.ASCII),
    re.compile(rf"(?:{_LONG_DAYS}), (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT", re.ASCII),
    re.compile(rf"(?:{_DAYS}) {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})", re.ASCII),
]
"""The three forms of an HTTP date: IMF-fixdate, RFC 850, asctime. RFC 9110 section 5.6.7."""


def parse_retry_after(value: str | None, date: str | None = None, *, now: float) -> float | None:
    """Read a `Retry-After` header.

    Args:
        value: The header: seconds (digits, perhaps with a fraction) or an HTTP date. RFC 9110 section 10.2.3.
        date: The answer's own `Date` header, against which an HTTP date is measured: that leaves the two
            clocks out of it.
        now: Seconds since the epoch, used when there is no usable `date`.

    Returns:
        Seconds to wait: 0 for a date in the past, infinity for a number of more than ten digits. None if the value
        means nothing. Only plain ASCII digits count as a number: `inf`, `1e3`, `-5` or `1_0` mean nothing.
    """
    if value is None:
        return None
    text = value.strip(" \t")
    seconds = _SECONDS.fullmatch(text)
    if seconds is not None:
        return float(text) if len(seconds[1]) <= _DIGITS else math.inf
    then = _parse_date(text, now)
    if then is None:
        return None
    base = _parse_date(date.strip(" \t"), now) if date else None
    return max(0.0, then - (now if base is None else base))


def _parse_date(text: str, now: float) -> float | None:
    """Return the seconds since the epoch that an HTTP date stands for."""
    found = next((match for form in _DATES if (match := form.fullmatch(text))), None)
    if found is None:
        return None
    year, month = int(found["year"]), _MONTHS.index(found["month"]) // 4 + 1
    day, hour, minute, second = (int(found[name]) for name in ("day", "hour", "minute", "second"))
    try:
        if len(found["year"]) == 2:
            # Of all years that end so, the last in which it is not more than fifty years ahead. RFC 9110 section 5.6.7.
            today = datetime.fromtimestamp(now, UTC)
            fifty_years_ahead = (today.year + 50, *today.timetuple()[1:6])
            year += (today.year + 50) // 100 * 100
            if (year, month, day, hour, minute, second) > fifty_years_ahead:
                year -= 100
        leap = second == 60  # the second after the 59th
        moment = datetime(year, month, day, hour, minute, second - leap, tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.timestamp() + leap
