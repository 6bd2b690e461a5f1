"""Lists: all items, or page by page, from any cursor."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Self, TypeVar, overload

from ..checks import whole_number
from ..errors import (
    DecodeError,
    InvalidArgumentError,
    PaginationError,
    StackOneError,
)
from ..models.base import Page
from .frames import AsyncTabular, SyncTabular, hint
from .operation import (
    AsyncExecutor,
    AsyncFanOutExecutor,
    CallArguments,
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
from .outcomes import AccountOutcome, AsyncOutcomes, SyncOutcomes
from .signatures import not_for_users, parameters_of

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("stackone_lms")

MAX_EMPTY_PAGES = 10_000
"""Empty pages in a row after which a list is given up; empty pages with a cursor are normal in this API."""
EMPTY_PAGES_REPORTED = 100
"""Every so many empty pages in a row are reported in the log."""
MAX_ERRORS = 1000
"""Items that did not decode, of those that a pager keeps; it counts them all."""
DEFAULT_PAGE = 25
"""Records a page where `page_size` is not given, as the API document has it."""
WALK_PAGE = 100
"""Records a page that a walk over many pages asks for: the most that the API's older guide names."""


Following = Callable[[Page[Any], str | None], str | None]
"""Returns the cursor of the page after one that came for a cursor; None after the last. Made anew for each walk."""


def _by_cursor() -> Following:
    return lambda page, _: page.next if page.next and not page.next.isspace() else None


class ListRequest(Generic[T]):
    """One call of a list: its keywords, checked and encoded at once, whatever the caller does to them meanwhile."""

    def __init__(
        self,
        operation: Operation[Page[T]],
        ids: tuple[Any, ...],
        keywords: Mapping[str, Any],
        paging: Callable[[], Following] | None = None,
    ) -> None:
        self.paging = paging or _by_cursor
        operation.check(ids, keywords)
        query = dict(keywords)
        self.operation, self.ids = operation, ids
        self.max_items = _limit("max_items", query.pop("max_items", None))
        self.prefetch = _limit("prefetch", query.pop("prefetch", None)) or 0
        if self.prefetch > 1:
            raise InvalidArgumentError("prefetch must be 0 or 1")
        most = query.pop("max_empty_pages", None)
        self.max_empty_pages = MAX_EMPTY_PAGES if most is None else whole_number("max_empty_pages", most, at_least=1)
        self.start: str | None = query.pop("next", None)
        operation.encode({"next": self.start})  # checks it
        for id in ids:
            encode_id(id)
        # Whether the size of the pages is settled.
        self.sized = query.get("page_size") is not None or _came_in_default_pages(self.start)
        self.query = operation.encode(query)

    def arguments(self, cursor: str | None, *, walking: bool) -> CallArguments:
        """Return what one page is asked for with.

        Args:
            cursor: Where the page starts.
            walking: Whether many pages are wanted, so that large ones save requests.
        """
        parts = [self.query] if self.query else []
        if walking and not self.sized:
            parts.append(f"page_size={WALK_PAGE}")
        if cursor is not None:
            parts.append(self.operation.encode({"next": cursor}))
        return CallArguments(self.ids, "&".join(parts))


