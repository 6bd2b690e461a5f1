"""One account's requests: how many may be under way.

A lane finds that out itself: it grows while all is well and shrinks when the server asks for less (slow start and
AIMD, as TCP does it, on 429, 503 and timeouts only: the latency of a shared service says more about its other users
than about us).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple

FIRST = 16
"""Requests under way with which a lane begins."""
_LONGEST_PATIENCE = 64
_PROOF = 8


class Waiter(NamedTuple):
    """What a call waits in a queue with."""

    ticket: int
    """It goes behind all calls of its account that have a lower one."""
    paced: bool
    """Whether it waits for the account's own limit, too."""


Snapshot = tuple[int, int, int]
"""What a lane was like when a request left: `left`, `sending` (both with this request), and `limit`."""


class ConcurrencyLimit:
    """The requests of one account: how many are under way, how many may be, and until when none.

    Args:
        most: Requests under way at most, whatever happens.

    Attributes:
        limit: Requests that may be under way, as found so far.
        gate: What is enforced: `most` until the server has asked for less the first time, then `limit`.
        taken: Slots in use: requests under way, or waiting for the rate limit.
        sending: Requests under way.
        left: How many requests have left so far.
        pausing: Calls that sleep before their next attempt.
        throttled: How often the server asked for less.
        paused_until: When, on the clock, a pause that the server asked for is over.
        queue: Who waits for a slot, or for the end of the pause; by ticket.
        alarm: Sleeps until the pause is over, if anybody waits for that.
        users: How many bulk fetches watch this lane.
    """

    __slots__ = (
        "_before",
        "_calm",
        "_ceiling",
        "_cut_after",
        "_grown",
        "_mark",
        "_patience",
        "_run",
        "_threshold",
        "alarm",
        "gate",
        "left",
        "limit",
        "most",
        "paused_until",
        "pausing",
        "queue",
        "sending",
        "taken",
        "throttled",
        "users",
    )

    def __init__(self, most: int) -> None:
        self.most = self.gate = most
        self.limit = min(FIRST, most)
        self.taken = self.sending = self.pausing = self.throttled = self.users = self.left = 0
        self.paused_until = 0.0
        self.queue: OrderedDict[asyncio.Future[None], Waiter] = OrderedDict()
        self.alarm: asyncio.Task[None] | None = None
        self._cut_after: int = 0  # the request that left last before the last cut; 0: there was none
        self._mark = 0  # the request that left last before the present round trip began
        self._run = 0  # round trips in full use since the limit last changed
        self._calm = 0  # successes since the limit was last cut
        self._grown = True  # whether the limit has grown since it was last cut
        self._before = self.limit  # where the limit stood before the last cuts on end
        self._threshold = most  # below it, the limit grows by one a success
        self._ceiling: int = 0  # the level at which the server last asked for less; 0: unknown
        self._patience = 1  # round trips to wait before the ceiling is tried again

    @property
    def first(self) -> Waiter:
        """The place of who is first in the queue, which is not empty."""
        return next(iter(self.queue.values()))

    @property
    def idle(self) -> bool:
        """Whether nobody would miss it."""
        return not (self.taken or self.queue or self.users or self.pausing)

    def succeed(self, departure: Snapshot) -> bool:
        """Note that a request succeeded; True if the limit grew.

        It grows by one a success (it doubles each round trip) until the server asks for less the first time, and after
        an outage up to where that began, both while at least half of it is in use. Beyond, it grows by one a round
        trip, while it is in full use. Where the server has said no before, that takes up to 64 round trips; and the
        more often it has, the longer the limit has to hold there before it grows on.
        """
        self._calm += 1
        limit = self.limit
        if limit >= self.most:
            return False
        if limit < self._threshold:
            if (self.sending + 1) * 2 < limit:
                return False
        else:
            number, level, _ = departure
            # What left before the limit changed says nothing about what it is now.
            if number <= self._mark or level < limit - limit // 8:
                return False
            self._mark = self.left
            self._run += 1
            if limit + 1 == self._ceiling:
                trips = self._patience
            else:
                trips = min(self._patience, _PROOF) if limit == self._ceiling else 1
            if self._run < trips:
                return False
        self._run, self._mark = 0, self.left
        self._grown = True
        self.limit = limit + 1
        if self.gate != self.most:
            self.gate = self.limit
        return True

    def cut(self, departure: Snapshot) -> None:
        """Note that the server asked for less in answer to a request.

        The limit shrinks once a round trip: what left before the last cut says nothing new. The first time to half of
        what was under way, since it may have doubled meanwhile; later by a tenth (one at least) if the limit had held
        for a while, and by three tenths if not. Before that, what a single request is told is no matter of how many.
        """
        self.throttled += 1
        number, level, before = departure
        used = self.sending + 1
        first = not self._cut_after  # nothing has held callers back so far, so more than the limit may be under way
        if number <= self._cut_after or (first and level == used == 1):
            return
        if self._grown:
            self._before = max(self.limit, used)
        # Since it left, the limit may have grown, if the server is quicker to answer than to refuse.
        limit = used if first else min(self.limit, before, max(used, level, self.limit // 2))
        if first:
            self.limit = limit // 2
        elif self._calm >= limit - 1:
            if self._ceiling:  # much above it or below it, how many are under way is not what decides
                again = self._ceiling <= limit <= self._ceiling * 5 // 4
                self._patience = min(self._patience * 2, _LONGEST_PATIENCE) if again else 1
            self._ceiling = limit
            self.limit = min(limit - 1, int(limit * 0.9))
        else:
            self.limit = int(limit * 0.7)
        self.limit = max(1, min(self.limit, self.most))
        if self._grown:  # cuts on end have one cause, and the first of them tells more of the level than the last
            self._threshold = self.limit
        self.gate = self.limit
        self._calm = self._run = 0
        self._cut_after = self._mark = self.left
        self._grown = False

    def forgive(self) -> None:
        """Climb back quickly to where the last cuts began: what the server asked for is a matter of the rate."""
        self._threshold = max(self._threshold, min(self._before, self.most))
