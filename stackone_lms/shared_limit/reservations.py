"""A limiter that takes departure times, a few at a time, out of one queue that all processes have in common."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextvars import Context
from typing import NamedTuple, Protocol, TypeAlias

from ..engine.rate_limit import Clock, Limiter, Sleep
from ..errors import ClientClosedError, StackOneError
from ..logs import log

LEAST_LEASE = 8
"""Departures that are taken at once for calls that wait; of a fast limit, those of a tenth of a second."""
MOST_SPARE = 256
"""Departures that are taken at once while the limit is not used up and nobody else needs them."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds before a store that cannot be reached is asked again."""
_TOLD_AT = 2
"""Failures in a row; one alone is a connection that was idle for too long."""


class Terms(NamedTuple):
    """What the numbers of a limit come to; microseconds."""

    step: int
    """From one departure to the next."""
    slack: int
    """How old a departure may be when it is given away: so many may go at once after a quiet time."""
    late: int
    """How long after its time a departure can be used."""
    horizon: int
    """How far ahead departures are given away a whole lease at a time."""


def terms_of(requests: int, per: float) -> Terms:
    """Return how departures have to be spaced for a limit.

    Args:
        requests: Requests in any window of `per` seconds.
        per: Length of the window.
    """
    # What arrives in a window may have been under way for longer or shorter; of a minute, that is 0.6 seconds.
    window = per + min(1.0, max(0.02, 0.01 * per))
    grace = max(0.1, 0.01 * per)
    burst = requests // 50
    # Departures are `step` apart, and each is used within `late` of its time: those that leave within a window have
    # their times within `window + late`, which is `requests` steps.
    step = math.ceil((window + grace) / (requests - burst) * 1e6)
    return Terms(step, burst * step, burst * step + int(grace * 1e6), int(max(1.0, per / 20) * 1e6))


class Demand(NamedTuple):
    """What a client asks the store for; times in microseconds by the store's clock."""

    need: int
    """Departures for calls that wait."""
    spare: int
    """Departures that it would take if nobody else has to wait for that; counted with those above."""
    pause: int
    """How long nobody is to depart from now on, as a server asked; 0 if it did not."""
    known: int
    """Until when this client has seen departures given away: a store that says less has lost its memory."""
    ahead: int
    """How far ahead that was when it saw it."""


class Lease(NamedTuple):
    """What the store gave; times in microseconds by the store's clock."""

    now: int
    """When it was asked."""
    first: int
    """The first departure; each of the others is a step later."""
    size: int
    """How many."""
    pause: int
    """How long nobody is to depart from `now` on."""
    earliest: float
    """The time of the client at `now`, at least."""
    latest: float
    """The time of the client at `now`, at most."""


class ReservationStore(Protocol):
    """Where the queue is kept."""

    async def reserve(self, demand: Demand) -> Lease:
        """Take departures off the queue.

        Raises:
            SharedLimitError: It cannot be reached, which may pass (`retryable`), or cannot be used.
        """
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


_Departure: TypeAlias = tuple[float, float]
"""When it may be used, and from when on it may not, by the clock of the client."""


