"""Reads over several accounts at once: fair to each of them, with the errors of one kept to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

from ..bulk.get_many import Bulk
from ..bulk.ids import (
    Inbox,
    check_ids,
    iterate,
    size_of,
)
from ..bulk.progress import Meter, Report
from ..bulk.stream import Stream, iterate_from_thread
from ..bulk.workers import Fetch
from ..calls.lists import AsyncPager
from ..calls.operation import (
    AsyncExecutor,
    AsyncFanOutExecutor,
    C_co,
    CallArguments,
    Operation,
    SyncExecutor,
    SyncFanOutExecutor,
)
from ..calls.outcomes import AccountOutcome
from ..errors import (
    ClientClosedError,
    ForkedError,
    InvalidArgumentError,
    StackOneError,
    WrongLoopError,
)
from .resources import Api

MOST_ACCOUNTS = 256
"""Accounts that are read from at once; the others follow as those end."""
ROOM = 256
"""Items of one account that may wait to be taken."""

Items: TypeAlias = AsyncGenerator[AccountOutcome[Any], None]

_EVERYBODYS = (ClientClosedError, ForkedError, WrongLoopError)


class _Part:
    """One account's part of a merged stream."""

    def __init__(self, carrier: AsyncExecutor, items: Items, fetch: Fetch[Any] | None = None) -> None:
        self.carrier, self.items, self.fetch = carrier, items, fetch
        self.queue: deque[AccountOutcome[Any]] = deque()
        self.room: asyncio.Future[None] | None = None

    @property
    def starved(self) -> bool:
        """Whether it waits for ids."""
        fetch = self.fetch
        return fetch is not None and fetch.idle and not fetch.over and not fetch.available


