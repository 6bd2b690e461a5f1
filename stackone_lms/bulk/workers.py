"""The engine of a bulk fetch: workers that take the next id, and bounded room for outcomes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Coroutine
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from ..calls.operation import AsyncExecutor, CallArguments, Operation
from ..calls.outcomes import Outcome
from ..errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    ForkedError,
    NotSupportedError,
    PreconditionFailedError,
    StackOneError,
    TLSError,
    WrongLoopError,
)
from .ids import NOTHING, Feed, Inbox, Source
from .jobs import Job, Recent
from .progress import Meter
from .stream import Stream

R = TypeVar("R")

WINDOW = 512
"""Outcomes fetched and not delivered at most (or twice the concurrency, if that is more)."""
MOST_AGAIN = 10_000
"""Ids that may wait for their second try."""
REST = 1.0
"""Seconds from the failure of an id to its second try, at least."""
SLEEPERS = 64
"""Workers that may sleep before a retry beside those that send, at least."""
IN_A_ROW = 200
"""Transient failures in a row after which a fetch stops."""
SILENT_IN_A_ROW, SILENCE = 20, 300.0
"""The same when nothing has succeeded for so many seconds."""

HOPELESS = (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    ForkedError,
    NotSupportedError,
    PreconditionFailedError,
    TLSError,
    WrongLoopError,
)


class Plan(NamedTuple):
    """What a bulk fetch is to do."""

    get: Operation[Any]
    """Fetches one record."""
    ids: tuple[str, ...] = ()
    """What comes before the record's own id in the path."""
    query: str = ""
    """The encoded query."""
    concurrency: int | None = None
    """Requests under way; None to find out."""
    ordered: bool = False
    """Whether outcomes come in the order of the ids."""


Prelude = Callable[["Fetch[Any]"], Coroutine[Any, Any, None]]


