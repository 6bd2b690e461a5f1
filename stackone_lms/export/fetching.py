"""One list, from where its journal stands to its end."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from ..calls.operation import AsyncExecutor
from ..errors import APIStatusError, ExportError, StackOneError
from .lists import Fetched, account_pages, list_users, user_pages
from .plan import Plan
from .records.keys import OF_USER
from .state.journal import COMMIT_BYTES, Checkpoint, Journal
from .state.storage import write_whole
from .targets.base import ListJob

_EXPIRED = frozenset({400, 404, 410, 422})
"""What a server may answer to a cursor that it does not know any more; the API documents nothing about that."""
_MOST_RESTARTS = 3

_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.encode
_users = msgspec.json.Decoder(list[str]).decode


class Fetcher:
    """Fetches a list into its journal.

    Args:
        carrier: Carries the calls, for the account of the list.
        plan: What was asked for.
        job: The list.
        journal: Where it goes, and where it stands.
        folder: Where the users of an account are remembered.
        tell: Hears how many records there are, and how many there will be.
    """

    def __init__(
        self,
        carrier: AsyncExecutor,
        plan: Plan,
        job: ListJob,
        journal: Journal,
        folder: Path,
        tell: Callable[[int, float | None], None],
    ) -> None:
        self._carrier, self._plan, self._job, self._journal = carrier, plan, job, journal
        self._folder, self._tell = folder, tell
        self._users: list[str] = []
        self._committed = time.monotonic()

    async def fetch(self) -> None:
        """Fetch what is missing. What came before an error is kept.

        Raises:
            StackOneError: A page could not be fetched, or not be written.
        """
        try:
            await self._to_the_end()
        except ExportError:
            raise  # the disk is at fault
        except StackOneError:
            await self._journal.commit()
            raise
        await self._journal.commit()

    async def _to_the_end(self) -> None:
        journal, restarts = self._journal, 0
        if self._job.resource.of_users and not journal.checkpoint.ended:
            self._users = await self._list_users()
        while not journal.checkpoint.ended:
            try:
                await self._walk()
            except APIStatusError as error:
                expired = error.status in _EXPIRED and journal.checkpoint.cursor is not None
                if not expired or restarts == _MOST_RESTARTS:
                    raise
                restarts += 1
                await self._restart()

    async def _walk(self) -> None:
        async with aclosing(self._pages(self._journal.checkpoint)) as pages:
            async for fetched in pages:
                self._take(fetched)
                if self._due():
                    self._committed = time.monotonic()
                    await self._journal.commit(wait=False)
        self._journal.move(ended=True)

    async def _restart(self) -> None:
        # A page from the beginning first: an account that fails altogether keeps what it has.
        start = msgspec.structs.replace(self._journal.checkpoint, cursor=None)
        async with aclosing(self._pages(start)) as pages:
            await anext(pages, None)
        await self._journal.restart()

    def _pages(self, checkpoint: Checkpoint) -> AsyncGenerator[Fetched]:
        carrier, resource, query = self._carrier, self._job.resource, self._journal.header.query
        if not resource.of_users:
            return account_pages(carrier, resource, query, checkpoint.cursor)
        left = self._users[self._users.index(checkpoint.user) + 1 :] if checkpoint.user is not None else self._users
        return user_pages(carrier, resource, query, left, checkpoint.cursor)

    def _take(self, fetched: Fetched) -> None:
        journal, page = self._journal, fetched.page
        if page is None:
            checkpoint = journal.checkpoint
            journal.move(
                cursor=None, user=fetched.user, since=journal.here(checkpoint.records), missing=checkpoint.missing + 1
            )
            return
        user = fetched.user
        items = page.data if user is None else [_with_user(item, user) for item in page.data]
        journal.append(items, _calls(bytes(page.raw_json)) if self._plan.raw else ())
        records = journal.checkpoint.records + len(items)
        if fetched.cursor is not None:
            journal.move(cursor=fetched.cursor, records=records)
        elif user is not None:
            journal.move(cursor=None, user=user, since=journal.here(records), records=records)
        else:
            journal.move(cursor=None, records=records, ended=True)
        total: float | None = getattr(page, "total", None)
        self._tell(records, total)

    def _due(self) -> bool:
        late = time.monotonic() - self._committed >= self._plan.commit_interval
        return late or self._journal.pending >= COMMIT_BYTES

    async def _list_users(self) -> list[str]:
        """Return the users whose lists are read: fixed once begun, so that the order is the same after a crash."""
        if self._plan.users is not None:
            return list(self._plan.users)
        path = self._folder / "users"
        if path.exists():
            return _users(path.read_bytes())
        found = await list_users(self._carrier, self._plan.page_size)
        write_whole(path, _encode(found))
        return found


def _calls(raw: bytes) -> Sequence[bytes | msgspec.Raw]:
    if raw in (b"", b"null"):
        return ()
    return _list(raw) if raw.startswith(b"[") else [raw]


def _with_user(item: msgspec.Raw, user: str) -> bytes:
    body = bytes(item).lstrip()
    if not body.startswith(b"{"):
        return body
    rest = body[1:].lstrip()
    return b"".join((b'{"', OF_USER.encode(), b'":', _encode(user), b"" if rest.startswith(b"}") else b",", rest))
