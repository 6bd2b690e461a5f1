"""What a client can be told: time limits, retries, the rate limit; checked when made."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar

import msgspec

from .checks import whole_number
from .errors import ConfigurationError, InvalidArgumentError


def _number(owner: str, name: str, value: Any, *, above: float, inclusive: bool = False) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if not good or value < above or (value == above and not inclusive):
        sign = "at least" if inclusive else "more than"
        raise ConfigurationError(f"{owner}: {name} must be a finite number, {sign} {above:g}, not {value!r:.60}")


class Timeout(msgspec.Struct, frozen=True):
    """Time limits in seconds; None switches one off.

    The API itself answers 408 after 60 seconds, so the default for reading lets that answer through.

    Raises:
        ConfigurationError: A limit is not a positive finite number.
    """

    connect: float | None = 5.0
    """Making a connection, TLS handshake included."""
    read: float | None = 65.0
    """Waiting for the next byte of an answer."""
    attempt: float | None = 75.0
    """One request, from its start to the last byte of its answer."""
    total: float | None = 300.0
    """The whole call: waiting for a slot and the rate limit, all attempts, and the pauses between."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None:
                _number("Timeout", name, value, above=0)


class RetryPolicy(msgspec.Struct, frozen=True):
    """When and how often a failed request is sent again.

    Retried are lost connections, timeouts, 408, 429, 500, 502 to 504 and 520 to 530; for POST and PATCH only what
    was surely not executed: failed connects and 429. Pauses are random between 0 and `base * 2**n` (full jitter).

    Raises:
        ConfigurationError: A value is out of range.
    """

    attempts: int = 3
    """Requests for one call at most, the first included. 1: never retry."""
    base: float = 0.1
    """Seconds; the longest first pause."""
    cap: float = 8.0
    """Seconds; no pause is longer."""
    throttle_base: float = 1.0
    """Seconds; the longest first pause after a 429 or 503 without `Retry-After`."""
    throttle_cap: float = 20.0
    """Seconds; no pause after a 429 or 503 without `Retry-After` is longer."""
    max_retry_after: float = 60.0
    """Seconds; a longer `Retry-After` is not waited for: the error is raised at once and carries it."""
    budget: int = 500
    """Size of the token bucket that all retries of a client share: a retry takes 14 tokens (5 after a 429),
    a success gives back what its retry took, or 1. Empty: failures are raised without a retry."""

    def __post_init__(self) -> None:
        for name in ("attempts", "budget"):
            least = int(name == "attempts")
            whole_number(f"RetryPolicy: {name}", getattr(self, name), at_least=least, error=ConfigurationError)
        for name in ("base", "cap", "throttle_base", "throttle_cap", "max_retry_after"):
            _number("RetryPolicy", name, getattr(self, name), above=0, inclusive=True)


class RateLimit(msgspec.Struct, frozen=True):
    """A client-side limit: never more than `requests` in any `per` seconds.

    The API documents 1000 requests a minute for an API key, all its accounts together.

    Raises:
        ConfigurationError: A value is out of range.
    """

    requests: int
    """Requests in any window of `per` seconds."""
    per: float = 60.0
    """Length of the window in seconds."""
    burst: int | None = None
    """How many may go at once after a quiet time; a twentieth of those of this process (at least 1) if None. The
    window is 2 % longer here (0.6 seconds at most) than where the requests arrive: a request that was long under way
    must not fall into the same window as those that came after it."""
    share: float = 1.0
    """The part of `requests` that this process keeps to, more than 0 and at most 1: `share=1/n` in each of n processes
    that use the key at the same time and have nothing to share a limit in (`SharedLimit`)."""

    def __post_init__(self) -> None:
        whole_number("RateLimit: requests", self.requests, at_least=1, error=ConfigurationError)
        _number("RateLimit", "per", self.per, above=0)
        _number("RateLimit", "share", self.share, above=0)
        if self.share > 1:
            raise ConfigurationError(f"RateLimit: share must be at most 1, such as 1/4, not {self.share!r:.60}")
        if self.own_requests < 1:
            raise ConfigurationError(
                f"RateLimit: a share of {self.share:g} of {self.requests} requests is not one whole request: "
                f"at least {1 / self.requests:g} is needed"
            )
        if self.burst is None:
            return
        if whole_number("RateLimit: burst", self.burst, at_least=1, error=ConfigurationError) > self.own_requests:
            raise ConfigurationError("RateLimit: burst must not be more than requests, or this process' share of them")

    @property
    def own_requests(self) -> int:
        """Requests of this process in any window: its share of `requests`, rounded down."""
        return math.floor(self.requests * self.share + 1e-9)  # 49 * (1 / 49) is a little less than 1


DEFAULT_TIMEOUT, DEFAULT_RETRY, DEFAULT_RATE_LIMIT = Timeout(), RetryPolicy(), RateLimit(1000, per=60.0)
"""What the constructors have as defaults; these very objects mean that nothing was given."""


class ViewOptions(TypedDict, total=False):
    """What `with_options` changes."""

    account_id: str | None
    """The linked account (`x-account-id`)."""
    timeout: Timeout | float
    """Time limits; a number is the seconds that the whole call may take."""
    retry: RetryPolicy | int
    """Retry rules, whose budget stays the client's; a number is the attempts, the first included."""
    heartbeat: bool
    """Ask for newlines while a call is slow (`Prefer: heartbeat`)."""
    keep_unknown: bool
    """Keep fields that the models do not declare, in `.extra`."""
    verify_ids: bool
    """Refuse answers that are surely about another record than the one asked for."""
    extra_headers: Mapping[str, str]
    """Headers that every request carries besides the client's own; those given replace those of before."""
    extra_query: Mapping[str, Any]
    """Query parameters that every request carries besides its own; those given replace those of before."""


VIEW_OPTIONS = {name: f"client.with_options({name}=...)" for name in ViewOptions.__annotations__}
"""Of each option of a view, where it is given."""

Option = TypeVar("Option", Timeout, RetryPolicy, RateLimit)


def from_number(
    name: str,
    value: Any,
    kind: type[Option],
    make: Callable[[Any], Option],
    *,
    error: type[ConfigurationError | InvalidArgumentError],
) -> Option:
    """Return an option that was given whole or as a plain number.

    Args:
        name: Its keyword, for messages.
        value: What was given.
        kind: What it is when given whole.
        make: Makes one of a number.
        error: What to raise if it is neither.
    """
    if isinstance(value, kind):
        return value
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise error(f"{name} must be a number or a {kind.__name__}, not {type(value).__name__}")
    try:
        return make(value)
    except ConfigurationError as problem:
        raise error(f"{name}: {problem}") from None


def total_seconds(seconds: float) -> Timeout:
    """Return the time limits of calls that may take so many seconds each."""
    return Timeout(total=seconds)