class ReservationLimiter(Limiter):
    """Lets callers pass when a departure of theirs is due.

    Departures are given away in the order in which the store is asked, over all processes, so none is kept waiting by
    the others' luck, and nobody asks twice. One that is not used in time is lost: it must not be made up for.

    Args:
        store: Where the queue is kept.
        requests: Requests in any window of `per` seconds, over all processes.
        per: Length of the window in seconds.
        clock: Monotonic seconds.
        sleep: Suspends for so many seconds.
    """

    wait_reason = "shared_limit"

    def __init__(self, store: ReservationStore, *, requests: int, per: float, clock: Clock, sleep: Sleep) -> None:
        super().__init__(None, clock=clock, sleep=sleep)
        self.requests, self.per = requests, per
        self.terms = terms_of(requests, per)
        self._store = store
        self._most = max(LEAST_LEASE, round(0.1e6 / self.terms.step))
        self._departures: deque[_Departure] = deque()
        self._taken: _Departure | None = None
        self._asking: asyncio.Task[StackOneError | None] | None = None
        self._lease = self._spare = 1
        self._known = self._ahead = 0
        self._pause_to_share = float("-inf")
        self._failures = 0
        self._closed = False

    @property
    def rate(self) -> float | None:
        """Requests a second that the limit allows to all processes together."""
        return 1e6 / self.terms.step

    def try_acquire(self) -> bool:
        """Pass without waiting if a departure is due that nobody waits for."""
        now = self._clock()
        if self._queue or self._paused_until > now:
            return False
        self._drop_expired(now)
        if not self._departures or self._departures[0][0] > now:
            return False
        self._taken = self._departures.popleft()
        return True

    def give_back(self) -> None:
        """Return the departure of the one who passed last, and then sent nothing."""
        if self._taken is not None:
            self._departures.appendleft(self._taken)
            self._taken = None

    def pause(self, seconds: float) -> None:
        """Let nobody pass for so many seconds (a `Retry-After`), in no process."""
        super().pause(seconds)
        self._pause_to_share = max(self._pause_to_share, self._clock() + seconds)
        if not self._closed:
            self._ask(0)

    def leave_behind(self) -> None:
        """Forget who waits, and what is being asked: their event loop is closed."""
        super().leave_behind()
        self._asking = None

    def close(self) -> None:
        """Close the connection to the store."""
        self._closed = True
        asking, self._asking = self._asking, None
        if asking is not None and not asking.get_loop().is_closed():
            asking.cancel()
        self._store.close()

    async def _admit(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await super()._admit()  # it sleeps while there is a pause
            now = self._clock()
            self._drop_expired(now)
            if self._departures:
                due, _ = self._departures[0]
                if due <= now:
                    break
                await self._sleep(due - now)
                continue
            asking = self._ask(min(self._most, len(self._queue)))
            await asyncio.wait([asking])  # who is cancelled meanwhile leaves what comes to the next
            if self._closed or asking.cancelled():
                raise ClientClosedError("the client is closed")
            error = asking.result()
            if error is None:
                pause = _FIRST_PAUSE
                continue
            if not error.retryable:
                raise error
            await self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        self._taken = self._departures.popleft()
        missing = len(self._queue) - 1 - len(self._departures)
        if missing > 0 and len(self._departures) <= self._lease // 2:
            self._ask(min(self._most, missing))  # before they are needed, so that nobody waits for the answer

    def _drop_expired(self, now: float) -> None:
        departures = self._departures
        while departures and departures[0][1] < now:
            departures.popleft()
            self._spare = 1

    def _ask(self, need: int) -> asyncio.Task[StackOneError | None]:
        """Begin to ask the store, or return what has begun already."""
        if self._asking is None or self._asking.done():
            # Without the contextvars of the call, which it may outlive.
            self._asking = Context().run(asyncio.get_running_loop().create_task, self._reserve(need))
        return self._asking

    async def _reserve(self, need: int) -> StackOneError | None:
        """Ask the store, and return what it failed with."""
        spare = self._spare if need else 0
        while True:
            until, now = self._pause_to_share, self._clock()
            pause = math.ceil((until - now) * 1e6) if until > now else 0
            try:
                lease = await self._store.reserve(Demand(need, spare, pause, self._known, self._ahead))
            except StackOneError as error:
                if error.retryable:
                    self.outage, self._failures = error.message, self._failures + 1
                    if self._failures == _TOLD_AT:
                        log.warning("%s; calls wait for it", error.message)
                return error
            if self._failures >= _TOLD_AT:
                log.warning("the shared limit can be reached again")
            self.outage, self._failures = None, 0
            self._keep(lease)
            if self._pause_to_share == until:
                return None
            need = spare = 0  # a pause that began meanwhile is told, too

    def _keep(self, lease: Lease) -> None:
        step, late = self.terms.step / 1e6, self.terms.late / 1e6
        wait = (lease.first - lease.now) / 1e6
        due, expires = lease.latest + wait, lease.earliest + wait + late
        self._departures.extend([(due + n * step, expires + n * step) for n in range(lease.size)])
        if lease.size:
            all_spare = wait <= 0 and lease.size >= self._spare
            self._spare = min(MOST_SPARE, 2 * self._spare) if all_spare else 1
            self._lease = lease.size
            self._known = lease.first + lease.size * self.terms.step
            self._ahead = self._known - lease.now
        if lease.pause:
            super().pause(lease.pause / 1e6)
