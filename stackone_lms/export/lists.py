"""Where records come from: the lists of the API, page by page, as the bytes that were sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Container, Iterable, Mapping
from contextlib import aclosing
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias, Unpack, cast, get_args

import msgspec

from ..api.operations import operations
from ..calls.lists import AsyncPager, Listing
from ..calls.operation import AsyncExecutor, Operation, Resource
from ..errors import APIStatusError, DecodeError, InvalidArgumentError, ResponseTooLargeError, StackOneError
from ..models.base import Model, Page
from ..safe_json import FAILURES
from .records.keys import OF_USER

RawPage: TypeAlias = Page[msgspec.Raw]

_AHEAD = 4
"""Users whose first page is asked for before it is needed: most have one page only."""


class ListResource(NamedTuple):
    """A list of the API."""

    name: str
    """As on a client: `completions`, `users.completions`."""
    model: type[Model]
    """What its records are."""
    operation: Operation[Any]
    """Its operation."""

    @property
    def of_users(self) -> bool:
        """Whether each user has a list of it."""
        return self.operation.arity == 1

    @property
    def row_model(self) -> type[Model]:
        """What its rows are: the records, of lists of users with the column of the user."""
        return _with_user(self.model) if self.of_users else self.model

    @property
    def sql_name(self) -> str:
        """Name of its table: `completions`, `user_completions`."""
        return self.name.replace("users.", "user_")


@lru_cache(maxsize=16)
def _with_user(model: type[Model]) -> type[Model]:
    """Return a model of the records of a user's list: the user is added, since records need not name it."""
    field = (OF_USER, str | None, None)
    return msgspec.defstruct(model.__name__, [field], bases=(model,), kw_only=True, frozen=True)  # type: ignore[return-value]


@lru_cache(maxsize=1)
def resources() -> Mapping[str, ListResource]:
    """Return every list of the API by its name."""
    return {
        name: ListResource(name, get_args(operation.answer)[0], operation)
        for name, verb, operation in operations()
        if verb == "list"
    }


def find(name: str) -> ListResource:
    """Return a list by its name.

    Raises:
        InvalidArgumentError: There is none.
    """
    found = resources().get(name)
    if found is None:
        raise InvalidArgumentError(f"there is no list {name!r:.60}; there are: {', '.join(sorted(resources()))}")
    return found


class _Lists(Resource[AsyncExecutor]):
    """The lists with their records left as bytes: nothing that was sent can get lost, or stop a page."""


def _without_decoding(resource: ListResource) -> str:
    """Declare a list on `_Lists`, unless it is there; return the name of the method."""
    name, operation = resource.sql_name, resource.operation
    if not hasattr(_Lists, name):

        def source(**query: Any) -> None:
            """List records."""

        source.__annotations__["query"] = Unpack[operation.query]
        listing = Listing(operation.id, operation.path, msgspec.Raw, source)
        listing.__set_name__(_Lists, name)
        listing.operation.name = operation.name
        setattr(_Lists, name, listing)
    return name


def _pager(
    executor: AsyncExecutor, resource: ListResource, ids: tuple[str, ...], query: Mapping[str, Any]
) -> AsyncPager[msgspec.Raw]:
    method = getattr(_Lists(executor), _without_decoding(resource))
    return cast("AsyncPager[msgspec.Raw]", method(*ids, **query))


class Fetched(NamedTuple):
    """A page."""

    page: RawPage | None
    """The answer; None for a user whose list is not there, or cannot be read."""
    cursor: str | None
    """Where the following page starts; None after the last."""
    user: str | None = None
    """Whose list it is, of lists of users."""
    error: StackOneError | None = None
    """Why it cannot be read."""


_OF_ONE_USER: Final = frozenset({400, 403, 404, 405, 409, 410, 413, 414, 422, 500, 501})
"""What a server answers that has something against one user; anything else concerns the account, or passes."""


def is_of_one_user(error: StackOneError) -> bool:
    """Tell whether an error may concern the list of one user only."""
    if isinstance(error, APIStatusError):
        return error.status in _OF_ONE_USER
    return isinstance(error, InvalidArgumentError | DecodeError | ResponseTooLargeError)


async def account_pages(
    executor: AsyncExecutor, resource: ListResource, query: Mapping[str, Any], cursor: str | None
) -> AsyncGenerator[Fetched]:
    """Yield the pages of one list, from `cursor` on, fetching one ahead."""
    pager = _pager(executor, resource, (), {**query, "next": cursor, "prefetch": 1})
    async with aclosing(pager.pages()) as pages:
        async for page in pages:
            await asyncio.sleep(0)  # lets the request for the next page go out before this one is worked on
            yield Fetched(page, pager.cursor)


