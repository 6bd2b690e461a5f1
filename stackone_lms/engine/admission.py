"""Who may send a request now: pauses of an account, free slots, the rate limit of the key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from itertools import count, takewhile
from typing import TYPE_CHECKING, NamedTuple

from ..errors import Phase
from .concurrency import ConcurrencyLimit, Snapshot, Waiter
from .deadlines import Deadline
from .rate_limit import Clock, Limiter, Sleep

if TYPE_CHECKING:
    from .stats import Choice

_KEPT_LANES = 4096


class BulkContext(NamedTuple):
    """What a bulk fetch has to know of its account and client."""

    lane: ConcurrencyLimit
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

    In the order they came within an account, also after a pause. Among accounts, a slot that becomes free goes to one
    that has less than its share of them, so that a slow account cannot take them all.

    Args:
        limiter: The rate limit of the API key, which all accounts share.
        max_concurrency: Requests under way at once.
        clock: Monotonic seconds.
        sleep: Suspends for so many seconds.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        max_concurrency: int,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self.limiter = limiter
        self.max_concurrency = max_concurrency
        self.in_flight = 0
        self.lanes: dict[str | None, ConcurrencyLimit] = {}
        self._queued: deque[ConcurrencyLimit] = deque()  # those with a queue and no pause, in turns
        self._tickets = count(1)
        self._sweep_at = 0
        self._clock, self._sleep = clock, sleep

    @property
    def sending(self) -> int:
        """How many requests are under way."""
        return sum(lane.sending for lane in list(self.lanes.values()))

    @property
    def waiting(self) -> int:
        """How many calls wait for a slot, for the end of a pause, or for the rate limit."""
        return sum(len(lane.queue) for lane in list(self.lanes.values())) + self.limiter.waiting

    def lane(self, account: str | None) -> ConcurrencyLimit:
        """Return the lane of an account."""
        found = self.lanes.get(account)
        if found is None:
            if len(self.lanes) >= max(_KEPT_LANES, self._sweep_at):
                now = self._clock()
                for name in [name for name, lane in self.lanes.items() if lane.idle and lane.paused_until <= now]:
                    del self.lanes[name]
                self._sweep_at = 2 * len(self.lanes)
            found = self.lanes[account] = ConcurrencyLimit(self.max_concurrency)
        return found

    def hold(self, account: str | None, seconds: float, *, everyone: bool) -> None:
        """Let nobody of an account pass for so many seconds, or nobody at all, as a `Retry-After` asked."""
        lane = self.lane(account)
        if everyone:
            self.limiter.pause(seconds)
            if self.limiter.requests is not None:
                lane.forgive()
        lane.paused_until = max(lane.paused_until, self._clock() + seconds)
        if lane.queue and not lane.alarm and self._paused(lane):
            self._queued.remove(lane)
            self._line_up(lane)

    async def enter(self, account: str | None, watch: Deadline, end: float, *, paced: bool = True) -> ConcurrencyLimit:
        """Wait until a request may go; each success needs a `leave` when the request is over.

        Args:
            account: The account it is for.
            watch: The time limits of the call; it cancels the wait at `end`.
            end: When, on the clock, the call has to be over.
            paced: Whether it waits for the account's own limit, too.
        """
        lane = self.lanes.get(account) or self.lane(account)
        place: Waiter | None = None
        while True:
            if (
                self.in_flight < self.max_concurrency
                and not lane.queue
                and (lane.taken < lane.gate or not paced)
                and not (lane.paused_until and self._paused(lane))
            ):
                self.in_flight += 1
                lane.taken += 1
            else:
                place = place or Waiter(next(self._tickets), paced)
                await self._wait(watch, self._phase(lane), end, self._slot(lane, place, watch))
                if lane.paused_until and self._paused(lane):  # since it got its slot
                    self._free(lane)
                    continue
            if not self.limiter.try_acquire():
                place = place or Waiter(next(self._tickets), paced)
                try:
                    await self._wait(watch, "rate_limit", end, self.limiter.acquire())
                except BaseException:
                    self._free(lane)
                    raise
                if lane.paused_until and self._paused(lane):
                    self.limiter.give_back()
                    self._free(lane)
                    continue
            lane.sending += 1
            lane.left += 1
            return lane

    def leave(self, lane: ConcurrencyLimit) -> None:
        """Give the slot back; it goes to somebody who waits."""
        lane.sending -= 1
        self._free(lane)

    def succeed(self, lane: ConcurrencyLimit, departure: Snapshot) -> None:
        """Note that a request succeeded, after `leave`; see `ConcurrencyLimit.succeed`."""
        if lane.succeed(departure) and lane.queue:
            self._hand_on()

    def _free(self, lane: ConcurrencyLimit) -> None:
        lane.taken -= 1
        self.in_flight -= 1
        if self._queued:
            self._hand_on()

    def _hand_on(self) -> None:
        while self._queued and self.in_flight < self.max_concurrency:
            lane = self._next_lane()
            if lane is None:
                return
            turn, _ = lane.queue.popitem(last=False)
            if lane.queue:
                self._queued.append(lane)
            if not turn.done():
                self.in_flight += 1
                lane.taken += 1
                turn.set_result(None)

    def _next_lane(self) -> ConcurrencyLimit | None:
        """Take a lane that may have a slot out of the rotation: the first below its share, else the first."""
        share = self.max_concurrency / len(self._queued)
        chosen: ConcurrencyLimit | None = None
        for lane in self._queued:
            if lane.taken < lane.gate or not lane.first.paced:
                if lane.taken < share:
                    chosen = lane
                    break
                chosen = chosen or lane
        if chosen is not None:
            self._queued.remove(chosen)
        return chosen

    async def _wait(self, watch: Deadline, phase: Phase, end: float, something: Awaitable[object]) -> None:
        watch.wait(phase, end)
        await something

    def _paused(self, lane: ConcurrencyLimit) -> bool:
        if lane.paused_until <= self._clock():
            lane.paused_until = 0.0
        return lane.paused_until > 0

    def _phase(self, lane: ConcurrencyLimit) -> Phase:
        return "rate_limit" if self._paused(lane) else "pool"

    async def _slot(self, lane: ConcurrencyLimit, place: Waiter, watch: Deadline) -> None:
        """Wait for a slot, in the queue of the lane."""
        queue = lane.queue
        turn = asyncio.get_running_loop().create_future()
        overtaken = queue and next(reversed(queue.values())).ticket > place.ticket
        queue[turn] = place
        if overtaken:  # a pause has sent it back here, so it goes ahead of those who came later
            ahead = list(takewhile(lambda one: queue[one].ticket < place.ticket, queue))
            for one in (turn, *reversed(ahead)):
                queue.move_to_end(one, last=False)
        if len(queue) == 1:
            self._line_up(lane)
        try:
            await turn
        except BaseException:
            if queue.pop(turn, None):
                watch.phase = self._phase(lane)  # it may have become another meanwhile
                self._close_up(lane, place)
            elif not turn.cancelled() and turn.exception() is None:
                self._free(lane)  # it was handed over at the very moment of the cancellation
            raise

    def _line_up(self, lane: ConcurrencyLimit) -> None:
        """Let a lane with a queue have its turn among the others, once its pause is over."""
        if self._paused(lane):
            lane.alarm = asyncio.get_running_loop().create_task(self._resume(lane))
        elif lane.alarm:  # the pause is over
            lane.alarm = None
            self._queued.appendleft(lane)
        else:
            self._queued.append(lane)

    async def _resume(self, lane: ConcurrencyLimit) -> None:
        """Sleep for all who wait for the end of a pause."""
        await asyncio.sleep(0)  # or an eager task factory would begin before the lane knows of it
        try:
            while (delay := lane.paused_until - self._clock()) > 0:
                await self._sleep(delay)
        except Exception as error:  # noqa: BLE001 (the caller's own `sleep`; it goes back to those who wait for it)
            lane.alarm = None
            while lane.queue:
                turn, _ = lane.queue.popitem()
                if not turn.done():
                    turn.set_exception(error)
        else:
            self._line_up(lane)
            self._hand_on()

    def _close_up(self, lane: ConcurrencyLimit, gone: Waiter) -> None:
        """See to the lane of one who has left its queue."""
        if not lane.queue:
            if lane.alarm:
                lane.alarm.cancel()
                lane.alarm = None
            else:
                self._queued.remove(lane)
        elif gone.paced and not lane.first.paced:
            self._hand_on()  # it may have stood in the way of one who does not wait for the lane's own limit
