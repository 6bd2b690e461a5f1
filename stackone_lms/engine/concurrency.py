"""One account's requests: how many may be under way at once.

The limit finds itself: it grows while all is well and shrinks when the server asks for less (slow start and AIMD, as
TCP does it, on 429, 503 and timeouts only: the latency of a shared service says more about its other users than about
us).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Literal, NamedTuple, TypeAlias

INITIAL_LIMIT = 16
"""Requests under way with which an account begins."""
_MAX_ROUND_TRIPS = 64
_ROUND_TRIPS_AT_CEILING = 8


class Waiter(NamedTuple):
    """A call in the queue of an account."""

    ticket: int
    """It goes behind all calls of its account that have a lower one."""
    adaptive: bool
    """Whether it waits for the account's own limit, too."""


Snapshot: TypeAlias = tuple[int, int, int]
"""What a limit was like when a request was sent: `sent`, `in_flight` (both with this request), and `limit`."""


Load: TypeAlias = Literal["served", "overloaded"]
"""What the end of a request says of the load: as many may be under way, or fewer."""


WaitReason: TypeAlias = Literal[
    "rate_limit", "shared_limit", "concurrency_limit", "account_pause", "key_pause", "retry_pause"
]
"""What calls wait for."""


class Pause(NamedTuple):
    """A time during which nobody was to send, as a server had asked."""

    since: float
    until: float
    reason: WaitReason

    def extended(self, now: float, until: float, reason: WaitReason) -> Pause:
        """Return the pause that lasts from `now` until `until`, with this one if it is not over."""
        return Pause(self.since, max(self.until, until), reason) if now < self.until else Pause(now, until, reason)

    def fills_most_of(self, began: float, ended: float) -> bool:
        """Tell whether at least half of a time that somebody waited was in the pause."""
        return 2 * (min(ended, self.until) - max(began, self.since)) >= ended - began


NO_PAUSE = Pause(float("-inf"), float("-inf"), "account_pause")


