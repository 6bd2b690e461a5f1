"""A bulk fetch: workers that take one id after the other, and a bounded number of outcomes that wait to be taken."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Coroutine
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from ..calls.operation import CallArguments, Operation
from ..calls.outcomes import Outcome
from ..engine.call import BoundExecutor
from ..engine.lifecycle import running_loop
from ..engine.observed import observed_bulk
from ..engine.observers import BulkStart
from ..errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    ForkedError,
    NotSupportedError,
    PreconditionFailedError,
    SharedLimitError,
    StackOneError,
    TLSError,
    WrongLoopError,
)
from .ids import NO_ID, AsyncSource, IdSource, QueueSource
from .jobs import Job, RecentJobs
from .progress import ProgressMeter
from .stream import Stream

R = TypeVar("R")

MAX_UNDELIVERED = 512
"""Outcomes that may be fetched and not delivered (or twice the concurrency, if that is more)."""
MAX_SECOND_TRIES = 10_000
"""Ids that may wait for their second try."""
SECOND_TRY_DELAY = 1.0
"""Seconds from the failure of an id to its second try, at least."""
MIN_EXTRA_WORKERS = 64
"""As many workers as sleep before a retry are added to those that send; at least up to so many."""
MAX_CONSECUTIVE_FAILURES = 200
"""Transient failures in a row after which a fetch stops."""
MAX_FAILURES_IN_OUTAGE, OUTAGE_SECONDS = 20, 300.0
"""The same once nothing has succeeded for so many seconds."""

FATAL_ERRORS = (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    ForkedError,
    NotSupportedError,
    PreconditionFailedError,
    TLSError,
    WrongLoopError,
)
"""Errors that every other id would meet, too: they stop the fetch."""


def is_fatal(error: StackOneError) -> bool:
    """Tell whether every other id would meet an error, too, such as a proxy that refuses."""
    return isinstance(error, FATAL_ERRORS) or (
        isinstance(error, ConnectError | SharedLimitError) and not error.retryable
    )


class FetchPlan(NamedTuple):
    """What a bulk fetch does."""

    get: Operation[Any]
    """Fetches one record."""
    ids: tuple[str, ...] = ()
    """What comes before the record's own id in the path."""
    query: str = ""
    """The encoded query."""
    concurrency: int | None = None
    """Requests under way; None to use the limit that the account finds for itself."""
    ordered: bool = False
    """Whether outcomes come in the order of the ids."""
    name: str = ""
    """What the caller called, such as `completions.get_many`."""


ListStep = Callable[["Fetch[Any]"], Coroutine[Any, Any, None]]
"""Runs before the first record is fetched singly: reads ids, delivers results, and gives the other ids back."""


