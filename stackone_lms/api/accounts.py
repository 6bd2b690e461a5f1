"""The resources of several accounts at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

from ..bulk.get_many import BulkRequest
from ..bulk.ids import Ids, QueueSource, check_ids, iterate_ids, known_size
from ..bulk.merge import AccountStream, Items, Merge, fetched_records, list_items, one_call
from ..bulk.progress import Report
from ..bulk.stream import iterate_from_thread
from ..bulk.workers import Fetch
from ..calls.lists import AsyncPager
from ..calls.operation import (
    AsyncExecutor,
    AsyncFanOutExecutor,
    C_co,
    CallArguments,
    Operation,
    PagedList,
    SyncExecutor,
    SyncFanOutExecutor,
)
from ..calls.outcomes import AccountOutcome, AsyncOutcomes, SyncOutcomes
from ..calls.signatures import not_for_users
from ..engine.call import BoundExecutor
from ..engine.observed import observed_bulk
from ..errors import InvalidArgumentError, printable
from ..models.accounts import LinkedAccount
from .resources import Api

AccountIds: TypeAlias = Ids | Iterable[LinkedAccount]
"""Accounts by their ids, or as the list of accounts delivers them."""
AsyncAccountOutcomes: TypeAlias = AsyncOutcomes[AccountOutcome[Any]]


class _FanOut:
    """Performs reads in several accounts.

    Args:
        executors: The executor of each account.
    """

    def __init__(self, executors: Mapping[str, BoundExecutor]) -> None:
        self._executors = executors

    def _deliver(
        self, merge: Merge, operation: Operation[Any], ids: Mapping[str, Any], report: Report | None = None
    ) -> Any:
        raise NotImplementedError

    def _fetch(self, bulk: BulkRequest, executor: BoundExecutor, ids: Any) -> Fetch[Any]:
        raise NotImplementedError

    def execute_one(self, operation: Operation[Any], args: CallArguments, /) -> Any:
        """Perform one call in every account."""
        streams = {
            name: partial(one_call, name, executor, operation, args) for name, executor in self._executors.items()
        }
        return self._deliver(Merge(streams), operation, {})

    def execute_list(self, operation: Operation[Any], pager: Callable[[AsyncExecutor], PagedList], /) -> Any:
        """List the items of every account."""
        pagers = {name: pager(executor) for name, executor in self._executors.items()}
        streams = {name: partial(list_items, name, self._executors[name], one) for name, one in pagers.items()}
        return self._deliver(Merge(streams), operation, {})

    def execute_many(self, bulk: BulkRequest, ids: Any, /) -> Any:
        """Fetch many records of every account."""
        by_account = self._by_account(ids)
        sizes = [known_size(some) for some in by_account.values()]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        own_ids = isinstance(ids, Mapping)
        observed = observed_bulk(next(iter(self._executors.values())).settings.hooks)

        def stream(name: str) -> AccountStream:
            executor = self._executors[name].observed_by(observed)
            return fetched_records(name, executor, self._fetch(bulk, executor, by_account[name]), own_ids=own_ids)

        streams = {name: partial(stream, name) for name in by_account}
        merge = Merge(
            streams, total=total, with_progress=bulk.report is not None, observed=observed, name=bulk.plan.name
        )
        return self._deliver(merge, bulk.plan.get, by_account, bulk.report)

    def _by_account(self, ids: Any) -> Mapping[str, Any]:
        blocking = isinstance(self, SyncFanOutExecutor)
        if isinstance(ids, Mapping):
            given = dict(cast("Mapping[str, Any]", ids))
            if not given.keys() <= self._executors.keys():
                other = printable(repr(min(given.keys() - self._executors.keys(), key=repr)), 80)
                raise InvalidArgumentError(f"ids are given for account {other}, which for_accounts() was not given")
            for some in given.values():
                check_ids(some, blocking=blocking)
            return given
        check_ids(ids, blocking=True)
        if not isinstance(ids, Path | Collection):
            raise InvalidArgumentError(
                "ids for every account must be a list, a set or a path, since they are read once for each; "
                "or pass a mapping with the ids of each account"
            )
        return dict.fromkeys(self._executors, cast("Any", ids))


class AsyncAccountsExecutor(_FanOut, AsyncFanOutExecutor, shown_as="Accounts"):
    """Performs reads in several accounts, whose outcomes are iterated on the loop."""

    def _deliver(
        self, merge: Merge, operation: Operation[Any], ids: Mapping[str, Any], report: Report | None = None
    ) -> AsyncAccountOutcomes:
        return AsyncOutcomes(merge.items(report), operation.record, of_accounts=True)

    def _fetch(self, bulk: BulkRequest, executor: BoundExecutor, ids: Any) -> Fetch[Any]:
        return bulk.fetch_on_loop(executor, ids)


class SyncAccountsExecutor(_FanOut, SyncFanOutExecutor, shown_as="Accounts"):
    """Performs reads in several accounts, whose outcomes come from the loop of another thread."""

    def __init__(self, executors: Mapping[str, BoundExecutor], portal: SyncExecutor) -> None:
        super().__init__(executors)
        self._portal = portal

    def _deliver(
        self, merge: Merge, operation: Operation[Any], ids: Mapping[str, Any], report: Report | None = None
    ) -> SyncOutcomes[AccountOutcome[Any]]:
        each = {name: iterate_ids(some) for name, some in ids.items()}
        return SyncOutcomes(iterate_from_thread(self._portal, merge, each, report), operation.record, of_accounts=True)

    def _fetch(self, bulk: BulkRequest, executor: BoundExecutor, ids: Any) -> Fetch[Any]:
        return bulk.fetch(executor, QueueSource())


class PagedAccountsExecutor(AsyncFanOutExecutor, shown_as="Accounts"):
    """Performs reads in the accounts of a pager, which is walked anew for each read, before it begins.

    Args:
        accounts: The pager.
        executors: Makes the executor of each account.
    """

    def __init__(
        self,
        accounts: AsyncPager[LinkedAccount],
        executors: Callable[[Iterable[LinkedAccount]], Mapping[str, BoundExecutor]],
    ) -> None:
        self._accounts, self._executors = accounts, executors

    def _each(
        self, operation: Operation[Any], read: Callable[[AsyncAccountsExecutor], AsyncAccountOutcomes]
    ) -> AsyncAccountOutcomes:
        async def items() -> Items:
            inner = AsyncAccountsExecutor(self._executors(await self._accounts.collect()))
            async with aclosing(read(inner)) as outcomes:
                async for outcome in outcomes:
                    yield outcome

        return AsyncOutcomes(items(), operation.record, of_accounts=True)

    def execute_one(self, operation: Operation[Any], args: CallArguments, /) -> AsyncAccountOutcomes:
        """Perform one call in every account."""
        return self._each(operation, lambda inner: inner.execute_one(operation, args))

    def execute_list(
        self, operation: Operation[Any], pager: Callable[[AsyncExecutor], PagedList], /
    ) -> AsyncAccountOutcomes:
        """List the items of every account."""
        return self._each(operation, lambda inner: inner.execute_list(operation, pager))

    def execute_many(self, bulk: BulkRequest, ids: Any, /) -> AsyncAccountOutcomes:
        """Fetch many records of every account."""
        return self._each(bulk.plan.get, lambda inner: inner.execute_many(bulk, ids))


class Accounts(Api[C_co]):
    """The resources of several accounts at once.

    Each read is performed in every account, with the accounts side by side under the limits that they share: one that
    is slow or throttled does not hold up the others. What comes is an iterator of `AccountOutcome`, which names the
    account: a result, or an error, which concerns that account only.

    - `get(id)` yields the record of every account that has it.
    - `list(...)` yields the items of every account's list. The error of a list that broke off carries the `cursor` to
      resume it.
    - `get_many(ids)` takes a mapping from account to ids; or ids, which are then fetched from every account. If the ids
      of an account cannot be read (a missing file, a generator that raises), the error of its outcome says so, and what
      they raised is its `__cause__`; what ids for every account raise is raised.

    Writes are for one account: `with_options(account_id=...)`.
    """

    @not_for_users("`for_accounts()` of a client makes one")
    def __init__(self, executor: C_co, size: int | None) -> None:
        super().__init__(executor)
        self._size = size

    def __len__(self) -> int:
        if self._size is None:
            raise TypeError("how many accounts there are is known when they have been listed")
        return self._size

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {'listed by each read' if self._size is None else self._size}>"


AsyncAccounts: TypeAlias = Accounts[AsyncFanOutExecutor]
SyncAccounts: TypeAlias = Accounts[SyncFanOutExecutor]
