"""Who may send a request now: pauses of an account, free slots, the rate limit of the key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from itertools import count, takewhile
from typing import TypeAlias, get_args

from ..errors import Phase
from .concurrency import ConcurrencyLimit, Load, Snapshot, Waiter, WaitReason
from .deadlines import Deadline
from .rate_limit import Clock, Limiter, Sleep

_KEPT_LIMITS = 4096

Waited: TypeAlias = Callable[[WaitReason, float], None]
"""Hears of a wait that is over: what for, and how many seconds."""


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
        self.slots_used = 0
        self.limits: dict[str | None, ConcurrencyLimit] = {}
        self.waited: dict[WaitReason, float] = dict.fromkeys(get_args(WaitReason), 0.0)
        self._queued: deque[ConcurrencyLimit] = deque()  # those with a queue and no pause, in turns
        self._tickets = count(1)
        self._sweep_at = 0
        self._clock, self._sleep = clock, sleep

    def without_calls(self) -> Admission:
        """Return the same for another event loop: what the limits have found, the limiter, and nobody who waits.

        Calls that were left behind on the loop before it keep what they hold of this one.
        """
        admission = Admission(self.limiter, max_concurrency=self.max_concurrency, clock=self._clock, sleep=self._sleep)
        admission.limits = {account: limit.without_calls() for account, limit in self.limits.items()}
        admission.waited = self.waited
        self.limiter.leave_behind()
        self.max_concurrency = 0  # so that nobody is woken on a loop that is closed
        return admission

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return sum(concurrency.in_flight for concurrency in list(self.limits.values()))

    @property
    def waiting(self) -> int:
        """How many calls wait for a slot, for the end of a pause, or for the rate limit."""
        return sum(len(concurrency.queue) for concurrency in list(self.limits.values())) + self.limiter.waiting

    def limit_of(self, account: str | None) -> ConcurrencyLimit:
        """Return the limit of an account; of more than 4,096, those that nobody would miss are forgotten."""
        found = self.limits.get(account)
        if found is None:
            if len(self.limits) >= max(_KEPT_LIMITS, self._sweep_at):
                now = self._clock()
                for name, concurrency in list(self.limits.items()):
                    if concurrency.idle and concurrency.paused_until <= now:
                        del self.limits[name]
                # Not again before there are twice as many: each sweep looks at all that could not be forgotten.
                self._sweep_at = 2 * len(self.limits)
            found = self.limits[account] = ConcurrencyLimit(self.max_concurrency)
        return found

    def pause(self, account: str | None, seconds: float, *, key_wide: bool) -> None:
        """Let nobody of an account pass for so many seconds, or nobody at all, as a `Retry-After` asked."""
        concurrency = self.limit_of(account)
        if key_wide:
            self.limiter.pause(seconds)
            if self.limiter.requests is not None:
                concurrency.recover()
        now = self._clock()
        reason: WaitReason = "key_pause" if key_wide else "account_pause"
        concurrency.last_pause = concurrency.last_pause.extended(now, now + seconds, reason)
        concurrency.paused_until = max(concurrency.paused_until, now + seconds)
        if concurrency.queue and not concurrency.pause_timer and self._paused(concurrency):
            self._queued.remove(concurrency)
            self._line_up(concurrency)

    async def acquire(
        self,
        account: str | None,
        deadline: Deadline,
        end: float,
        adaptive: bool = True,
        waited: Waited | None = None,
    ) -> ConcurrencyLimit:
        """Wait until a request may go; each success needs a `release` when the request is over.

        Args:
            account: The account it is for.
            deadline: The time limits of the call; it cancels the wait at `end`.
            end: When, on the clock, the call has to be over.
            adaptive: Whether it waits for the account's own limit, too.
            waited: Hears of each wait.
        """
        concurrency = self.limits.get(account) or self.limit_of(account)
        waiter: Waiter | None = None
        while True:
            if (
                self.slots_used < self.max_concurrency
                and not concurrency.queue
                and (concurrency.slots_used < concurrency.enforced or not adaptive)
                and not (concurrency.paused_until and self._paused(concurrency))
            ):
                self.slots_used += 1
                concurrency.slots_used += 1
            else:
                # The ticket stays the same however often it has to queue again: it keeps its place.
                waiter = waiter or Waiter(next(self._tickets), adaptive)
                deadline.wait(self._phase(concurrency), end)
                slot = self._slot(concurrency, waiter, deadline)
                await self.wait(slot, "concurrency_limit", waited, concurrency)
                if concurrency.paused_until and self._paused(concurrency):  # since it got its slot
                    self._free(concurrency)
                    continue
            if not self.limiter.try_acquire():
                waiter = waiter or Waiter(next(self._tickets), adaptive)
                deadline.wait("rate_limit", end)
                try:
                    await self.wait(self.limiter.acquire(), self.limiter.wait_reason, waited, self.limiter)
                except BaseException:
                    self._free(concurrency)
                    raise
                if concurrency.paused_until and self._paused(concurrency):
                    # Its account was paused while it waited: others may have both its slot and its token.
                    self.limiter.give_back()
                    self._free(concurrency)
                    continue
            concurrency.in_flight += 1
            concurrency.sent += 1
            return concurrency

    def release(
        self,
        concurrency: ConcurrencyLimit,
        snapshot: Snapshot,
        load: Load | None,
    ) -> None:
        """Give the slot of a request back, which goes to somebody who waits.

        Args:
            concurrency: The limit of its account.
            snapshot: What that was like when the request was sent.
            load: What its end says of the load; None: nothing.
        """
        concurrency.in_flight -= 1
        if load == "served":
            concurrency.succeed(snapshot)
        elif load == "overloaded":
            concurrency.decrease(snapshot)
        # As `_free` does, without another step: every call ends here.
        concurrency.slots_used -= 1
        self.slots_used -= 1
        if self._queued:
            self._hand_over()

    def _free(self, concurrency: ConcurrencyLimit) -> None:
        concurrency.slots_used -= 1
        self.slots_used -= 1
        if self._queued:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the free slots to those who wait.

        A slot is counted as used from the moment it is handed over, and not only when the one who waited runs again:
        in between, a newcomer would find it free and overtake. Who was cancelled in that very moment gives it back
        (in `_slot`). One account gets one slot a turn and goes to the end of the rotation, if it has more who wait.
        """
        while self._queued and self.slots_used < self.max_concurrency:
            concurrency = self._next_in_turn()
            if concurrency is None:
                return
            turn, _ = concurrency.queue.popitem(last=False)
            if concurrency.queue:
                self._queued.append(concurrency)
            if not turn.done():
                self.slots_used += 1
                concurrency.slots_used += 1
                turn.set_result(None)

    def _next_in_turn(self) -> ConcurrencyLimit | None:
        """Take an account that may have a slot out of the rotation: the first below its share, else the first."""
        share = self.max_concurrency / len(self._queued)
        chosen: ConcurrencyLimit | None = None
        for concurrency in self._queued:
            if concurrency.slots_used < concurrency.enforced or not concurrency.first.adaptive:
                if concurrency.slots_used < share:
                    chosen = concurrency
                    break
                chosen = chosen or concurrency
        if chosen is not None:
            self._queued.remove(chosen)
        return chosen

    async def wait(
        self,
        something: Awaitable[object],
        reason: WaitReason,
        waited: Waited | None,
        paused: ConcurrencyLimit | Limiter | None = None,
    ) -> None:
        """Wait for something, and note how long.

        Args:
            something: What to wait for.
            reason: What that is.
            waited: Hears of it.
            paused: What may have been paused meanwhile, so that it waited for the end of that instead.
        """
        began = self._clock()
        try:
            await something
        finally:
            ended = self._clock()
            if paused is not None and paused.last_pause.fills_most_of(began, ended):
                reason = paused.last_pause.reason
            self.waited[reason] += ended - began
            if waited is not None:
                waited(reason, ended - began)

    def _paused(self, concurrency: ConcurrencyLimit) -> bool:
        if concurrency.paused_until <= self._clock():
            concurrency.paused_until = 0.0
        return concurrency.paused_until > 0

    def _phase(self, concurrency: ConcurrencyLimit) -> Phase:
        return "rate_limit" if self._paused(concurrency) else "pool"

    async def _slot(self, concurrency: ConcurrencyLimit, waiter: Waiter, deadline: Deadline) -> None:
        """Wait for a slot, in the queue of the account."""
        queue = concurrency.queue
        turn = asyncio.get_running_loop().create_future()
        overtaken = queue and next(reversed(queue.values())).ticket > waiter.ticket
        queue[turn] = waiter
        if overtaken:
            # A pause has sent it back here, so it goes ahead of those who came later: of all with lower tickets, which
            # stand in front, it becomes the last. An OrderedDict moves only to its ends, hence all of them, backwards.
            ahead = list(takewhile(lambda one: queue[one].ticket < waiter.ticket, queue))
            for one in (turn, *reversed(ahead)):
                queue.move_to_end(one, last=False)
        if len(queue) == 1:
            self._line_up(concurrency)
        try:
            await turn
        except BaseException:
            if queue.pop(turn, None):
                deadline.phase = self._phase(concurrency)  # it may have become another meanwhile
                self._close_up(concurrency, waiter)
            elif not turn.cancelled() and turn.exception() is None:
                self._free(concurrency)  # it was handed over at the very moment of the cancellation
            raise

    def _line_up(self, concurrency: ConcurrencyLimit) -> None:
        """Let an account with a queue have its turn among the others, once its pause is over."""
        if self._paused(concurrency):
            # Without the contextvars of the call that comes first, which it may outlive.
            create = asyncio.get_running_loop().create_task
            concurrency.pause_timer = Context().run(create, self._end_pause(concurrency))
        elif concurrency.pause_timer:  # the pause is over, and it has waited longest
            concurrency.pause_timer = None
            self._queued.appendleft(concurrency)
        else:
            self._queued.append(concurrency)

    async def _end_pause(self, concurrency: ConcurrencyLimit) -> None:
        """Sleep for all who wait for the end of a pause."""
        await asyncio.sleep(0)  # or an eager task factory would begin before `pause_timer` is set
        try:
            while (delay := concurrency.paused_until - self._clock()) > 0:
                await self._sleep(delay)
        except Exception as error:  # noqa: BLE001 (the caller's own `sleep`; it goes back to those who wait for it)
            concurrency.pause_timer = None
            while concurrency.queue:
                turn, _ = concurrency.queue.popitem()
                if not turn.done():
                    turn.set_exception(error)
        else:
            self._line_up(concurrency)
            self._hand_over()

    def _close_up(self, concurrency: ConcurrencyLimit, gone: Waiter) -> None:
        """See to the account of one who has left its queue."""
        if not self.max_concurrency:
            return
        if not concurrency.queue:
            if concurrency.pause_timer:
                concurrency.pause_timer.cancel()
                concurrency.pause_timer = None
            else:
                self._queued.remove(concurrency)
        elif gone.adaptive and not concurrency.first.adaptive:
            self._hand_over()  # it may have stood in the way of one who does not wait for the account's own limit
