"""The items of several accounts in one stream: fair to each of them, and the errors of one are its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

from ..calls.operation import CallArguments, Operation, PagedList
from ..calls.outcomes import AccountOutcome
from ..engine.call import BoundExecutor
from ..engine.observed import ObservedBulk
from ..engine.observers import BulkStart
from ..errors import (
    ClientClosedError,
    ForkedError,
    InvalidArgumentError,
    StackOneError,
    WrongLoopError,
    printable,
)
from .progress import ProgressMeter
from .stream import IdBatch, Stream
from .workers import Fetch

MAX_CONCURRENT_ACCOUNTS = 256
"""Accounts that are read from at once; the others follow as those end."""
MAX_QUEUED = 256
"""Items of one account that may wait to be taken."""

Items: TypeAlias = AsyncGenerator[AccountOutcome[Any], None]

_CLIENT_ERRORS = (ClientClosedError, ForkedError, WrongLoopError)


class AccountStream:
    """The items of one account.

    Args:
        executor: Carries the account's calls.
        items: Yields its items.
        fetch: The bulk fetch that they come from, if they do.

    Attributes:
        queue: Items that wait to be taken.
        space: Done when there is space for more of them, if the account waits for that.
    """

    def __init__(self, executor: BoundExecutor, items: Items, fetch: Fetch[Any] | None = None) -> None:
        self.executor, self.items, self.fetch = executor, items, fetch
        self.queue: deque[AccountOutcome[Any]] = deque()
        self.space: asyncio.Future[None] | None = None

    @property
    def awaits_ids(self) -> bool:
        """Whether nothing comes from it until more ids do."""
        fetch = self.fetch
        return fetch is not None and fetch.idle and not fetch.over and not fetch.available


class Merge(Stream[AccountOutcome[Any]]):
    """The items of several accounts, one of each in turn, as far as they are there.

    Args:
        streams: Makes the stream of each account, in the order in which they begin.
        total: How many items there will be, if known.
        with_progress: Whether there is a `progress=` callback.
        observed: What observers are told of it; None without observers, and for what is no bulk fetch.
        name: What the caller called, such as `completions.get_many`.
    """

    def __init__(
        self,
        streams: Mapping[str, Callable[[], AccountStream]],
        *,
        total: int | None = None,
        with_progress: bool = False,
        observed: ObservedBulk | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        self.observed = observed
        self._bulk_start = BulkStart(operation=name, account_id=None, accounts=len(streams), total=total)
        self._waiting = deque(streams.items())
        self._streams: dict[str, AccountStream] = {}
        self._turns: deque[AccountStream] = deque()
        self._queued = 0
        self._errors: dict[str, StackOneError] = {}  # what ended accounts early
        self._begun = False
        self._total, self._with_progress = total, with_progress
        while self._waiting and len(self._streams) < MAX_CONCURRENT_ACCOUNTS:
            self._open()

    @property
    def available(self) -> int:
        """How many items could be popped now."""
        return self._queued

    @property
    def over(self) -> bool:
        """Whether no more items will come."""
        return self.stopped is not None or not self._streams

    @property
    def idle(self) -> bool:
        """Whether every account waits for ids."""
        return all(stream.awaits_ids for stream in self._streams.values())

    def start(self) -> None:
        """Begin."""
        if self._begun:
            return
        self._begun = True
        if self.observed is not None:
            self.observed.start(self._bulk_start)
        for account in list(self._streams):
            self._start(account)

    def start_work(self) -> None:
        """Start tasks, as long as there is something to do and space for its items."""
        for stream in self._streams.values():
            if stream.fetch is not None and stream.fetch.queues:
                stream.fetch.start_work()

    def pop(self) -> AccountOutcome[Any] | None:
        """Take an item out, of the account whose turn it is."""
        if not self._turns:
            return None
        stream = self._turns.popleft()
        item = stream.queue.popleft()
        self._queued -= 1
        if stream.queue:
            self._turns.append(stream)
        if stream.space is not None and not stream.space.done() and len(stream.queue) <= MAX_QUEUED // 2:
            stream.space.set_result(None)
        if self.observed is not None:
            self.observed.count(failed=item.error is not None)
        if self.meter is not None:
            self.meter.add(item.result, item.error)
        return item

    def end(self) -> BaseException | None:
        """Return the error that concerns all accounts."""
        return self.stopped

    def put_ids(self, batch: IdBatch) -> None:
        """Put ids from another thread into the queue of their account, or with the error that ended it meanwhile."""
        if batch.key in self.queues:
            super().put_ids(batch)
        elif batch.ids:
            self._errors[batch.key].pending += batch.ids

    def _open(self) -> str:
        account, make = self._waiting.popleft()
        stream = self._streams[account] = make()
        if stream.fetch is not None:
            for queue in stream.fetch.queues.values():
                self.queues[account] = queue
        return account

    def _start(self, account: str) -> None:
        stream = self._streams[account]
        context = stream.executor.bulk_context()
        if self._with_progress and self.meter is None:
            self.meter = ProgressMeter(context.clock, context.limiter, self._total)
        if self.meter is not None:
            self.meter.watch(context.concurrency)
        self._share_workers(context.max_concurrency)
        self.spawn(self._read(account, stream, context.max_concurrency))

    def _share_workers(self, most: int) -> None:
        for stream in self._streams.values():
            if stream.fetch is not None:
                stream.fetch.max_workers = max(1, most // len(self._streams))

    async def _read(self, account: str, stream: AccountStream, most: int) -> None:
        try:
            async with aclosing(stream.items) as items:
                async for item in items:
                    self._put(stream, item)
                    if len(stream.queue) >= MAX_QUEUED:
                        stream.space = asyncio.get_running_loop().create_future()
                        await stream.space
        except _CLIENT_ERRORS:
            raise
        except StackOneError as error:
            self._errors[account] = error
            self._put(stream, AccountOutcome(account_id=account, error=error))
        del self._streams[account]
        self.queues.pop(account, None)
        if self._waiting and self.stopped is None:
            self._start(self._open())
        else:
            self._share_workers(most)

    def _put(self, stream: AccountStream, item: AccountOutcome[Any]) -> None:
        stream.queue.append(item)
        self._queued += 1
        if len(stream.queue) == 1:
            self._turns.append(stream)
        self.notify()


def one_call(account: str, executor: BoundExecutor, operation: Operation[Any], args: CallArguments) -> AccountStream:
    """Return the answer of one call as a stream."""

    async def items() -> Items:
        answer = await executor.execute(operation, args)
        yield AccountOutcome(account_id=account, id=args.ids[-1], result=answer)

    return AccountStream(executor, items())


def list_items(account: str, executor: BoundExecutor, pager: PagedList) -> AccountStream:
    """Return the items of a list as a stream."""

    async def items() -> Items:
        try:
            async with aclosing(pager.pages()) as pages:
                async for page in pages:
                    for item in page.data:
                        yield AccountOutcome(account_id=account, id=item.id, result=item)
                    for error in page.errors:
                        yield AccountOutcome(account_id=account, error=error)
        except _CLIENT_ERRORS:
            raise
        except StackOneError as error:
            yield AccountOutcome(account_id=account, error=error, cursor=pager.cursor)

    return AccountStream(executor, items())


def fetched_records(account: str, executor: BoundExecutor, fetch: Fetch[Any], *, own_ids: bool) -> AccountStream:
    """Return the outcomes of a bulk fetch as a stream.

    Args:
        account: The account.
        executor: Carries its calls.
        fetch: The bulk fetch.
        own_ids: Whether the ids are given for this account alone, so that what they raise concerns no other.
    """

    async def items() -> Items:
        try:
            async with aclosing(fetch.items()) as outcomes:
                async for outcome in outcomes:
                    yield AccountOutcome(account_id=account, id=outcome.id, result=outcome.result, error=outcome.error)
        except BaseException as error:
            if not own_ids or error is not fetch.source.error:
                raise
            unreadable = InvalidArgumentError(printable(f"the ids cannot be read: {type(error).__name__}: {error}"))
            unreadable.__cause__ = error
            yield AccountOutcome(account_id=account, error=unreadable)

    return AccountStream(executor, items(), fetch)
