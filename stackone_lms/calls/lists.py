"""Lists: all items, or page by page, from any cursor."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import suppress
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast, overload

from ..errors import (
    DecodeError,
    InvalidArgumentError,
    PaginationError,
    StackOneError,
)
from ..models.base import Page
from .operation import (
    AsyncExecutor,
    AsyncFanOutExecutor,
    CallArguments,
    FanOutExecutor,
    Operation,
    Resource,
    SyncExecutor,
    SyncFanOutExecutor,
)
from .outcomes import AccountOutcome
from .query import encode_id, encode_query

P = ParamSpec("P")
T = TypeVar("T")

MOST_EMPTY = 100
"""Empty pages in a row after which a list is given up; empty pages with a cursor are normal in this API."""


class _Walk(Generic[T]):
    """Fetches the pages of one list in order; shared by both pagers."""

    def __init__(
        self,
        carrier: AsyncExecutor,
        operation: Operation[Page[T]],
        ids: tuple[str, ...],
        query: str,
        *,
        start: str | None,
        max_items: int | None,
        prefetch: int,
    ) -> None:
        self.cursor, self.prefetch = start, prefetch
        self.ended = False
        self.errors: list[DecodeError] = []
        self._carrier, self._operation, self._ids, self._query = carrier, operation, ids, query
        self._seen: set[str] = {start} if start else set()
        self._stuck: PaginationError | None = None
        self._empty = 0
        self._left = max_items
        self._ahead: asyncio.Task[Page[T]] | None = None

    def stop_after(self, items: int | None) -> None:
        """Deliver no more than so many items; None changes nothing."""
        if items is not None:
            self._left = items if self._left is None else min(items, self._left)

    async def fetch(self) -> Page[T] | None:
        """Return the page at `cursor` and move on; None after the last."""
        if self.ended or self._left == 0:
            self.ended = True
            return None
        if self._stuck is not None:
            raise self._stuck
        asked = self.cursor
        page = await self._take(asked)
        following = page.next if page.next and not page.next.isspace() else None
        self._empty = 0 if page.data or page.errors else self._empty + 1
        if following is not None:
            if following in self._seen:
                # Raised by the next fetch: the items of this page are good.
                self._stuck = PaginationError(f"the server repeated a cursor in {self._operation.name}", cursor=asked)
            if self._empty >= MOST_EMPTY:
                raise PaginationError(f"{self._empty} empty pages in a row in {self._operation.name}", cursor=asked)
            self._seen.add(following)
        self.errors.extend(page.errors)
        self.cursor, self.ended = following if self._stuck is None else asked, following is None
        if self._left is not None:
            if len(page.data) > self._left:
                del page.data[self._left :]
                self.cursor = asked  # to resume there: the rest of this page was not delivered
            self._left -= len(page.data)
        if self.prefetch and not self.ended and self._left != 0 and self._stuck is None:
            self._ahead = asyncio.create_task(self._request(following))
            self._ahead.add_done_callback(_heard)
        return page

    async def _take(self, cursor: str | None) -> Page[T]:
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return await self._request(cursor)
        try:
            return await ahead
        except asyncio.CancelledError:
            ahead.cancel()
            raise

    async def _request(self, cursor: str | None) -> Page[T]:
        parts = [self._query] if self._query else []
        if cursor is not None:
            parts.append(encode_query({"next": cursor}))
        query = "&".join(parts)
        return await self._carrier.execute(self._operation, CallArguments(self._ids, query))

    async def close(self) -> None:
        """Stop fetching ahead."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)


def _heard(task: asyncio.Task[Any]) -> None:
    # Whoever takes the page gets its error; if nobody does, it is of no interest.
    if not task.cancelled():
        task.exception()


def _plan(carrier: AsyncExecutor, operation: Operation[Page[T]], args: CallArguments) -> Callable[[], _Walk[T]]:
    """Check the keywords of a list, and return what begins a walk with them."""
    query = dict(cast("Mapping[str, Any]", args.query or {}))
    max_items = _limit("max_items", query.pop("max_items", None))
    prefetch = _limit("prefetch", query.pop("prefetch", None)) or 0
    if prefetch > 1:
        raise InvalidArgumentError("prefetch must be 0 or 1")
    start: Any = query.pop("next", None)
    encode_query({"next": start})
    for id in args.ids:
        encode_id(id)
    # Encoded once: every page is asked for with the same filters, whatever the caller does to his meanwhile.
    encoded = encode_query(query, operation.filters)

    def begin() -> _Walk[T]:
        return _Walk(carrier, operation, args.ids, encoded, start=start or None, max_items=max_items, prefetch=prefetch)

    return begin


def _limit(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidArgumentError(f"{name} must be a whole number, 0 or more, not {value!r:.60}")
    return value


class _Pager(Generic[T]):
    def __init__(self, walk: Callable[[], _Walk[T]], name: str) -> None:
        self._start, self._name = walk, name
        self._walk = walk()
        self._cursor = self._walk.cursor

    @property
    def cursor(self) -> str | None:
        """Where to resume: pass it as `next=` and no item that was not delivered yet is missed.

        After `.pages()` has yielded a page, the cursor of the following one. While iterating items, the
        cursor of the present page until its last item has been delivered. None before the first page, and
        at the end.
        """
        return self._cursor

    @property
    def errors(self) -> list[DecodeError]:
        """The items so far that did not decode, each with its bytes; the walk went on without them."""
        return self._walk.errors

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._name}>"

    def _begin(self, most: int | None = None) -> _Walk[T]:
        # Iterating again begins again, as with a list.
        self._walk = self._start()
        self._walk.stop_after(most)
        self._cursor = self._walk.cursor
        return self._walk