class Fetch(Stream[Outcome[R]]):
    """One bulk fetch, on the loop of its client.

    Args:
        executor: Carries the calls.
        plan: What to do.
        source: The ids.
        total: How many they are, if known.
        with_progress: Whether there is a `progress=` callback.
        list_step: Runs first.
        async_ids: Where the ids of an `AsyncSource` come from.

    Attributes:
        max_workers: Requests under way at most, if `concurrency` is not given; None for the account's limit alone.
    """

    def __init__(
        self,
        executor: BoundExecutor,
        plan: FetchPlan,
        source: IdSource,
        *,
        total: int | None = None,
        with_progress: bool = False,
        list_step: ListStep | None = None,
        async_ids: AsyncIterable[Any] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(source, QueueSource):
            self.queues[None] = source
        self.source, self.plan, self.total = source, plan, total
        self.max_workers: int | None = None
        self.observed = observed_bulk(executor.settings.hooks)
        self.executor = executor.observed_by(self.observed)
        self._execute = self.executor.for_bulk(adaptive=plan.concurrency is None).execute
        self._with_progress, self._list_step, self._async_ids = with_progress, list_step, async_ids
        self._ready: deque[Outcome[R]] = deque()
        self._order: deque[Job] = deque()
        self._ready_in_order = 0  # jobs at the head of the order that are finished
        self._second_tries: deque[Job] = deque()
        self._assigned: deque[Job] = deque()  # to workers that have not begun
        self._recent = RecentJobs()
        self._undelivered = 0  # outcomes to be delivered of the ids taken, those that wait for a second try apart
        self._worker_count = self._ids_taken = 0
        self._begun = self._listing = self._awaits_ids = self._window_full = self._closed = False
        self._consecutive_failures, self._failing_since = 0, 0.0
        self._pending: list[Job] = []
        self._ids_came: asyncio.Future[None] | None = None
        self._space: asyncio.Future[None] | None = None

    @property
    def available(self) -> int:
        """How many outcomes could be popped now."""
        if self.stopped is not None:
            return len(self._order) + len(self._ready)
        return self._ready_in_order if self.plan.ordered else len(self._ready)

    @property
    def over(self) -> bool:
        """Whether no more outcomes will come."""
        if self.stopped is not None:
            return True
        return self._begun and self.source.ended and not (self.tasks or self._second_tries or self._listing)

    @property
    def idle(self) -> bool:
        """Whether no more outcomes come until more ids do."""
        return self._awaits_ids or (self._begun and not self.tasks)

    def start(self) -> None:
        """Begin."""
        if self._begun:
            return
        running_loop()
        self._begun = True
        if self.observed is not None:
            account = self.executor.settings.account_id
            self.observed.start(BulkStart(operation=self.plan.name, account_id=account, total=self.total))
        context = self.executor.bulk_context()
        self.clock, self.sleep = context.clock, context.sleep
        self._limit = context.concurrency
        self._limit.users += 1
        self._window = max(MAX_UNDELIVERED, 2 * (self.plan.concurrency or context.max_concurrency))
        if self._with_progress:
            self.meter = ProgressMeter(context.clock, context.limiter, self.total)
            self.meter.watch(context.concurrency)
        if isinstance(self.source, AsyncSource) and self._async_ids is not None:
            self.spawn(self.source.read(self._async_ids, self.start_work))
        if self._list_step is not None:
            self._listing = True
            self.spawn(self._run_list_step(self._list_step))

    def start_work(self) -> None:
        """Start workers, as long as there are ids for them and space for their outcomes."""
        if not self._begun:
            return
        if self.over:
            self.wake()
        if self._ids_came is not None and not self._ids_came.done():
            self._awaits_ids = False
            self._ids_came.set_result(None)
        while self._worker_count < self._target() and (job := self._next()) is not None:
            self._worker_count += 1
            self._assigned.append(job)
            self.spawn(self._work())

    def pop(self) -> Outcome[R] | None:
        """Take an outcome out."""
        outcome: Outcome[R] | None = None
        if not self.plan.ordered:
            if self._ready:
                outcome = self._ready.popleft()
        elif self._ready_in_order:
            self._ready_in_order -= 1
            outcome = self._order.popleft().outcome
        elif self.stopped is not None:
            while self._order and outcome is None:
                job = self._order.popleft()
                outcome = job.outcome
                if outcome is None:
                    self._pending.append(job)
        if outcome is None:
            return None
        self._undelivered -= 1
        if self._window_full and self._undelivered <= self._window // 2:
            self._window_full = False
            if self._space is not None and not self._space.done():
                self._space.set_result(None)
            self.start_work()
        if self.observed is not None:
            self.observed.count(failed=outcome.error is not None)
        if self.meter is not None:
            self.meter.add(outcome.result, outcome.error)
            if self.source.ended and not self._listing:
                self.meter.total = self._ids_taken
        return outcome

    def end(self) -> BaseException | None:
        """Return the error that stopped it, with the ids that have no outcome; else what the ids' iterable raised."""
        error = self.stopped
        if isinstance(error, StackOneError):
            if not self.plan.ordered:  # there, they were found missing when their turn came
                self._pending += [*self._second_tries, *self._assigned]
            pending = sorted(self._pending, key=attrgetter("number"))
            error.pending = [*(job.id for job in pending for _ in range(job.copies)), *self.source.untaken()]
            error.add_note(f"get_many stopped; {len(error.pending)} ids that were read have no outcome: see .pending")
        return error or self.source.error

    def abandon(self) -> None:
        """Cancel what is under way, and do not wait for its end."""
        super().abandon()
        if self._begun and not self._closed:
            self._closed = True
            self._limit.users -= 1

    # For the list step

    async def read_ids(self, most: int) -> list[Any]:
        """Take up to `most` ids; wait for them until there are no more."""
        ids: list[Any] = []
        while len(ids) < most:
            id = self.source.take()
            if id is not NO_ID:
                ids.append(id)
                if len(ids) % 4096 == 0:
                    await asyncio.sleep(0)
            elif self.source.ended:
                break
            else:
                self._ids_came, self._awaits_ids = asyncio.get_running_loop().create_future(), True
                self.wake()
                await self._ids_came
        return ids

    async def deliver(self, id: str, result: R, copies: int) -> None:
        """Deliver a result, once there is space for it, as often as the caller asked for it."""
        while self._undelivered >= self._window:
            self._window_full = True
            self._space = asyncio.get_running_loop().create_future()
            await self._space
        self._ids_taken += copies
        self._undelivered += copies
        self._ready.extend([Outcome(id, result)] * copies)
        self.notify()

    async def _run_list_step(self, list_step: ListStep) -> None:
        await list_step(self)
        self._listing = False
        self.start_work()

    # For the workers

    def _target(self) -> int:
        if self.plan.concurrency is not None:
            return self.plan.concurrency
        limit = self._limit.limit
        if self.max_workers is not None:
            limit = min(limit, self.max_workers)
        # A worker that sleeps before a retry has no request under way: others may work meanwhile.
        return limit + min(self._limit.backing_off, max(limit, MIN_EXTRA_WORKERS))

    def _next(self) -> Job | None:
        """Take the next job; None if there is none, or no space for its outcome."""
        if self.stopped is not None or self._listing:
            return None
        ordered, source = self.plan.ordered, self.source
        if self._second_tries:
            if ordered:
                if self._undelivered >= self._window or source.ended:
                    return self._next_second_try()
            elif (source.ended or len(self._second_tries) >= MAX_SECOND_TRIES) and self._undelivered < self._window:
                return self._next_second_try()
        while self._undelivered < self._window:
            id = source.take()
            if id is NO_ID:
                if self._second_tries and (ordered or source.ended):
                    return self._next_second_try()
                return None
            self._ids_taken += 1
            self._undelivered += 1
            known = self._recent.find(id)
            if known is not None:
                self._repeat(known)
                continue
            job = Job(id, self._ids_taken)
            self._recent.add(job)
            if ordered:
                self._order.append(job)
            return job
        self._window_full = True
        return None

    def _next_second_try(self) -> Job:
        job = self._second_tries.popleft()
        job.awaits_second_try = False
        if not self.plan.ordered:
            self._undelivered += job.copies
        return job

    def _repeat(self, job: Job) -> None:
        if self.plan.ordered:
            self._order.append(job)
            self._advance()
        elif job.outcome is not None:
            self._ready.append(job.outcome)
            self.notify()
        else:
            job.copies += 1
            if job.awaits_second_try:
                self._undelivered -= 1

    async def _work(self) -> None:
        job: Job | None = self._assigned.popleft()
        plan, execute = self.plan, self._execute
        try:
            while job is not None:
                if job.failed_at is not None:
                    await self.sleep(max(0.0, job.failed_at + SECOND_TRY_DELAY - self.clock()))
                try:
                    result = await execute(plan.get, CallArguments((*plan.ids, job.id), plan.query))
                except StackOneError as error:
                    self._fail(job, error)
                else:
                    self._consecutive_failures = 0
                    self._finish(job, Outcome(job.id, result))
                job = None
                target = self._target()
                if self._worker_count < target:
                    self.start_work()
                if self._worker_count <= target:
                    job = self._next()
        finally:
            self._worker_count -= 1
            if job is not None:
                self._keep_pending(job)

    def _keep_pending(self, job: Job) -> None:
        if not self.plan.ordered:
            self._pending.append(job)

    def _fail(self, job: Job, error: StackOneError) -> None:
        if is_fatal(error):
            self._keep_pending(job)
            self.stop(error)
        elif not error.retryable:
            if error.status is not None:
                self._consecutive_failures = 0
            self._finish(job, Outcome(job.id, error=error))
        elif self._is_outage():
            self._keep_pending(job)
            self.stop(error)
        elif job.failed_at is not None:
            self._finish(job, Outcome(job.id, error=error))
        else:
            job.failed_at, job.awaits_second_try = self.clock(), True
            self._second_tries.append(job)
            if not self.plan.ordered:
                self._undelivered -= job.copies

    def _is_outage(self) -> bool:
        self._consecutive_failures += 1
        if self._consecutive_failures == 1:
            self._failing_since = self.clock()
        failures, seconds = self._consecutive_failures, self.clock() - self._failing_since
        return failures >= MAX_CONSECUTIVE_FAILURES or (
            failures >= MAX_FAILURES_IN_OUTAGE and seconds >= OUTAGE_SECONDS
        )

    def _finish(self, job: Job, outcome: Outcome[R]) -> None:
        job.outcome = outcome
        if self.plan.ordered:
            self._advance()
        elif job.copies == 1:
            self._ready.append(outcome)
            self.notify()
        else:
            self._ready.extend([outcome] * job.copies)
            self.notify()
        self._recent.finish(job)

    def _advance(self) -> None:
        order, before = self._order, self._ready_in_order
        while self._ready_in_order < len(order) and order[self._ready_in_order].outcome is not None:
            self._ready_in_order += 1
        if self._ready_in_order != before:
            self.notify()
