"""The pages of a list, from a place on; of lists of users those of one user after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import msgspec

from ..calls.operation import AsyncExecutor
from ..errors import NotFoundError, PaginationError, StackOneError
from ..export.lists import account_pages, find, is_of_one_user, user_ids, user_pages, with_owner
from .slices import Position, Slice, position_of, query_of

MAX_REFUSED: Final = 20
"""Users whose lists fail in a row, after which the trouble is the account's, not theirs."""


class SlicePage(NamedTuple):
    """A page, or a user of whom there is none."""

    items: Sequence[bytes | msgspec.Raw]
    """Its records, as they were sent."""
    position: Position | None
    """Where the following page starts; None after the last."""
    user_id: str | None = None
    """The user whose list cannot be read."""
    error: StackOneError | None = None
    """Why it cannot be read."""


async def pages_of(executor: AsyncExecutor, what: Slice) -> AsyncGenerator[SlicePage]:
    """Yield the pages of a list; the last one, which may be empty, has no position."""
    resource, start = find(what.resource), position_of(what)
    if resource.of_users:
        async with aclosing(_pages_of_users(executor, what, start)) as of_users:
            async for page in of_users:
                yield page
        yield SlicePage((), None)
        return
    async with aclosing(account_pages(executor, resource, query_of(what), start.next)) as pages:
        async for fetched in pages:
            items = () if fetched.page is None else fetched.page.data
            yield SlicePage(items, None if fetched.cursor is None else Position(fetched.cursor))


async def _pages_of_users(executor: AsyncExecutor, what: Slice, start: Position) -> AsyncGenerator[SlicePage]:
    failed_in_a_row = 0
    async with aclosing(_groups(executor, what, start.users_page)) as groups:
        async for users, users_page in groups:
            left, cursor = _from(users, start, what)
            start = Position()
            while left:
                async with aclosing(_try_users(executor, what, left, cursor)) as pages:
                    async for page in pages:
                        place: Any = page.position
                        position = place._replace(users_page=users_page)
                        left, cursor = _from(left, position, what)
                        if page.error is None:
                            failed_in_a_row = 0
                            yield page._replace(position=position)
                        elif what.users is not None or not isinstance(page.error, NotFoundError):
                            failed_in_a_row += 1
                            if failed_in_a_row == MAX_REFUSED:
                                raise page.error
                            yield page._replace(position=position)


async def _groups(
    executor: AsyncExecutor, what: Slice, cursor: str | None
) -> AsyncGenerator[tuple[Sequence[str], str | None]]:
    """Yield users, each group with the cursor of its page."""
    if what.users is not None:
        yield what.users, None
        return
    async with aclosing(user_ids(executor, what.page_size, cursor)) as pages:
        async for ids, following in pages:
            yield list(dict.fromkeys(ids)), cursor
            cursor = following


def _from(users: Sequence[str], position: Position, what: Slice) -> tuple[Sequence[str], str | None]:
    """Return the users whose lists follow a position, and the cursor with which that of the first one goes on.

    Raises:
        PaginationError: The user is not there any more, so that nobody knows who is next.
    """
    if position.user is None:
        return users, None
    if position.user not in users:
        raise PaginationError(
            f"the users of account {what.account_id} are not those of before: {position.user!r:.80} is not on its "
            "page any more; begin anew, without a cursor",
            cursor=what.cursor,
        )
    place = users.index(position.user)
    return (users[place + 1 :], None) if position.next is None else (users[place:], position.next)


async def _try_users(
    executor: AsyncExecutor, what: Slice, users: Sequence[str], cursor: str | None
) -> AsyncGenerator[SlicePage]:
    """Yield the pages of the lists of users, up to one whose list breaks off; that one's error then."""
    at = users[0]
    try:
        async with aclosing(user_pages(executor, find(what.resource), query_of(what), users, cursor)) as pages:
            async for fetched in pages:
                user = at = str(fetched.user)
                position = Position(fetched.cursor, user)
                if fetched.page is None:
                    yield SlicePage((), position, user, fetched.error)
                else:
                    yield SlicePage([with_owner(item, user) for item in fetched.page.data], position)
        return
    except StackOneError as error:
        if not is_of_one_user(error):
            raise
        reason = error
    yield SlicePage((), Position(None, at), at, reason)