class AsyncPager(_Pager[T]):
    """A list that fetches its pages as it is iterated.

    `async for item in pager` yields the items of all pages; `.pages()` yields the pages. Each iteration
    starts anew from where the list was asked to start.
    """

    async def __aiter__(self) -> AsyncIterator[T]:
        walk = self._begin()
        try:
            while (page := await walk.fetch()) is not None:
                for item in page.data:
                    yield item
                self._cursor = walk.cursor
        finally:
            await walk.close()

    async def pages(self) -> AsyncGenerator[Page[T], None]:
        """Yield whole pages: `data`, `next`, `raw`, `total`, and the answer they came in."""
        walk = self._begin()
        try:
            while (page := await walk.fetch()) is not None:
                self._cursor = walk.cursor
                yield page
        finally:
            await walk.close()

    async def first_page(self) -> Page[T]:
        """Return the first page: one request."""
        walk = self._begin()
        walk.prefetch = 0
        page = await walk.fetch()
        self._cursor = walk.cursor
        return page or Page[T](data=[])

    async def collect(self, max_items: int | None = None) -> list[T]:
        """Return all items, or the first `max_items`, as a list."""
        walk = self._begin(_limit("max_items", max_items))
        items: list[T] = []
        try:
            while (page := await walk.fetch()) is not None:
                items += page.data
                self._cursor = walk.cursor
        finally:
            await walk.close()
        return items


class SyncPager(_Pager[T]):
    """A list that fetches its pages as it is iterated; one change of thread a page.

    `for item in pager` yields the items of all pages; `.pages()` yields the pages. Each iteration starts
    anew from where the list was asked to start.
    """

    def __init__(self, carrier: SyncExecutor, walk: Callable[[], _Walk[T]], name: str) -> None:
        super().__init__(walk, name)
        self._carrier = carrier

    def __iter__(self) -> Iterator[T]:
        walk = self._begin()
        try:
            while (page := self._carrier.run(walk.fetch)) is not None:
                yield from page.data
                self._cursor = walk.cursor
        finally:
            self._close(walk)

    def pages(self) -> Iterator[Page[T]]:
        """Yield whole pages: `data`, `next`, `raw`, `total`, and the answer they came in."""
        walk = self._begin()
        try:
            while (page := self._carrier.run(walk.fetch)) is not None:
                self._cursor = walk.cursor
                yield page
        finally:
            self._close(walk)

    def _close(self, walk: _Walk[T]) -> None:
        if walk.prefetch:
            with suppress(StackOneError):  # the client may be closed already
                self._carrier.run(walk.close)

    def first_page(self) -> Page[T]:
        """Return the first page: one request."""
        walk = self._begin()
        walk.prefetch = 0
        page = self._carrier.run(walk.fetch)
        self._cursor = walk.cursor
        return page or Page[T](data=[])

    def collect(self, max_items: int | None = None) -> list[T]:
        """Return all items, or the first `max_items`, as a list."""
        walk = self._begin(_limit("max_items", max_items))
        items: list[T] = []
        try:
            while (page := self._carrier.run(walk.fetch)) is not None:
                items += page.data
                self._cursor = walk.cursor
        finally:
            self._close(walk)
        return items


class Listing(Generic[P, T]):
    """An operation that answers a list, read off a resource as a method that returns a pager.

    Args:
        id: `operationId` in the API document.
        path: Path template.
        item: Type of the items.
        shape: A function that has the method's signature and description; it is never called.
    """

    def __init__(self, id: str, path: str, item: type[T], shape: Callable[P, object], /) -> None:
        answer: type[Page[T]] = Page[item]  # type: ignore[valid-type]
        self.operation: Operation[Page[T]] = Operation("GET", id, path, answer, shape=shape)
        self._item, self._shape = item, shape

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self.operation.name = f"{owner.__name__}.{name}"
        self.__doc__ = inspect.getdoc(self._shape)

    def pager(self, carrier: AsyncExecutor, ids: tuple[str, ...], query: Mapping[str, Any]) -> AsyncPager[T]:
        """Return the pager of one list."""
        self.operation.check(ids, query)
        return AsyncPager[T](_plan(carrier, self.operation, CallArguments(ids, query)), self.operation.name)

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, obj: Resource[AsyncExecutor], owner: type, /) -> Callable[P, AsyncPager[T]]: ...
    @overload
    def __get__(self, obj: Resource[SyncExecutor], owner: type, /) -> Callable[P, SyncPager[T]]: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncFanOutExecutor], owner: type, /
    ) -> Callable[P, AsyncGenerator[AccountOutcome[T], None]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncFanOutExecutor], owner: type, /
    ) -> Callable[P, Generator[AccountOutcome[T], None, None]]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        if obj is None:
            return self
        operation, carrier = self.operation, obj._carrier  # pyright: ignore[reportPrivateUsage]

        def call(*ids: Any, **query: Any) -> Any:
            if isinstance(carrier, FanOutExecutor):
                return carrier.execute_list(lambda one: self.pager(one, ids, query))
            if isinstance(carrier, SyncExecutor):
                operation.check(ids, query)
                return SyncPager[T](carrier, _plan(carrier.aio, operation, CallArguments(ids, query)), operation.name)
            return self.pager(carrier, ids, query)

        pager: Any = SyncPager if isinstance(carrier, SyncExecutor) else AsyncPager
        operation.present(call, owner, self._name, self._shape, pager[self._item])
        obj.__dict__[self._name] = call  # bound once: later reads do not come here
        return call
