"""`get_many`: many records by their ids, each id exactly once, in bounded memory."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeAlias, TypeVar, Unpack, cast, overload

from ..calls.lists import Listing
from ..calls.operation import (
    AsyncExecutor,
    AsyncFanOutExecutor,
    Endpoint,
    Executor,
    FanOutExecutor,
    Method,
    Operation,
    Resource,
    SyncExecutor,
    SyncFanOutExecutor,
    encode_id,
    stream_of,
)
from ..calls.outcomes import AccountOutcome, AsyncOutcomes, Outcome, SyncOutcomes
from ..calls.query import GetQuery, encode_query
from ..calls.signatures import parameters_of
from ..checks import known_keywords, whole_number
from ..engine.call import BoundExecutor
from ..errors import InvalidArgumentError
from ..options import VIEW_OPTIONS
from .ids import AsyncSource, Ids, IdSource, IteratorSource, QueueSource, check_ids, iterate_ids, known_size
from .list_strategy import (
    PAGE_SIZE,
    Strategy,
    list_first,
    only_gets,
)
from .progress import Report
from .stream import iterate_from_thread
from .workers import Fetch, FetchPlan, ListStep

I_contra = TypeVar("I_contra", contravariant=True)
S_co = TypeVar("S_co", covariant=True)
R = TypeVar("R")

AsyncIds: TypeAlias = Ids | AsyncIterable[str]
"""What `AsyncClient` takes: `Ids`, or an asynchronous iterable."""
IdsByAccount: TypeAlias = Mapping[str, Ids] | Collection[str] | Path
"""Ids by account, or ids to be fetched from every account."""
AsyncIdsByAccount: TypeAlias = Mapping[str, AsyncIds] | Collection[str] | Path
"""The same, where the ids of an account may come from an asynchronous iterable."""


class GetMany(Protocol[I_contra, S_co]):
    """A method that fetches many records."""

    def __call__(
        self,
        ids: I_contra,
        /,
        *,
        concurrency: int | None = None,
        ordered: bool = False,
        strategy: Strategy = "get",
        progress: Report | None = None,
        **query: Unpack[GetQuery],
    ) -> S_co:
        """Fetch many records."""
        ...


class GetManyOf(Protocol[I_contra, S_co]):
    """A method that fetches many records of a user."""

    def __call__(
        self,
        user_id: str,
        ids: I_contra,
        /,
        *,
        concurrency: int | None = None,
        ordered: bool = False,
        strategy: Strategy = "get",
        progress: Report | None = None,
        **query: Unpack[GetQuery],
    ) -> S_co:
        """Fetch many records of a user."""
        ...


class BulkRequest(NamedTuple):
    """One call of `get_many`, its arguments checked; it makes the fetches."""

    plan: FetchPlan
    """What every fetch does."""
    list_step: ListStep | None
    """What every fetch runs first."""
    report: Report | None
    """Called with the progress."""

    def fetch(
        self,
        executor: BoundExecutor,
        source: IdSource,
        *,
        total: int | None = None,
        async_ids: AsyncIterable[Any] | None = None,
    ) -> Fetch[Any]:
        """Return a fetch of the ids of `source`."""
        return Fetch(
            executor,
            self.plan,
            source,
            total=total,
            with_progress=self.report is not None,
            list_step=self.list_step,
            async_ids=async_ids,
        )

    def fetch_on_loop(self, executor: BoundExecutor, ids: Any) -> Fetch[Any]:
        """Return a fetch of ids that are iterated on the loop."""
        total = known_size(ids)
        if isinstance(ids, AsyncIterable):
            async_ids = cast("AsyncIterable[Any]", ids)
            return self.fetch(executor, AsyncSource(), total=total, async_ids=async_ids)
        return self.fetch(executor, IteratorSource(iterate_ids(ids)), total=total)


_TAKEN: Mapping[tuple[bool, bool], Any] = {
    (False, False): AsyncIds,
    (False, True): Ids,
    (True, False): AsyncIdsByAccount,
    (True, True): IdsByAccount,
}
"""What `ids` takes, by whether several accounts are read and whether the client blocks."""


# Signature sources: the two below give the methods their signatures and docstrings, and are never called.


def many(
    ids: AsyncIds,
    /,
    *,
    concurrency: int | None = None,
    ordered: bool = False,
    strategy: Strategy = "get",
    progress: Report | None = None,
    **query: Unpack[GetQuery],
) -> None:
    """Fetch many records by their ids, and yield an `Outcome` for each of them as it comes.

    Memory does not grow with the number of ids: they are read as they are needed, and at most 512 outcomes (or twice
    the concurrency) wait for you to take them. An id that fails becomes an outcome with an error, and does not affect
    the others. Transient failures are tried a second time when all others are done. An id that comes again soon (within
    about 1000 ids) is answered again without another request. Leaving the loop cancels the requests in progress; put
    the iterator into `contextlib.aclosing` (`closing`) to have that done at once.

    Blocking clients iterate `ids` in the calling thread, up to 256 ids ahead, and not while they wait for outcomes.

    Args:
        ids: A list, a generator, an open text file or the `pathlib.Path` of one (UTF-8, one id a line, blank lines and
            white space around ids left out); with `AsyncClient` also an asynchronous iterable.
        concurrency: Requests under way at once. By default that is found out: it starts at 16, grows while all is
            well, and shrinks on 429, 503 and timeouts. `max_concurrency` of the client caps both.
        ordered: Yield the outcomes in the order of the ids; a slow one then holds up at most 511 that follow. Not with
            `strategy="list"`.
        strategy: `get` makes a request an id. `list` reads the pages of the list (100 records each) and picks the ids
            out of them, then gets those that it did not show one by one; it keeps all ids in memory, and with some
            providers the records of lists have fewer fields. `auto` chooses what takes fewer requests, and
            `stats().choices` tells which and why.
        progress: Called with a `Progress` ten times a second at most, where you iterate.
        raw: Add the provider calls behind each answer (`.raw`). Default false. Not with `strategy="list"`.
        fields: Names of the fields to return, as a list or comma-separated. Default: all.
        proxy: Parameters passed on to the provider, nested as deep as needed.

    Raises:
        InvalidArgumentError: At once, before any I/O: an argument cannot be used; a single string is not several ids.
        StackOneError: While iterating, after all outcomes that are ready: nothing more can be had. Either every id
            would fail (the key or the account is refused, the provider does not support it, the client is closed), or
            200 ids in a row failed for now (20, if nothing has succeeded for five minutes). The error's `pending` are
            the ids that were read and have no outcome: go on with those and the rest of `ids`.
    """


def many_of_user(
    user_id: str,
    ids: AsyncIds,
    /,
    *,
    concurrency: int | None = None,
    ordered: bool = False,
    strategy: Strategy = "get",
    progress: Report | None = None,
    **query: Unpack[GetQuery],
) -> None:
    """See below."""


many_of_user.__doc__ = (
    (inspect.getdoc(many) or "")
    .replace("Args:\n", "Args:\n    user_id: StackOne's id of the user, or the provider's.\n")
    .replace("many records by", "many records of a user by")
)


class FetchesMany(Protocol):
    """A fan-out executor that fetches many records of every account."""

    def execute_many(self, bulk: BulkRequest, ids: Any, /) -> Any:
        """Fetch many records of every account, and return an iterator of the outcomes."""
        ...


class _BulkMethod(Method[...], Generic[R]):
    """What both kinds of `get_many` share.

    Args:
        get: Gets one record.
        list: Lists the same records.
    """

    _source: Callable[..., None]

    def __init__(self, get: Endpoint[..., R], list: Listing[..., Any]) -> None:
        self.operation: Operation[R] = get.operation
        self._list = list

    def _summary(self) -> str:
        return inspect.getdoc(self._source) or ""

    def _parameters(self, kind: type[Executor]) -> list[inspect.Parameter]:
        several, blocking = issubclass(kind, FanOutExecutor), issubclass(kind, SyncExecutor | SyncFanOutExecutor)
        taken = _TAKEN[several, blocking]
        return [p.replace(annotation=taken) if p.name == "ids" else p for p in parameters_of(self._source)]

    def _returns(self, kind: type[Executor]) -> Any:
        outcome: Any = AccountOutcome if issubclass(kind, FanOutExecutor) else Outcome
        return stream_of(kind, outcome[self.operation.answer])

    def _result(self, kind: type[Executor]) -> str:
        return "An outcome for each id, as it comes: `.id`, and `.result` or `.error`."

    def _function(self, kind: type[Executor]) -> Callable[..., Any]:
        def call(executor: BoundExecutor, /, *args: Any, **options: Any) -> AsyncOutcomes[Outcome[R]]:
            *prefix, ids = self._arguments(args)
            bulk = self._check(tuple(prefix), **options)
            check_ids(ids, blocking=False)
            return AsyncOutcomes(bulk.fetch_on_loop(executor, ids).items(bulk.report), self.operation.record)

        def call_blocking(executor: SyncExecutor, /, *args: Any, **options: Any) -> SyncOutcomes[Outcome[R]]:
            *prefix, ids = self._arguments(args)
            bulk = self._check(tuple(prefix), **options)
            check_ids(ids, blocking=True)
            fetch = bulk.fetch(cast("BoundExecutor", executor.aio), QueueSource(), total=known_size(ids))
            items = iterate_from_thread(executor, fetch, {None: iterate_ids(ids)}, bulk.report)
            return SyncOutcomes(items, self.operation.record)

        def call_each(executor: FetchesMany, /, *args: Any, **options: Any) -> Any:
            *prefix, ids = self._arguments(args)
            return executor.execute_many(self._check(tuple(prefix), **options), ids)

        if issubclass(kind, FanOutExecutor):
            return call_each
        if issubclass(kind, SyncExecutor):
            return call_blocking
        return call

    def _arguments(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        takes = self.operation.arity
        if len(args) != takes:
            raise TypeError(f"{self.title}() takes {takes} argument(s) by position, {len(args)} given")
        return args

    def _check(
        self,
        prefix: tuple[str, ...],
        *,
        concurrency: Any = None,
        ordered: Any = False,
        strategy: Any = "get",
        progress: Any = None,
        **query: Any,
    ) -> BulkRequest:
        get = self.operation
        if not get.keywords.issuperset(query):
            known = {"concurrency", "ordered", "progress", "strategy", *get.keywords}
            known_keywords(self.title, query, known, elsewhere=VIEW_OPTIONS)
        if concurrency is not None:
            whole_number("concurrency", concurrency, at_least=1)
        if not isinstance(ordered, bool):
            raise InvalidArgumentError(f"ordered must be True or False, not {ordered!r:.60}")
        if strategy not in {"get", "list", "auto"}:
            raise InvalidArgumentError(f"strategy must be 'get', 'list' or 'auto', not {strategy!r:.60}")
        if progress is not None and (not callable(progress) or inspect.iscoroutinefunction(progress)):
            raise InvalidArgumentError("progress must be a plain function that takes a Progress")
        single = ordered or bool(query.get("raw"))
        if strategy == "list" and single:
            raise InvalidArgumentError("strategy='list' goes neither with ordered=True nor with raw=True")
        for id in prefix:
            encode_id(id)
        # Encoded once: all records are asked for alike, whatever the caller does to his mappings meanwhile.
        plan = FetchPlan(get, prefix, encode_query(query, get.filters), concurrency, ordered, self.title)
        pages: dict[str, Any] = {**query, "page_size": PAGE_SIZE}

        list_step: ListStep | None = None
        if strategy != "get" and single:
            list_step = only_gets(self.title, "only single gets keep the order and bring raw answers")
        elif strategy != "get":
            list_step = list_first(self.title, get, partial(self._list.pager, ids=prefix, query=pages), strategy)
        return BulkRequest(plan, list_step, progress)


class Many(_BulkMethod[R]):
    """A bulk fetch of records by their ids, read off a resource as a method typed for its client."""

    _source = staticmethod(many)

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, obj: Resource[AsyncExecutor], owner: type, /) -> GetMany[AsyncIds, AsyncOutcomes[Outcome[R]]]: ...
    @overload
    def __get__(self, obj: Resource[SyncExecutor], owner: type, /) -> GetMany[Ids, SyncOutcomes[Outcome[R]]]: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncFanOutExecutor], owner: type, /
    ) -> GetMany[AsyncIdsByAccount, AsyncOutcomes[AccountOutcome[R]]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncFanOutExecutor], owner: type, /
    ) -> GetMany[IdsByAccount, SyncOutcomes[AccountOutcome[R]]]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        return self if obj is None else self._bind(obj)


class ManyOf(_BulkMethod[R]):
    """The same for records of a user."""

    _source = staticmethod(many_of_user)

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncExecutor], owner: type, /
    ) -> GetManyOf[AsyncIds, AsyncOutcomes[Outcome[R]]]: ...
    @overload
    def __get__(self, obj: Resource[SyncExecutor], owner: type, /) -> GetManyOf[Ids, SyncOutcomes[Outcome[R]]]: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncFanOutExecutor], owner: type, /
    ) -> GetManyOf[AsyncIdsByAccount, AsyncOutcomes[AccountOutcome[R]]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncFanOutExecutor], owner: type, /
    ) -> GetManyOf[IdsByAccount, SyncOutcomes[AccountOutcome[R]]]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        return self if obj is None else self._bind(obj)