class ConcurrencyLimit:
    """The requests of one account: how many are under way, how many may be, and until when none.

    Args:
        maximum: Requests under way at most, whatever happens.

    Attributes:
        limit: Requests that may be under way, as found so far.
        enforced: What callers are held to: `maximum` until the server has asked for less the first time, then `limit`.
        slots_used: Slots in use: requests under way, or waiting for the rate limit.
        in_flight: Requests under way.
        sent: How many requests were sent so far.
        backing_off: Calls that sleep before their next attempt.
        throttled: How often the server asked for less.
        paused_until: When, on the clock, a pause that the server asked for is over; 0 if there is none.
        last_pause: That pause, or the last one.
        queue: The calls that wait for a slot, or for the end of the pause; by ticket.
        pause_timer: Sleeps until the pause is over, if anybody waits for that.
        users: How many bulk fetches look at this limit; while there are any, it is kept.
    """

    __slots__ = (
        "_before_decrease",
        "_ceiling",
        "_decreased_at",
        "_full_trips",
        "_grown",
        "_slow_start_end",
        "_successes",
        "_trip_start",
        "_trips_at_ceiling",
        "backing_off",
        "enforced",
        "in_flight",
        "last_pause",
        "limit",
        "maximum",
        "pause_timer",
        "paused_until",
        "queue",
        "sent",
        "slots_used",
        "throttled",
        "users",
    )

    def __init__(self, maximum: int) -> None:
        self.maximum = self.enforced = maximum
        self.limit = min(INITIAL_LIMIT, maximum)
        self.slots_used = self.in_flight = self.backing_off = self.throttled = self.users = self.sent = 0
        self.paused_until = 0.0
        self.last_pause = NO_PAUSE
        self.queue: OrderedDict[asyncio.Future[None], Waiter] = OrderedDict()
        self.pause_timer: asyncio.Task[None] | None = None
        self._decreased_at: int = 0  # number of the last request sent before the last decrease; 0: there was none
        self._trip_start = 0  # number of the last request sent before the present round trip began
        self._full_trips = 0  # round trips in full use since the limit last changed
        self._successes = 0  # since the limit was last decreased
        self._grown = True  # whether the limit has grown since it was last decreased
        self._before_decrease = self.limit  # where the limit stood before the last decreases in a row
        self._slow_start_end = maximum  # below it, the limit grows by one a success
        self._ceiling: int = 0  # the level at which the server last asked for less; 0: unknown
        self._trips_at_ceiling = 1  # round trips to wait before the ceiling is tried again

    def without_calls(self) -> ConcurrencyLimit:
        """Return what was found so far, with nobody under way or waiting: the limit on another event loop."""
        limit = ConcurrencyLimit(self.maximum)
        for name in self.__slots__:
            if name not in {"slots_used", "in_flight", "backing_off", "users", "queue", "pause_timer"}:
                setattr(limit, name, getattr(self, name))
        return limit

    @property
    def first(self) -> Waiter:
        """Who is first in the queue, which is not empty."""
        return next(iter(self.queue.values()))

    @property
    def idle(self) -> bool:
        """Whether nobody would miss it."""
        return not (self.slots_used or self.queue or self.users or self.backing_off)

    def succeed(self, snapshot: Snapshot) -> bool:
        """Note that a request succeeded, which is no longer under way; True if the limit grew.

        It grows by one a success (it doubles each round trip) until the server asks for less the first time, and after
        an outage up to where that began, both while at least half of it is in use. Beyond, it grows by one a round
        trip, while it is in full use. Where the server has said no before, that takes up to 64 round trips; and the
        more often it has, the longer the limit has to hold there before it grows on.
        """
        self._successes += 1
        limit = self.limit
        if limit >= self.maximum:
            return False
        if limit < self._slow_start_end:
            # This request still counts as one of those in use: it was, until just now.
            if (self.in_flight + 1) * 2 < limit:
                return False
        else:
            # What was sent before the limit changed says nothing about what it is now. Seven eighths are full use:
            # a slot that became free is taken again only when a caller comes.
            number, in_flight, _ = snapshot
            if number <= self._trip_start or in_flight < limit - limit // 8:
                return False
            self._trip_start = self.sent
            self._full_trips += 1
            if limit + 1 == self._ceiling:
                trips = self._trips_at_ceiling
            else:
                # At the ceiling itself it proves that it holds, for eight round trips at most; elsewhere one is enough.
                trips = min(self._trips_at_ceiling, _ROUND_TRIPS_AT_CEILING) if limit == self._ceiling else 1
            if self._full_trips < trips:
                return False
        self._full_trips, self._trip_start = 0, self.sent
        self._grown = True
        self.limit = limit + 1
        if self.enforced != self.maximum:
            self.enforced = self.limit
        return True

    def decrease(self, snapshot: Snapshot) -> None:
        """Note that the server asked for less in answer to a request, which is no longer under way.

        The limit shrinks once a round trip: what was sent before the last decrease says nothing new. The first time to
        half of what was under way, since it may have doubled meanwhile; later by a tenth (one at least) if the limit
        had held for a while, and by three tenths if not. Before that, what a single request is told is no matter of
        how many.
        """
        self.throttled += 1
        number, level, before = snapshot
        used = self.in_flight + 1
        # Until now only `maximum` has held callers back, so that more than the limit may be under way.
        first = not self._decreased_at
        if number <= self._decreased_at or (first and level == used == 1):
            return
        if self._grown:
            self._before_decrease = max(self.limit, used)
        # Since it was sent, the limit may have grown, if the server is quicker to answer than to refuse: what was
        # refused is the level of then. But not less than half of the limit: a refusal in a nearly idle moment, when
        # few were under way, would else throw away all that was learned.
        limit = used if first else min(self.limit, before, max(used, level, self.limit // 2))
        if first:
            self.limit = limit // 2
        elif self._successes >= limit - 1:  # a whole round trip succeeded at this level
            if self._ceiling:  # much above it or below it, how many are under way is not what decides
                again = self._ceiling <= limit <= self._ceiling * 5 // 4
                self._trips_at_ceiling = min(self._trips_at_ceiling * 2, _MAX_ROUND_TRIPS) if again else 1
            self._ceiling = limit
            self.limit = min(limit - 1, int(limit * 0.9))
        else:
            self.limit = int(limit * 0.7)
        self.limit = max(1, min(self.limit, self.maximum))
        if self._grown:  # decreases in a row have one cause, and the first tells more of the level than the last
            self._slow_start_end = self.limit
        self.enforced = self.limit
        self._successes = self._full_trips = 0
        self._decreased_at = self._trip_start = self.sent
        self._grown = False

    def recover(self) -> None:
        """Climb back quickly to where the last decreases began: what the server asked for is a matter of the rate."""
        self._slow_start_end = max(self._slow_start_end, min(self._before_decrease, self.maximum))