class _Walk(Generic[T]):
    """Fetches the pages of one list in order; shared by both pagers."""

    def __init__(
        self, executor: AsyncExecutor, request: ListRequest[T], *, max_items: int | None = None, single: bool = False
    ) -> None:
        """Begin a walk.

        Args:
            executor: Fetches the pages.
            request: What is asked for.
            max_items: Deliver no more than so many items, nor than the request says.
            single: Whether only one page is wanted.
        """
        self.cursor = request.start or None
        self.prefetch = 0 if single else request.prefetch
        self.ended = False
        self.errors: list[DecodeError] = []
        self.error_count = 0
        self._executor, self._request, self._following = executor, request, request.paging()
        # Of each cursor a digest: the walk of a long list would keep megabytes of them.
        self._seen = {_digest(self.cursor)} if self.cursor else set[bytes]()
        self._stuck: PaginationError | None = None
        self._empty = 0
        limits = [limit for limit in (max_items, request.max_items) if limit is not None]
        self._left = min(limits, default=None)
        self._walking = not single and (self._left is None or self._left > DEFAULT_PAGE)
        self._ahead: asyncio.Task[Page[T]] | None = None

    async def fetch(self) -> Page[T] | None:
        """Return the page at `cursor` and move on; None after the last."""
        if self.ended or self._left == 0:
            self.ended = True
            return None
        if self._stuck is not None:
            raise self._stuck
        asked = self.cursor
        page = await self._take(asked)
        following = self._following(page, asked)
        if page.data or page.errors:
            self._empty = 0
        elif following is not None:
            self._count_empty(asked)
        if following is not None:
            digest = _digest(following)
            if digest in self._seen:
                # Raised by the next fetch: the items of this page are good.
                name = self._request.operation.name
                self._stuck = PaginationError(f"the server repeated a cursor in {name}", cursor=asked)
            self._seen.add(digest)
            if not self._walking:
                _remember_default_pages(digest)
        self._keep(page.errors)
        self.cursor, self.ended = following if self._stuck is None else asked, following is None
        if self._left is not None:
            if len(page.data) > self._left:
                del page.data[self._left :]
                self.cursor = asked  # to resume there: the rest of this page was not delivered
            self._left -= len(page.data)
        if self.prefetch and not self.ended and self._left != 0 and self._stuck is None:
            self._ahead = asyncio.create_task(self._get(following))
            self._ahead.add_done_callback(_heard)
        return page

    def _count_empty(self, asked: str | None) -> None:
        self._empty += 1
        name = self._request.operation.name
        if self._empty >= self._request.max_empty_pages:
            raise PaginationError(f"{self._empty} empty pages in a row in {name}", cursor=asked)
        if self._empty % EMPTY_PAGES_REPORTED == 0:
            log.warning("%s: %d empty pages in a row so far, each with another cursor", name, self._empty)

    def _keep(self, errors: tuple[DecodeError, ...]) -> None:
        if not errors:
            return
        self.errors += errors[: MAX_ERRORS - len(self.errors)]
        if self.error_count < MAX_ERRORS <= self.error_count + len(errors):
            log.warning(
                "%s: %d items did not decode; the errors of further ones are only counted",
                self._request.operation.name,
                MAX_ERRORS,
            )
        self.error_count += len(errors)

    async def _take(self, cursor: str | None) -> Page[T]:
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return await self._get(cursor)
        try:
            return await ahead
        except asyncio.CancelledError:
            ahead.cancel()
            raise

    async def _get(self, cursor: str | None) -> Page[T]:
        args = self._request.arguments(cursor, walking=self._walking)
        return await self._executor.execute(self._request.operation, args)

    async def close(self) -> None:
        """Stop fetching ahead, and wait for its end."""
        ahead = self.abandon()
        if ahead is not None:
            await asyncio.gather(ahead, return_exceptions=True)

    def abandon(self) -> asyncio.Task[Page[T]] | None:
        """Stop fetching ahead, and return what was under way; to be called on the loop of the walk."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
        return ahead


def _digest(cursor: str) -> bytes:
    return blake2b(cursor.encode("utf-8", "surrogatepass"), digest_size=16).digest()


_default_pages: dict[bytes, None] = {}
"""Digests of the last cursors that came with pages of the API's default size. A cursor counts in pages, so that the
walk that starts from one of them has to keep that size: with another it would pass over records."""
_MAX_REMEMBERED = 1000


def _remember_default_pages(cursor: bytes) -> None:
    _default_pages[cursor] = None
    while len(_default_pages) > _MAX_REMEMBERED:
        _default_pages.pop(next(iter(_default_pages)), None)


def _came_in_default_pages(cursor: str | None) -> bool:
    return cursor is not None and _digest(cursor) in _default_pages


def _heard(task: asyncio.Task[Any]) -> None:
    # Whoever takes the page gets its error; if nobody does, it is of no interest.
    if not task.cancelled():
        task.exception()


def _limit(name: str, value: Any) -> int | None:
    return None if value is None else whole_number(name, value, at_least=0)


class Pager(Generic[T]):
    """What both kinds of pagers have."""

    @not_for_users("`list()` of a resource makes pagers")
    def __init__(self, executor: AsyncExecutor, request: ListRequest[T]) -> None:
        self._async_executor, self._request = executor, request
        self._walk = _Walk(executor, request)
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
        """The items so far that did not decode, each with its bytes; the walk went on without them.

        The first 1,000 of them: `error_count` has the number of all, and each page has its own.
        """
        return self._walk.errors

    @property
    def error_count(self) -> int:
        """How many items so far did not decode."""
        return self._walk.error_count

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._request.operation.name}>"

    def _repr_html_(self) -> str:
        return hint(self)

    @property
    def _model(self) -> Any:
        return self._request.operation.record

    def _begin(self, max_items: int | None = None, *, single: bool = False) -> _Walk[T]:
        # Iterating again begins again, as with a list.
        self._walk = _Walk(self._async_executor, self._request, max_items=max_items, single=single)
        self._cursor = self._walk.cursor
        return self._walk


class AsyncPager(Pager[T], AsyncTabular):
    """A list that fetches its pages as it is iterated.

    `async for item in pager` yields the items of all pages; `.pages()` yields the pages; `await pager` gives the first
    page. Each iteration starts anew from where the list was asked to start. Iterating asks for pages of 100 records
    unless `page_size` is given, or `max_items` is 25 or fewer. `T` is the type of an item, such as `Completion`.
    """

    if not TYPE_CHECKING:  # for type checkers a pager is not iterable

        def __iter__(self) -> NoReturn:
            raise TypeError("an AsyncPager is iterated with `async for`; `await pager.collect()` returns a list")

    def __await__(self) -> Generator[Any, Any, Page[T]]:
        return self.first_page().__await__()

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
        """Return the first page: one request, for 25 records (the API's default) unless `page_size` is given."""
        walk = self._begin(single=True)
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


class SyncPager(Pager[T], SyncTabular):
    """A list that fetches its pages as it is iterated; one change of thread a page.

    `for item in pager` yields the items of all pages; `.pages()` yields the pages. Each iteration starts anew from
    where the list was asked to start. Iterating asks for pages of 100 records unless `page_size` is given, or
    `max_items` is 25 or fewer. `T` is the type of an item, such as `Completion`.
    """

    @not_for_users("`list()` of a resource makes pagers")
    def __init__(self, executor: SyncExecutor, request: ListRequest[T]) -> None:
        super().__init__(executor.aio, request)
        self._executor = executor

    def __iter__(self) -> Iterator[T]:
        walk = self._begin()
        try:
            while (page := self._executor.run(walk.fetch)) is not None:
                yield from page.data
                self._cursor = walk.cursor
        finally:
            self._close(walk)

    def pages(self) -> Iterator[Page[T]]:
        """Yield whole pages: `data`, `next`, `raw`, `total`, and the answer they came in."""
        walk = self._begin()
        try:
            while (page := self._executor.run(walk.fetch)) is not None:
                self._cursor = walk.cursor
                yield page
        finally:
            self._close(walk)

    def _close(self, walk: _Walk[T]) -> None:
        if not walk.prefetch:
            return
        try:
            self._executor.run(walk.close)
        except StackOneError:
            pass  # the client is closed already
        except RuntimeError:
            walk.abandon()  # collected as garbage, on the very thread of the loop

    def first_page(self) -> Page[T]:
        """Return the first page: one request, for 25 records (the API's default) unless `page_size` is given."""
        walk = self._begin(single=True)
        page = self._executor.run(walk.fetch)
        self._cursor = walk.cursor
        return page or Page[T](data=[])

    def collect(self, max_items: int | None = None) -> list[T]:
        """Return all items, or the first `max_items`, as a list."""
        walk = self._begin(_limit("max_items", max_items))
        items: list[T] = []
        try:
            while (page := self._executor.run(walk.fetch)) is not None:
                items += page.data
                self._cursor = walk.cursor
        finally:
            self._close(walk)
        return items


class Listing(Method[P], Generic[P, T]):
    """An operation that answers a list, read off a resource as a method that returns a pager.

    Args:
        id: `operationId` in the API document.
        path: Path template.
        item: Type of the items.
        source: A function that has the method's signature and docstring; it is never called.
    """

    def __init__(self, id: str, path: str, item: type[T], source: Callable[P, object], /) -> None:
        answer: type[Page[T]] = Page[item]  # type: ignore[valid-type]
        self.operation: Operation[Page[T]] = Operation("GET", id, path, answer, source=source)
        self._item, self._source = item, source

    def pager(self, executor: AsyncExecutor, ids: tuple[str, ...], query: Mapping[str, Any]) -> AsyncPager[T]:
        """Return the pager of one list."""
        return AsyncPager[T](executor, self._request(ids, query))

    def _request(self, ids: tuple[Any, ...], query: Mapping[str, Any]) -> ListRequest[T]:
        return ListRequest(self.operation, ids, query)

    def _summary(self) -> str:
        return inspect.getdoc(self._source) or ""

    def _parameters(self, kind: type[Executor]) -> list[inspect.Parameter]:
        return parameters_of(self._source)

    def _returns(self, kind: type[Executor]) -> Any:
        item: Any = self._item
        if issubclass(kind, FanOutExecutor):
            return stream_of(kind, AccountOutcome[item])
        return SyncPager[item] if issubclass(kind, SyncExecutor) else AsyncPager[item]

    def _result(self, kind: type[Executor]) -> str:
        if issubclass(kind, FanOutExecutor):
            return "The items of all accounts, each with the account that it is of."
        return "The list. Nothing is sent before it is iterated."

    def _function(self, kind: type[Executor]) -> Callable[..., Any]:
        def call(executor: AsyncExecutor, /, *ids: Any, **query: Any) -> AsyncPager[T]:
            return self.pager(executor, ids, query)

        def call_blocking(executor: SyncExecutor, /, *ids: Any, **query: Any) -> SyncPager[T]:
            return SyncPager[T](executor, self._request(ids, query))

        def call_each(executor: FanOutExecutor, /, *ids: Any, **query: Any) -> Any:
            request = self._request(ids, query)
            return executor.execute_list(self.operation, lambda one: AsyncPager[T](one, request))

        if issubclass(kind, FanOutExecutor):
            return call_each
        return call_blocking if issubclass(kind, SyncExecutor) else call

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, obj: Resource[AsyncExecutor], owner: type, /) -> Callable[P, AsyncPager[T]]: ...
    @overload
    def __get__(self, obj: Resource[SyncExecutor], owner: type, /) -> Callable[P, SyncPager[T]]: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncFanOutExecutor], owner: type, /
    ) -> Callable[P, AsyncOutcomes[AccountOutcome[T]]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncFanOutExecutor], owner: type, /
    ) -> Callable[P, SyncOutcomes[AccountOutcome[T]]]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        return self if obj is None else self._bind(obj)