class Merge(Stream[AccountOutcome[Any]]):
    """The items of several accounts, one of each in turn, as far as they are there.

    Args:
        parts: Makes the part of each account, in the order in which they begin.
        total: How many items there will be, if known.
        metered: Whether somebody wants to know the progress.
    """

    def __init__(
        self,
        parts: Mapping[str, Callable[[], _Part]],
        *,
        total: int | None = None,
        metered: bool = False,
    ) -> None:
        super().__init__()
        self._waiting = deque(parts.items())
        self._parts: dict[str, _Part] = {}
        self._turns: deque[_Part] = deque()
        self._queued = 0
        self._begun = False
        self._total, self._metered = total, metered
        while self._waiting and len(self._parts) < MOST_ACCOUNTS:
            self._open()

    @property
    def available(self) -> int:
        """How many items could be popped now."""
        return self._queued

    @property
    def over(self) -> bool:
        """Whether no more items will come."""
        return self.stopped is not None or not self._parts

    @property
    def idle(self) -> bool:
        """Whether every account waits for ids."""
        return all(part.starved for part in self._parts.values())

    def start(self) -> None:
        """Begin."""
        if self._begun:
            return
        self._begun = True
        for account in list(self._parts):
            self._run(account)

    def fill(self) -> None:
        """Start whatever can be started."""
        for part in self._parts.values():
            if part.fetch is not None and part.fetch.inboxes:
                part.fetch.fill()

    def pop(self) -> AccountOutcome[Any] | None:
        """Take an item out, of the account whose turn it is."""
        if not self._turns:
            return None
        part = self._turns.popleft()
        item = part.queue.popleft()
        self._queued -= 1
        if part.queue:
            self._turns.append(part)
        if part.room is not None and not part.room.done() and len(part.queue) <= ROOM // 2:
            part.room.set_result(None)
        if self.meter is not None:
            self.meter.add(item.result, item.error)
        return item

    def end(self) -> BaseException | None:
        """Return the error that concerns all accounts."""
        return self.stopped

    def _open(self) -> str:
        account, make = self._waiting.popleft()
        part = self._parts[account] = make()
        if part.fetch is not None:
            for inbox in part.fetch.inboxes.values():
                self.inboxes[account] = inbox
        return account

    def _run(self, account: str) -> None:
        part = self._parts[account]
        context = part.carrier.bulk_context()
        if self._metered and self.meter is None:
            self.meter = Meter(context.clock, context.limiter, self._total)
        if self.meter is not None:
            self.meter.watch(context.concurrency)
        self._share(context.max_concurrency)
        self.spawn(self._pump(account, part, context.max_concurrency))

    def _share(self, most: int) -> None:
        for part in self._parts.values():
            if part.fetch is not None:
                part.fetch.most = max(1, most // len(self._parts))

    async def _pump(self, account: str, part: _Part, most: int) -> None:
        try:
            async with aclosing(part.items) as items:
                async for item in items:
                    self._put(part, item)
                    if len(part.queue) >= ROOM:
                        part.room = asyncio.get_running_loop().create_future()
                        await part.room
        except _EVERYBODYS:
            raise
        except StackOneError as error:
            self._put(part, AccountOutcome(account_id=account, error=error))
        del self._parts[account]
        self.inboxes.pop(account, None)
        if self._waiting and self.stopped is None:
            self._run(self._open())
        else:
            self._share(most)

    def _put(self, part: _Part, item: AccountOutcome[Any]) -> None:
        part.queue.append(item)
        self._queued += 1
        if len(part.queue) == 1:
            self._turns.append(part)
        self.tell()


def _one(account: str, carrier: AsyncExecutor, operation: Operation[Any], args: CallArguments) -> _Part:
    async def items() -> Items:
        answer = await carrier.execute(operation, args)
        yield AccountOutcome(account_id=account, id=args.ids[-1], result=answer)

    return _Part(carrier, items())


def _walk(account: str, carrier: AsyncExecutor, pager: AsyncPager[Any]) -> _Part:
    async def items() -> Items:
        try:
            async with aclosing(pager.pages()) as pages:
                async for page in pages:
                    for item in page.data:
                        yield AccountOutcome(account_id=account, id=item.id, result=item)
                    for error in page.errors:
                        yield AccountOutcome(account_id=account, error=error)
        except _EVERYBODYS:
            raise
        except StackOneError as error:
            yield AccountOutcome(account_id=account, error=error, cursor=pager.cursor)

    return _Part(carrier, items())


def _many(account: str, carrier: AsyncExecutor, fetch: Fetch[Any]) -> _Part:
    async def items() -> Items:
        async with aclosing(fetch.items()) as outcomes:
            async for outcome in outcomes:
                yield AccountOutcome(account_id=account, id=outcome.id, result=outcome.result, error=outcome.error)

    return _Part(carrier, items(), fetch)


class _Fan:
    """What both fans share."""

    def __init__(self, carriers: Mapping[str, AsyncExecutor]) -> None:
        self._carriers = carriers

    def _deliver(self, merge: Merge, ids: Mapping[str, Any], report: Report | None) -> Any:
        raise NotImplementedError

    def _fetch(self, bulk: Bulk, carrier: AsyncExecutor, ids: Any) -> Fetch[Any]:
        raise NotImplementedError

    def carry_one(self, operation: Operation[Any], args: CallArguments, /) -> Any:
        """Perform one call in every account."""
        parts = {name: partial(_one, name, aio, operation, args) for name, aio in self._carriers.items()}
        return self._deliver(Merge(parts), {}, None)

    def execute_list(self, pager: Callable[[AsyncExecutor], AsyncPager[Any]], /) -> Any:
        """Walk a list of every account."""
        pagers = {name: pager(aio) for name, aio in self._carriers.items()}
        parts = {name: partial(_walk, name, self._carriers[name], one) for name, one in pagers.items()}
        return self._deliver(Merge(parts), {}, None)

    def carry_many(self, bulk: Bulk, ids: Any, /) -> Any:
        """Fetch many records of every account."""
        by_account = self._by_account(ids)
        sizes = [size_of(some) for some in by_account.values()]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        parts = {name: partial(self._part, name, bulk, self._carriers[name], some) for name, some in by_account.items()}
        merge = Merge(parts, total=total, metered=bulk.report is not None)
        return self._deliver(merge, by_account, bulk.report)

    def _part(self, name: str, bulk: Bulk, carrier: AsyncExecutor, ids: Any) -> _Part:
        return _many(name, carrier, self._fetch(bulk, carrier, ids))

    def _by_account(self, ids: Any) -> Mapping[str, Any]:
        blocking = isinstance(self, SyncFanOutExecutor)
        if isinstance(ids, Mapping):
            given = dict(cast("Mapping[str, Any]", ids))
            if not given.keys() <= self._carriers.keys():
                raise InvalidArgumentError("ids are given for an account that for_accounts() was not")
            for some in given.values():
                check_ids(some, blocking=blocking)
            return given
        check_ids(ids, blocking=True)
        if not isinstance(ids, Path | Collection):
            raise InvalidArgumentError(
                "ids for every account must be a list, a set or a path, since they are read once for each; "
                "or pass a mapping with the ids of each account"
            )
        return dict.fromkeys(self._carriers, cast("Any", ids))


class AioAccounts(_Fan, AsyncFanOutExecutor):
    """A fan whose outcomes are iterated on the loop."""

    def _deliver(self, merge: Merge, ids: Mapping[str, Any], report: Report | None) -> Items:
        return merge.items(report)

    def _fetch(self, bulk: Bulk, carrier: AsyncExecutor, ids: Any) -> Fetch[Any]:
        return bulk.fetch_here(carrier, ids)


class BlockingAccounts(_Fan, SyncFanOutExecutor):
    """A fan whose outcomes are brought over from the loop of another thread."""

    def __init__(self, carriers: Mapping[str, AsyncExecutor], bridge: SyncExecutor) -> None:
        super().__init__(carriers)
        self._bridge = bridge

    def _deliver(
        self, merge: Merge, ids: Mapping[str, Any], report: Report | None
    ) -> Generator[AccountOutcome[Any], None, None]:
        return iterate_from_thread(self._bridge, merge, {name: iterate(some) for name, some in ids.items()}, report)

    def _fetch(self, bulk: Bulk, carrier: AsyncExecutor, ids: Any) -> Fetch[Any]:
        return bulk.fetch(carrier, Inbox())


class Accounts(Api[C_co]):
    """The resources of several accounts at once.

    Each read is performed in every account, with the accounts side by side under the limits that they share: one that
    is slow or throttled does not hold up the others. What comes is an iterator of `AccountOutcome`, which names the
    account: a result, or an error, which concerns that account only.

    - `get(id)` yields the record of every account that has it.
    - `list(...)` yields the items of every account's list. The error of a list that broke off carries the `cursor` to
      resume it.
    - `get_many(ids)` takes a mapping from account to ids; or ids, which are then fetched from every account.

    Writes are for one account: `with_options(account_id=...)`.
    """

    def __init__(self, carrier: C_co, size: int) -> None:
        super().__init__(carrier)
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._size}>"