async def user_pages(
    executor: AsyncExecutor,
    resource: ListResource,
    query: Mapping[str, Any],
    users: Iterable[str],
    cursor: str | None,
    whole: Container[str] = (),
) -> AsyncGenerator[Fetched]:
    """Yield the pages of the lists of `users`, one user after the other; `cursor` belongs to the first.

    Those who are in `whole` are asked for all their records.
    """
    waiting = iter(users)
    ahead: deque[_OneUser] = deque()
    try:
        while True:
            while len(ahead) < _AHEAD and (user := next(waiting, None)) is not None:
                asked = {k: v for k, v in query.items() if k != "updated_after"} if user in whole else query
                ahead.append(_OneUser(executor, resource, user, {**asked, "next": cursor}))
                cursor = None
            if not ahead:
                return
            while (fetched := await ahead[0].take()) is not None:
                yield fetched
            await ahead.popleft().close()
    finally:
        for one in ahead:
            await one.close()


class _OneUser:
    """The list of one user, whose first page is fetched beforehand."""

    def __init__(self, executor: AsyncExecutor, resource: ListResource, user: str, query: Mapping[str, Any]) -> None:
        self._user, self._begun = user, query["next"] is not None
        self._pages: AsyncGenerator[RawPage] | None = None
        self._pager: AsyncPager[msgspec.Raw] | None = None
        self._first: asyncio.Task[Fetched | None] | None = asyncio.create_task(
            self._fetch_first(lambda: _pager(executor, resource, (user,), query))
        )

    async def _fetch_first(self, make: Callable[[], AsyncPager[msgspec.Raw]]) -> Fetched | None:
        try:
            self._pager = make()
            self._pages = self._pager.pages()
            return await self._fetch()
        except StackOneError as error:
            if self._begun or not is_of_one_user(error):
                raise
            return Fetched(None, None, self._user, error)

    async def _fetch(self) -> Fetched | None:
        if self._pages is None or self._pager is None:
            return None
        page = await anext(self._pages, None)
        return None if page is None else Fetched(page, self._pager.cursor, self._user)

    async def take(self) -> Fetched | None:
        """Return the next page, None after the last."""
        first = self._first
        if first is None:
            return await self._fetch()
        await asyncio.wait([first])
        self._first = None
        return first.result()

    async def close(self) -> None:
        """Stop, whether or not it was read."""
        first, self._first = self._first, None
        if first is not None:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        if self._pages is not None:
            await self._pages.aclose()


class _WithId(msgspec.Struct):
    id: str | int | None = None
    remote_id: str | int | None = None


_with_id = msgspec.json.Decoder(_WithId).decode


def _id_of(user: msgspec.Raw) -> str:
    """Return the id of a user; an empty one, which is then refused, of whom no list can be asked for."""
    try:
        found = _with_id(user)
    except FAILURES:
        return ""
    id = found.id if found.id is not None else found.remote_id
    return "" if id is None else str(id)


async def user_ids(
    executor: AsyncExecutor, page_size: int, cursor: str | None = None
) -> AsyncGenerator[tuple[list[str], str | None]]:
    """Yield the ids of the users of an account, page by page, each page with the cursor of the following one."""
    query = {"page_size": page_size, "fields": "id,remote_id"}
    async with aclosing(account_pages(executor, find("users"), query, cursor)) as pages:
        async for fetched in pages:
            yield list(map(_id_of, fetched.page.data if fetched.page is not None else ())), fetched.cursor


async def list_users(executor: AsyncExecutor, page_size: int) -> list[str]:
    """Return the ids of all users of an account, each once, in the order of the API."""
    found: dict[str, None] = {}
    async with aclosing(user_ids(executor, page_size)) as pages:
        async for ids, _ in pages:
            found.update(dict.fromkeys(ids))
    return list(found)


def with_owner(item: msgspec.Raw, user: str) -> bytes:
    """Return a record of a user's list with the user in it: records need not name him."""
    body = bytes(item).lstrip()
    if not body.startswith(b"{"):
        return body
    rest = body[1:].lstrip()
    owner = msgspec.json.encode(user)
    return b"".join((b'{"', OF_USER.encode(), b'":', owner, b"" if rest.startswith(b"}") else b",", rest))
