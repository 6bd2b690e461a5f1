"""What a client is doing: a snapshot of its limits, queues, counters and accounts."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from .admission import Admission
from .concurrency import WaitReason
from .retry import Budget


class AccountStats(msgspec.Struct, frozen=True, kw_only=True):
    """One linked account."""

    limit: int
    """Requests that may be under way for it at once, as found out so far."""
    in_flight: int
    """Requests under way."""
    waiting: int
    """Calls that wait for one of them to end, or for the pause to be over."""
    paused_for: float
    """Seconds until a pause that the server or the provider asked for is over; 0 if there is none."""
    throttled: int
    """How often it was answered 429 or 503, or not in time."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """How a bulk fetch decided to get its records."""

    operation: str
    """Which, such as `completions.get_many`."""
    strategy: Literal["get", "list"]
    """What it chose."""
    ids: int | None
    """How many ids were asked for, as far as known."""
    pages: int | None
    """How many pages of 100 the list has, as far as known."""
    reason: str
    """Why, in a sentence."""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of a client and all its views. Its repr tells of the accounts only how many there are."""

    limit: int | None
    """Requests that the client-side limit allows in `per` seconds; None without a limit."""
    per: float | None
    """Length of that window in seconds."""
    rate: float | None
    """Requests a second that the limit allows for long."""
    tokens: float | None
    """How many requests could go at once now, as far as the limit is concerned."""
    used: int | None
    """Requests of the last `per` seconds, of this client alone; None without a limit, or if it is shared."""
    paused_for: float
    """Seconds until a pause of the whole API key (`Retry-After`) is over; 0 if there is none."""
    in_flight: int
    """Requests under way."""
    waiting: int
    """Calls that wait for a slot or for the rate limit."""
    requests: int
    """Requests sent so far, retries included."""
    retries: int
    """Of those, retries."""
    throttled: int
    """Answers 429."""
    waited: Mapping[WaitReason, float]
    """Seconds that calls have waited so far, all of them together, by what for; see `WaitEnd.reason`."""
    failures: Mapping[str, int]
    """Calls that raised, by class of the error."""
    doubtful_ids: int
    """Answers to gets that may be about another record: a provider's id was asked for, and StackOne's id that came does
    not hold it; or an e-mail address was asked for, and the record does not show it."""
    budget: int
    """Tokens left in the retry budget."""
    accounts: Mapping[str, AccountStats]
    """The linked accounts used so far, by id; idle ones may be forgotten after some thousands."""
    choices: tuple[Choice, ...]
    """What the last bulk fetches with a strategy chose, newest last; 16 at most."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__ if name != "accounts"]
        return [*shown, ("accounts", len(self.accounts))]

    def __repr__(self) -> str:
        return f"Stats({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class Counts:
    """What a client counts."""

    __slots__ = ("choices", "doubtful_ids", "failures", "requests", "retries", "throttled")

    def __init__(self) -> None:
        self.requests = self.retries = self.throttled = self.doubtful_ids = 0
        self.failures: Counter[str] = Counter()
        self.choices: deque[Choice] = deque(maxlen=16)

    def snapshot(self, admission: Admission, budget: Budget, now: float) -> Stats:
        """Return everything at once; any thread may ask."""
        limiter = admission.limiter
        return Stats(
            limit=limiter.requests,
            per=limiter.per,
            rate=limiter.rate,
            tokens=limiter.tokens,
            used=limiter.used,
            paused_for=limiter.paused_for,
            in_flight=admission.in_flight,
            waiting=admission.waiting,
            requests=self.requests,
            retries=self.retries,
            throttled=self.throttled,
            waited=dict(admission.waited),
            failures=dict(self.failures),
            doubtful_ids=self.doubtful_ids,
            budget=budget.tokens,
            accounts={
                account: AccountStats(
                    limit=concurrency.limit,
                    in_flight=concurrency.in_flight,
                    waiting=len(concurrency.queue),
                    paused_for=max(0.0, concurrency.paused_until - now),
                    throttled=concurrency.throttled,
                )
                for account, concurrency in list(admission.limits.items())
                if account is not None
            },
            choices=tuple(self.choices),
        )
