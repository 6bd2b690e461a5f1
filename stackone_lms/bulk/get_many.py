"""`get_many`: many records by their ids, each id exactly once, in bounded memory."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Generator, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeAlias, TypeVar, Unpack, cast, overload

from ..calls.lists import Listing
from ..calls.operation import (
    AsyncExecutor,
    AsyncFanOutExecutor,
    Endpoint,
    FanOutExecutor,
    Resource,
    SyncExecutor,
    SyncFanOutExecutor,
)
from ..calls.outcomes import AccountOutcome, Outcome
from ..calls.query import GetQuery, encode_id, encode_query
from ..errors import InvalidArgumentError
from .ids import Feed, Ids, Inbox, Inline, Source, check_ids, iterate, size_of
from .list_strategy import (
    PAGE,
    Strategy,
    declining,
    picking,
)
from .progress import Report
from .stream import iterate_from_thread
from .workers import Fetch, Plan, Prelude

I_contra = TypeVar("I_contra", contravariant=True)
S_co = TypeVar("S_co", covariant=True)
R = TypeVar("R")

AioIds: TypeAlias = Ids | AsyncIterable[str]
"""What `AsyncClient` takes: `Ids`, or an asynchronous iterable."""
EachIds: TypeAlias = Mapping[str, Ids] | Collection[str] | Path
"""Ids by account, or ids to be fetched from every account."""
EachAioIds: TypeAlias = Mapping[str, AioIds] | Collection[str] | Path
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


class Bulk(NamedTuple):
    """One call of `get_many`, its arguments checked; it makes the fetches."""

    plan: Plan
    """What every fetch does."""
    prelude: Callable[[AsyncExecutor], Prelude] | None
    """Makes what every fetch does first."""
    report: Report | None
    """Who wants to know the progress."""

    def fetch(
        self,
        carrier: AsyncExecutor,
        source: Source,
        *,
        total: int | None = None,
        feed: AsyncIterable[Any] | None = None,
    ) -> Fetch[Any]:
        """Return a fetch of the ids of `source`."""
        return Fetch(
            carrier,
            self.plan,
            source,
            total=total,
            metered=self.report is not None,
            prelude=None if self.prelude is None else self.prelude(carrier),
            feed=feed,
        )

    def fetch_here(self, carrier: AsyncExecutor, ids: Any) -> Fetch[Any]:
        """Return a fetch of ids that are iterated on the loop."""
        total = size_of(ids)
        if isinstance(ids, AsyncIterable):
            feed = cast("AsyncIterable[Any]", ids)
            return self.fetch(carrier, Feed(), total=total, feed=feed)
        return self.fetch(carrier, Inline(iterate(ids)), total=total)


class _Many(Generic[R]):
    """What both descriptors share.

    Args:
        get: Gets one record.
        list: Lists the same records.
    """

    def __init__(self, get: Endpoint[..., R], list: Listing[..., Any]) -> None:
        self._get, self._list = get, list

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self.__doc__ = inspect.getdoc(many)

    def _call(self, obj: Resource[Any], owner: type, shape: Callable[..., Any]) -> Callable[..., Any]:
        carrier: Any = obj._carrier  # pyright: ignore[reportPrivateUsage]

        def call(*args: Any, **options: Any) -> Any:
            *prefix, ids = self._arguments(args)
            bulk = self._check(tuple(prefix), **options)
            if isinstance(carrier, FanOutExecutor):
                return carrier.carry_many(bulk, ids)
            check_ids(ids, blocking=isinstance(carrier, SyncExecutor))
            if isinstance(carrier, SyncExecutor):
                fetch = bulk.fetch(carrier.aio, Inbox(), total=size_of(ids))
                return iterate_from_thread(carrier, fetch, {None: iterate(ids)}, bulk.report)
            return bulk.fetch_here(carrier, ids).items(bulk.report)

        kind: Any = AccountOutcome if isinstance(carrier, FanOutExecutor) else Outcome
        stream: Any = Generator if isinstance(carrier, SyncExecutor | SyncFanOutExecutor) else AsyncGenerator
        returns = stream[(kind[self._get.operation.answer], *[None] * (2 if stream is Generator else 1))]
        self._get.operation.present(call, owner, self._name, shape, returns)
        obj.__dict__[self._name] = call  # bound once: later reads do not come here
        return call

    def _arguments(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        takes = self._get.operation.arity
        if len(args) != takes:
            raise TypeError(f"{self._title}() takes {takes} argument(s) by position, {len(args)} given")
        return args

    @property
    def _title(self) -> str:
        return f"{self._get.operation.name.rpartition('.')[0]}.{self._name}"

    def _check(
        self,
        prefix: tuple[str, ...],
        *,
        concurrency: Any = None,
        ordered: Any = False,
        strategy: Any = "get",
        progress: Any = None,
        **query: Any,
    ) -> Bulk:
        get = self._get.operation
        if not query.keys() <= get.keywords:
            unknown = min(query.keys() - get.keywords)
            allowed = ", ".join(sorted({"concurrency", "ordered", "progress", "strategy", *get.keywords}))
            raise TypeError(f"{self._title}() got an unexpected keyword argument {unknown!r}; allowed: {allowed}")
        if concurrency is not None and (not isinstance(concurrency, int) or concurrency < 1 or concurrency is True):
            raise InvalidArgumentError(f"concurrency must be a whole number, 1 or more, not {concurrency!r:.60}")
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
        plan = Plan(get, prefix, encode_query(query, get.filters), concurrency, ordered)
        pages: dict[str, Any] = {**query, "page_size": PAGE}

        def prelude(carrier: AsyncExecutor) -> Prelude:
            if single:
                return declining(self._title, "only single gets keep the order and bring raw answers")
            return picking(self._title, get, lambda: self._list.pager(carrier, prefix, pages), strategy)

        return Bulk(plan, None if strategy == "get" else prelude, progress)


class Many(_Many[R]):
    """A bulk fetch of records by their ids, read off a resource as a method typed for its client."""

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncExecutor], owner: type, /
    ) -> GetMany[AioIds, AsyncGenerator[Outcome[R], None]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncExecutor], owner: type, /
    ) -> GetMany[Ids, Generator[Outcome[R], None, None]]: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncFanOutExecutor], owner: type, /
    ) -> GetMany[EachAioIds, AsyncGenerator[AccountOutcome[R], None]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncFanOutExecutor], owner: type, /
    ) -> GetMany[EachIds, Generator[AccountOutcome[R], None, None]]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        return self if obj is None else self._call(obj, owner, many)


class ManyOf(_Many[R]):
    """The same for records of a user."""

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncExecutor], owner: type, /
    ) -> GetManyOf[AioIds, AsyncGenerator[Outcome[R], None]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncExecutor], owner: type, /
    ) -> GetManyOf[Ids, Generator[Outcome[R], None, None]]: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncFanOutExecutor], owner: type, /
    ) -> GetManyOf[EachAioIds, AsyncGenerator[AccountOutcome[R], None]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncFanOutExecutor], owner: type, /
    ) -> GetManyOf[EachIds, Generator[AccountOutcome[R], None, None]]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        return self if obj is None else self._call(obj, owner, many_of_user)


# The two below give the methods their signatures and docstrings; they are never called.


def many(
    ids: AioIds,
    /,
    *,
    concurrency: int | None = None,
    ordered: bool = False,
    strategy: Strategy = "get",
    progress: Report | None = None,
    **query: Unpack[GetQuery],
) -> None:
    """Fetch many records by their ids, and yield an `Outcome` for each of them as it comes.

    Memory stays flat, however many ids there are: ids are read as they are needed, and at most 512 outcomes (or twice
    the concurrency) wait for you to take them. An id that fails becomes an outcome with an error and costs no other
    id. Transient failures are tried a second time when all others are done. An id that comes again soon (within about
    1000 ids) is answered again without another request. Breaking off the loop cancels what is under way; put the
    iterator into `contextlib.aclosing` (`closing`) to have that done at once.

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
    ids: AioIds,
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