class Fetch(Stream[Outcome[R]]):
    """One bulk fetch, on the loop of its client.

    Args:
        carrier: Carries the calls.
        plan: What to do.
        source: The ids.
        total: How many they are, if known.
        metered: Whether somebody wants to know the progress.
        prelude: Run first: takes ids, offers results, and puts the other ids back to be fetched one by one.
        feed: Where the ids of a `Feed` come from.

    Attributes:
        most: Requests under way at most while finding out how many are good; None for as many as the client allows.
    """

    def __init__(
        self,
        carrier: AsyncExecutor,
        plan: Plan,
        source: Source,
        *,
        total: int | None = None,
        metered: bool = False,
        prelude: Prelude | None = None,
        feed: AsyncIterable[Any] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(source, Inbox):
            self.inboxes[None] = source
        self.source, self.plan, self.total = source, plan, total
        self.most: int | None = None
        self.carrier = carrier
        self._carry = carrier.for_bulk(paced=plan.concurrency is None).execute
        self._metered, self._prelude, self._feed = metered, prelude, feed
        self._ready: deque[Outcome[R]] = deque()
        self._order: deque[Job] = deque()
        self._front = 0  # jobs at the head of the order that are finished
        self._again: deque[Job] = deque()
        self._handed: deque[Job] = deque()  # to workers that have not begun
        self._recent = Recent()
        self._open = 0  # outcomes asked for and not delivered, those of resting jobs apart
        self._workers = self._taken = 0
        self._begun = self._held = self._hungry = self._full = self._closed = False
        self._in_a_row, self._failing_since = 0, 0.0
        self._pending: list[Job] = []
        self._supplied: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def available(self) -> int:
        """How many outcomes could be popped now."""
        if self.stopped is not None:
            return len(self._order) + len(self._ready)
        return self._front if self.plan.ordered else len(self._ready)

    @property
    def over(self) -> bool:
        """Whether no more outcomes will come."""
        if self.stopped is not None:
            return True
        return self._begun and self.source.ended and not (self.tasks or self._again or self._held)

    @property
    def idle(self) -> bool:
        """Whether it waits for ids."""
        return self._hungry or (self._begun and not self.tasks)

    def start(self) -> None:
        """Begin."""
        if self._begun:
            return
        self._begun = True
        context = self.carrier.bulk_context()
        self.clock, self.sleep = context.clock, context.sleep
        self._concurrency = context.concurrency
        self._concurrency.users += 1
        self._window = max(WINDOW, 2 * (self.plan.concurrency or context.max_concurrency))
        if self._metered:
            self.meter = Meter(context.clock, context.limiter, self.total)
            self.meter.watch(context.concurrency)
        if isinstance(self.source, Feed) and self._feed is not None:
            self.spawn(self.source.read(self._feed, self.fill))
        if self._prelude is not None:
            self._held = True
            self.spawn(self._begin(self._prelude))

    def fill(self) -> None:
        """Start workers, as long as there is work and room for what comes of it."""
        if not self._begun:
            return
        if self.over:
            self.wake()
        if self._supplied is not None and not self._supplied.done():
            self._hungry = False
            self._supplied.set_result(None)
        while self._workers < self._target() and (job := self._next()) is not None:
            self._workers += 1
            self._handed.append(job)
            self.spawn(self._work())

    def pop(self) -> Outcome[R] | None:
        """Take an outcome out."""
        outcome: Outcome[R] | None = None
        if not self.plan.ordered:
            if self._ready:
                outcome = self._ready.popleft()
        elif self._front:
            self._front -= 1
            outcome = self._order.popleft().outcome
        elif self.stopped is not None:
            while self._order and outcome is None:
                job = self._order.popleft()
                outcome = job.outcome
                if outcome is None:
                    self._pending.append(job)
        if outcome is None:
            return None
        self._open -= 1
        if self._full and self._open <= self._window // 2:
            self._full = False
            if self._room is not None and not self._room.done():
                self._room.set_result(None)
            self.fill()
        if self.meter is not None:
            self.meter.add(outcome.result, outcome.error)
            if self.source.ended and not self._held:
                self.meter.total = self._taken
        return outcome

    def end(self) -> BaseException | None:
        """Return the error that stopped it, with the ids that have no outcome; else what the ids' iterable raised."""
        error = self.stopped
        if isinstance(error, StackOneError):
            if not self.plan.ordered:  # there, they were found missing when their turn came
                self._pending += [*self._again, *self._handed]
            pending = sorted(self._pending, key=attrgetter("number"))
            error.pending = [*(job.id for job in pending for _ in range(job.copies)), *self.source.leftover()]
            error.add_note(f"get_many stopped; {len(error.pending)} ids that were read have no outcome: see .pending")
        return error or self.source.error

    async def close(self) -> None:
        """Cancel what is under way and wait for its end."""
        await super().close()
        if self._begun and not self._closed:
            self._closed = True
            self._concurrency.users -= 1

    # For the prelude

    async def gather(self, most: int) -> list[Any]:
        """Take up to `most` ids."""
        ids: list[Any] = []
        while len(ids) < most:
            id = self.source.take()
            if id is not NOTHING:
                ids.append(id)
                if len(ids) % 4096 == 0:
                    await asyncio.sleep(0)
            elif self.source.ended:
                break
            else:
                self._supplied, self._hungry = asyncio.get_running_loop().create_future(), True
                self.wake()
                await self._supplied
        return ids

    async def offer(self, id: str, result: R, copies: int) -> None:
        """Deliver a result, once there is room."""
        while self._open >= self._window:
            self._full = True
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        self._taken += copies
        self._open += copies
        self._ready.extend([Outcome(id, result)] * copies)
        self.tell()

    async def _begin(self, prelude: Prelude) -> None:
        await prelude(self)
        self._held = False
        self.fill()

    # For the workers

    def _target(self) -> int:
        if self.plan.concurrency is not None:
            return self.plan.concurrency
        concurrency = self._concurrency
        limit = concurrency.limit if self.most is None else min(concurrency.limit, self.most)
        # Who sleeps before a retry has no request under way; others may work meanwhile.
        return limit + min(concurrency.backing_off, max(limit, SLEEPERS))

    def _next(self) -> Job | None:
        """Take the next job, None if there is none or no room for its outcome."""
        if self.stopped is not None or self._held:
            return None
        ordered, source = self.plan.ordered, self.source
        if self._again:
            if ordered:
                if self._open >= self._window or source.ended:
                    return self._second()
            elif (source.ended or len(self._again) >= MOST_AGAIN) and self._open < self._window:
                return self._second()
        while self._open < self._window:
            id = source.take()
            if id is NOTHING:
                if self._again and (ordered or source.ended):
                    return self._second()
                return None
            self._taken += 1
            self._open += 1
            known = self._recent.find(id)
            if known is not None:
                self._repeat(known)
                continue
            job = Job(id, self._taken)
            self._recent.add(job)
            if ordered:
                self._order.append(job)
            return job
        self._full = True
        return None

    def _second(self) -> Job:
        job = self._again.popleft()
        job.resting = False
        if not self.plan.ordered:
            self._open += job.copies
        return job

    def _repeat(self, job: Job) -> None:
        if self.plan.ordered:
            self._order.append(job)
            self._advance()
        elif job.outcome is not None:
            self._ready.append(job.outcome)
            self.tell()
        else:
            job.copies += 1
            if job.resting:
                self._open -= 1

    async def _work(self) -> None:
        job: Job | None = self._handed.popleft()
        plan, execute = self.plan, self._carry
        try:
            while job is not None:
                if job.failed_at is not None:
                    await self.sleep(max(0.0, job.failed_at + REST - self.clock()))
                try:
                    result = await execute(plan.get, CallArguments((*plan.ids, job.id), plan.query))
                except StackOneError as error:
                    self._fail(job, error)
                else:
                    self._in_a_row = 0
                    self._finish(job, Outcome(job.id, result))
                job = None
                target = self._target()
                if self._workers < target:
                    self.fill()
                if self._workers <= target:
                    job = self._next()
        finally:
            self._workers -= 1
            if job is not None:
                self._leave(job)

    def _leave(self, job: Job) -> None:
        if not self.plan.ordered:
            self._pending.append(job)

    def _fail(self, job: Job, error: StackOneError) -> None:
        if isinstance(error, HOPELESS):
            self._leave(job)
            self.stop(error)
        elif not error.retryable:
            if error.status is not None:
                self._in_a_row = 0
            self._finish(job, Outcome(job.id, error=error))
        elif self._is_outage():
            self._leave(job)
            self.stop(error)
        elif job.failed_at is not None:
            self._finish(job, Outcome(job.id, error=error))
        else:
            job.failed_at, job.resting = self.clock(), True
            self._again.append(job)
            if not self.plan.ordered:
                self._open -= job.copies

    def _is_outage(self) -> bool:
        self._in_a_row += 1
        if self._in_a_row == 1:
            self._failing_since = self.clock()
        return self._in_a_row >= IN_A_ROW or (
            self._in_a_row >= SILENT_IN_A_ROW and self.clock() - self._failing_since >= SILENCE
        )

    def _finish(self, job: Job, outcome: Outcome[R]) -> None:
        job.outcome = outcome
        if self.plan.ordered:
            self._advance()
        elif job.copies == 1:
            self._ready.append(outcome)
            self.tell()
        else:
            self._ready.extend([outcome] * job.copies)
            self.tell()
        self._recent.finish(job)

    def _advance(self) -> None:
        order, before = self._order, self._front
        while self._front < len(order) and order[self._front].outcome is not None:
            self._front += 1
        if self._front != before:
            self.tell()
