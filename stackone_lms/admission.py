"""Who may send a request now: pauses of an account, free slots, the rate limit of the key.

Each account has a lane. How many requests a lane may have under way is found out by the lane itself: it grows while
all is well and shrinks when the server asks for less (slow start and AIMD, as TCP does it, on 429, 503 and timeouts
only: the latency of a shared service says more about its other users than about us).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from .errors import Phase
from .limiter import Clock, Limiter, Sleep
from .transport.base import Watch

if TYPE_CHECKING:
    from .stats import Choice

FIRST = 16
"""Requests under way with which a lane begins."""
_LONGEST_PATIENCE = 64
_PROOF = 8
_KEPT_LANES = 4096


Departure = tuple[int, int, int]
"""What a lane was like when a request left: `left`, `sending` (both with this request), and `limit`."""


class Lane:
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
        self.queue: deque[tuple[asyncio.Future[None], bool]] = deque()
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
    def idle(self) -> bool:
        """Whether nobody would miss it."""
        return not (self.taken or self.queue or self.users or self.pausing)

    def succeed(self, departure: Departure) -> bool:
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

    def cut(self, departure: Departure) -> None:
        """Note that the server asked for less in answer to a request.

        The limit shrinks once a round trip: what left before the last cut says nothing new. The first time to half of
        what was under way, since it may have doubled meanwhile; later by a tenth (one at least) if the limit had held
        for a while, and by three tenths if not.
        """
        self.throttled += 1
        number, level, before = departure
        if number <= self._cut_after:
            return
        used = self.sending + 1
        if self._grown:
            self._before = max(self.limit, used)
        first = not self._cut_after  # nothing has held callers back so far, so more than the limit may be under way
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


class Pace(NamedTuple):
    """What a bulk fetch has to know of its account and client."""

    lane: Lane
    """The account's requests."""
    limiter: Limiter
    """The rate limit of the key."""
    max_concurrency: int
    """Requests under way at once, over all accounts."""
    clock: Clock
    """Monotonic seconds."""
    sleep: Sleep
    """Suspends for so many seconds."""
    choices: deque[Choice]
    """Where to note which strategy was chosen."""


class Admission:
    """Lets requests pass when their account, the client and the key allow it.

    In the order they came within an account. Among accounts, a slot that becomes free goes to one that has less than
    its share of them, so that a slow account cannot take them all.

    Args:
        limiter: The rate limit of the API key, which all accounts share.
        max_concurrency: Requests under way at once.
        heed: Told whenever the time limit of a wait has changed.
        clock: Monotonic seconds.
        sleep: Suspends for so many seconds.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        max_concurrency: int,
        heed: Callable[[Watch], None],
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self.limiter = limiter
        self.max_concurrency = max_concurrency
        self.in_flight = 0
        self.lanes: dict[str | None, Lane] = {}
        self._queued: deque[Lane] = deque()
        self._heed, self._clock, self._sleep = heed, clock, sleep

    @property
    def sending(self) -> int:
        """How many requests are under way."""
        return sum(lane.sending for lane in list(self.lanes.values()))

    @property
    def waiting(self) -> int:
        """How many calls wait for a slot or for the rate limit."""
        return sum(len(lane.queue) for lane in list(self._queued)) + self.limiter.waiting

    def lane(self, account: str | None) -> Lane:
        """Return the lane of an account."""
        found = self.lanes.get(account)
        if found is None:
            if len(self.lanes) >= _KEPT_LANES:
                now = self._clock()
                for name in [name for name, lane in self.lanes.items() if lane.idle and lane.paused_until <= now]:
                    del self.lanes[name]
            found = self.lanes[account] = Lane(self.max_concurrency)
        return found

    def hold(self, account: str | None, seconds: float, *, everyone: bool) -> None:
        """Let nobody of an account pass for so many seconds, or nobody at all, as a `Retry-After` asked."""
        lane = self.lane(account)
        if everyone:
            self.limiter.pause(seconds)
            if self.limiter.requests is not None:
                lane.forgive()
        lane.paused_until = max(lane.paused_until, self._clock() + seconds)

    async def enter(self, account: str | None, watch: Watch, end: float, *, paced: bool = True) -> Lane:
        """Wait until a request may go; each success needs a `leave` when the request is over.

        Args:
            account: The account it is for.
            watch: The time limits of the call; it cancels the wait at `end`.
            end: When, on the clock, the call has to be over.
            paced: Whether it waits for the account's own limit, too.
        """
        lane = self.lanes.get(account) or self.lane(account)
        while True:
            while lane.paused_until and (delay := lane.paused_until - self._clock()) > 0:
                await self._wait(watch, "rate_limit", end, self._sleep(delay))
            lane.paused_until = 0.0
            if self.in_flight < self.max_concurrency and not lane.queue and (lane.taken < lane.gate or not paced):
                self.in_flight += 1
                lane.taken += 1
            else:
                await self._wait(watch, "pool", end, self._slot(lane, paced=paced))
            if not lane.paused_until and not self.limiter.try_acquire():
                try:
                    await self._wait(watch, "rate_limit", end, self.limiter.acquire())
                except BaseException:
                    self._free(lane)
                    raise
                if lane.paused_until:
                    self.limiter.give_back()
            if lane.paused_until:  # since it got its slot
                self._free(lane)
                continue
            lane.sending += 1
            lane.left += 1
            return lane

    def leave(self, lane: Lane) -> None:
        """Give the slot back; it goes to somebody who waits."""
        lane.sending -= 1
        self._free(lane)

    def succeed(self, lane: Lane, departure: Departure) -> None:
        """Note that a request succeeded, after `leave`; see `Lane.succeed`."""
        if lane.succeed(departure) and lane.queue:
            self._hand_on()

    def _free(self, lane: Lane) -> None:
        lane.taken -= 1
        self.in_flight -= 1
        if self._queued:
            self._hand_on()

    def _hand_on(self) -> None:
        while self._queued and self.in_flight < self.max_concurrency:
            lane = self._next_lane()
            if lane is None:
                return
            turn, _ = lane.queue.popleft()
            if lane.queue:
                self._queued.append(lane)
            if not turn.done():
                self.in_flight += 1
                lane.taken += 1
                turn.set_result(None)

    def _next_lane(self) -> Lane | None:
        """Take a lane that may have a slot out of the rotation: the first below its share, else the first."""
        share = self.max_concurrency / len(self._queued)
        chosen: Lane | None = None
        for lane in self._queued:
            if lane.taken < lane.gate or not lane.queue[0][1]:
                if lane.taken < share:
                    chosen = lane
                    break
                chosen = chosen or lane
        if chosen is not None:
            self._queued.remove(chosen)
        return chosen

    async def _wait(self, watch: Watch, phase: Phase, end: float, something: Awaitable[object]) -> None:
        watch.wait(phase, end)
        self._heed(watch)
        await something

    async def _slot(self, lane: Lane, *, paced: bool) -> None:
        turn = asyncio.get_running_loop().create_future()
        entry = (turn, paced)
        if not lane.queue:
            self._queued.append(lane)
        lane.queue.append(entry)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._free(lane)  # it was handed over at the very moment of the cancellation
            elif entry in lane.queue:  # `_hand_on` throws out whom it finds cancelled
                lane.queue.remove(entry)
                if not lane.queue:
                    self._queued.remove(lane)
            raise
