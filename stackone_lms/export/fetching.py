"""One list, from where its journal stands to its end."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

import msgspec

from ..calls.operation import AsyncExecutor
from ..errors import APIStatusError, ExportError, NotFoundError, StackOneError
from ..models.base import to_wire
from ..safe_json import FAILURES, repair, spell_out_halves
from ..threads import run_in_kept_thread
from .entries import failure_of
from .lists import Fetched, RawPage, account_pages, is_of_one_user, list_users, user_pages, with_owner
from .plan import Plan
from .state.journal import COMMIT_BYTES, Checkpoint, Journal, Skipped
from .state.storage import write_whole
from .targets.base import ListJob

_EXPIRED = frozenset({400, 404, 410, 422})
"""What a server may answer to a cursor that it does not know any more; the API documents nothing about that."""
_MOST_RESTARTS = 3
_MOST_REFUSED = 20
"""Users refused from the first on, or failing in a row, after which the trouble is the account's, not theirs."""

_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.encode
_users = msgspec.json.Decoder(list[str]).decode


class Fetcher:
    """Fetches a list into its journal.

    Args:
        executor: Carries the calls, for the account of the list.
        plan: What was asked for.
        job: The list.
        journal: Where it goes, and where it stands.
        tell: Hears how many records there are, and how many there will be.
    """

    def __init__(
        self,
        executor: AsyncExecutor,
        plan: Plan,
        job: ListJob,
        journal: Journal,
        tell: Callable[[int, float | None], None],
    ) -> None:
        self._executor, self._plan, self._job, self._journal, self._tell = executor, plan, job, journal, tell
        self._users: list[str] = []
        self._refused = self._in_a_row = 0
        self._read_one = journal.checkpoint.records > 0
        self._committed = time.monotonic()

    async def fetch(self) -> None:
        """Fetch what is missing. What came before an error is kept.

        Raises:
            StackOneError: A page could not be fetched, or not be written.
        """
        journal = self._journal
        try:
            await self._to_the_end()
        except ExportError:
            raise  # the disk is at fault
        except StackOneError:
            if journal.checkpoint.records:
                await journal.commit()
            raise
        # What was fetched in no time is fetched again after a crash: that costs less than making it durable twice.
        if journal.durable or self._due():
            await journal.commit()

    async def _to_the_end(self) -> None:
        journal, restarts = self._journal, 0
        if self._job.resource.of_users and not journal.checkpoint.ended:
            self._users = await self._list_users()
        while not journal.checkpoint.ended:
            try:
                await self._walk()
            except StackOneError as error:
                expired = isinstance(error, APIStatusError) and error.status in _EXPIRED
                if expired and journal.checkpoint.cursor is not None and restarts < _MOST_RESTARTS:
                    restarts += 1
                    await self._restart()
                    continue
                if not self._job.resource.of_users or not is_of_one_user(error):
                    raise
                await self._give_up_user(error)
                restarts = 0

    async def _walk(self) -> None:
        async with aclosing(self._pages(self._journal.checkpoint)) as pages:
            async for fetched in pages:
                self._take(fetched)
                if self._due():
                    self._committed = time.monotonic()
                    await self._journal.commit(wait=False)
        if self._refused and not self._read_one and self._refused == len(self._users):
            raise self._last_error
        self._journal.move(ended=True)

    async def _restart(self) -> None:
        # A page from the beginning first: an account that fails altogether keeps what it has.
        start = msgspec.structs.replace(self._journal.checkpoint, cursor=None)
        async with aclosing(self._pages(start)) as pages:
            await anext(pages, None)
        await self._journal.restart()

    async def _give_up_user(self, error: StackOneError) -> None:
        """Drop what came of a user whose list ended in an error, and go on with the next one."""
        if self._journal.checkpoint.cursor is not None:
            await self._journal.restart()
        self._skip(self._left()[0], error)

    def _left(self) -> list[str]:
        user = self._journal.checkpoint.user
        return self._users if user is None else self._users[self._users.index(user) + 1 :]

    def _pages(self, checkpoint: Checkpoint) -> AsyncGenerator[Fetched]:
        executor, resource, header = self._executor, self._job.resource, self._journal.header
        if not resource.of_users:
            return account_pages(executor, resource, header.query, checkpoint.cursor)
        whole = frozenset(header.whole_users)
        return user_pages(executor, resource, header.query, self._left(), checkpoint.cursor, whole)

    def _take(self, fetched: Fetched) -> None:
        journal, page = self._journal, fetched.page
        if page is None:
            if fetched.user is not None and fetched.error is not None:
                self._skip(fetched.user, fetched.error)
            return
        self._read_one, self._in_a_row = True, 0
        user, sent = fetched.user, _told_apart(page) if page.problems else page.data
        items = sent if user is None else [with_owner(item, user) for item in sent]
        journal.append(items, _calls(bytes(page.raw_json)) if self._plan.raw else ())
        records = journal.checkpoint.records + len(items)
        as_of = journal.checkpoint.as_of or _date(page)
        if page.problems:  # half of a surrogate pair was replaced; where, is seen by what stands in its place
            replaced = journal.checkpoint.replaced + sum(_REPLACED.search(bytes(item)) is not None for item in sent)
            journal.move(replaced=replaced)
        if fetched.cursor is not None:
            journal.move(cursor=fetched.cursor, records=records, as_of=as_of)
        elif user is not None:
            journal.move(cursor=None, user=user, since=journal.here(records), records=records, as_of=as_of)
        else:
            journal.move(cursor=None, records=records, ended=True, as_of=as_of)
        total: float | None = getattr(page, "total", None)
        self._tell(records, total)

    def _skip(self, user: str, error: StackOneError) -> None:
        """Pass over a user, unless it seems that all of them are refused."""
        journal, checkpoint = self._journal, self._journal.checkpoint
        missing = checkpoint.missing
        if isinstance(error, NotFoundError):  # deleted since the users were listed
            missing += 1
        else:
            if isinstance(error, APIStatusError):
                self._refused += 1
                self._in_a_row += error.status == 500
                self._last_error = error
            if self._in_a_row >= _MOST_REFUSED or (not self._read_one and self._refused >= _MOST_REFUSED):
                raise error
            found = failure_of(error)
            journal.skipped.append(Skipped(user, found.type, found.message, found.status, found.request_id))
        journal.move(cursor=None, user=user, since=journal.here(checkpoint.records), missing=missing)

    def _due(self) -> bool:
        late = time.monotonic() - self._committed >= self._plan.commit_interval
        return late or self._journal.pending >= COMMIT_BYTES

    async def _list_users(self) -> list[str]:
        """Return the users whose lists are read: fixed once begun, so that the order is the same after a crash."""
        if self._plan.users is not None:
            return list(self._plan.users)
        path = self._journal.users_path
        if path.exists():
            return _users(path.read_bytes())
        found = await list_users(self._executor, self._plan.page_size)
        await run_in_kept_thread(partial(write_whole, path, _encode(found)))
        return found


class _Data(msgspec.Struct):
    data: list[msgspec.Raw] | None = None


_decode_data = msgspec.json.Decoder(_Data).decode
_ID: Final = re.compile(rb'"(?:\w+_)?id"\s*:\s*"(?:[^"\\]|\\.)*"', re.DOTALL)
_REPLACED: Final = re.compile(rb"\\ufffd|\\\\u[dD][89a-fA-F]")


def _told_apart(page: RawPage) -> list[msgspec.Raw]:
    r"""Return the records of a page in which halves of surrogate pairs were replaced.

    Two ids that differ only there would be one: in ids, `\ud83d` stands as these six characters.
    """
    body = _ID.sub(lambda found: spell_out_halves(found[0]), page.body)
    try:
        return _decode_data(repair(body)).data or []
    except FAILURES:
        return page.data


def _date(page: RawPage) -> str | None:
    """Return when a page was answered, by the server's clock."""
    try:
        sent = parsedate_to_datetime(page.response.headers.get("Date") or "")
        return to_wire(sent if sent.tzinfo is not None else sent.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def _calls(raw: bytes) -> Sequence[bytes | msgspec.Raw]:
    if raw in (b"", b"null"):
        return ()
    return _list(raw) if raw.startswith(b"[") else [raw]
