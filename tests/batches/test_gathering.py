"""Many lists at once: all of them, in bounded memory, with failures told, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import Any

import pytest

from stackone_lms import AsyncClient, RateLimit, SyncClient
from stackone_lms.batches import Failure, Slice, batches, gather
from stackone_lms.errors import (
    AuthenticationError,
    InvalidArgumentError,
    PreconditionFailedError,
    ProviderCredentialsError,
)
from stackone_lms.sandbox import Sandbox
from stackone_lms.testing import InMemoryTransport
from stackone_lms.testing.memory import SentRequest, answer

from .rows import ids_of

ROWS = 10


class Accounts:
    """A server of accounts with lists of users of some pages; it notes what each was asked for."""

    def __init__(self, pages: int = 3, errors: Mapping[str, tuple[int, str | None]] | None = None) -> None:
        self.asked: list[tuple[str, int]] = []
        self.pages, self.errors = pages, errors or {}
        self.transport = InMemoryTransport().reply("GET", "/unified/lms/users", self._answer)
        self.under_way = self.most_under_way = 0

    async def _answer(self, sent: SentRequest) -> Any:
        page, account = int(sent.query.get("next", "0")), str(sent.account_id)
        self.asked.append((account, page))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if page == 1 and account in self.errors:
            status, code = self.errors[account]
            return answer({"message": "no", "errorCode": code}, status)
        data = [{"id": f"{account}-{page}-{n}"} for n in range(ROWS)]
        return answer({"data": data, "next": str(page + 1) if page + 1 < self.pages else None})

    def client(self) -> AsyncClient:
        return AsyncClient("key", transport=self.transport, rate_limit=None, retry=1)

    def blocking(self) -> SyncClient:
        return SyncClient("key", transport=self.transport, rate_limit=None, retry=1)

    def ids(self, *accounts: str, pages: int | None = None) -> Counter[str]:
        return Counter(
            f"{account}-{page}-{n}" for account in accounts for page in range(pages or self.pages) for n in range(ROWS)
        )


def slices(*accounts: str) -> list[Slice]:
    return [Slice("users", account) for account in accounts]


def ids(items: list[Any]) -> Counter[str]:
    return Counter(ids_of(items))


MANY = [f"a{n}" for n in range(60)]


@pytest.mark.parametrize("at_once", [None, 1, 7, 100])
async def test_every_list_comes_whole_and_in_its_order(at_once: int | None) -> None:
    server = Accounts()
    async with server.client() as client:
        items = [batch async for batch in gather(client, slices(*MANY), at_once=at_once, batch_rows=1)]
    assert ids(items) == server.ids(*MANY)
    for account in MANY:
        mine = [batch for batch in items if batch.slice.account_id == account]
        assert ids_of(mine) == list(server.ids(account))
        assert [batch.ended for batch in mine] == [False, False, True]
    assert server.most_under_way <= min(2 * (at_once or 128), 100)  # a page of each and the one after it


def test_the_same_from_code_without_asyncio() -> None:
    server = Accounts()
    with server.blocking() as client:
        assert ids(list(gather(client, slices(*MANY)))) == server.ids(*MANY)
        assert list(gather(client, [])) == []


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, None])
async def test_the_first_failure_ends_it_and_is_raised(blocking: bool, at_once: int | None) -> None:
    """It does not hang, however many batches wait to be taken; those that were ready come first."""
    server = Accounts(errors={"a3": (412, None)})
    found: list[Any] = []
    if blocking:
        with server.blocking() as client, pytest.raises(PreconditionFailedError):
            await asyncio.to_thread(lambda: found.extend(gather(client, slices(*MANY), at_once=at_once, batch_rows=1)))
    else:
        async with server.client() as client_:
            with pytest.raises(PreconditionFailedError):
                async for batch in gather(client_, slices(*MANY), at_once=at_once, batch_rows=1):
                    found.append(batch)
            assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(server.asked) < 3 * len(MANY)
    if at_once == 1:
        assert ids(found) == server.ids("a0", "a1", "a2") + server.ids("a3", pages=1)


@pytest.mark.parametrize("blocking", [False, True])
async def test_failures_are_yielded_and_the_other_lists_go_on(blocking: bool) -> None:
    """A failure tells which list, why, and where to go on."""
    server = Accounts(errors={"a3": (412, None), "a7": (401, "AccountExpiredCredentialsError")})
    if blocking:
        with server.blocking() as client:
            items: list[Any] = await asyncio.to_thread(lambda: list(gather(client, slices(*MANY), failures="yield")))
    else:
        async with server.client() as client_:
            items = [item async for item in gather(client_, slices(*MANY), failures="yield")]
    failures = {item.slice.account_id: item for item in items if isinstance(item, Failure)}
    assert {account: type(one.error) for account, one in failures.items()} == {
        "a3": PreconditionFailedError,
        "a7": ProviderCredentialsError,
    }
    healed = Accounts()
    with healed.blocking() as client:
        rest = await asyncio.to_thread(lambda: list(gather(client, [one.remaining for one in failures.values()])))
    assert ids(items) + ids(rest) == healed.ids(*MANY)
    assert healed.asked[:2] == [("a3", 1), ("a7", 1)]


async def test_a_refused_key_is_raised_all_the_same() -> None:
    """Every list would fail: 60 of them need not be tried."""
    server = Accounts(errors=dict.fromkeys(MANY, (401, None)))
    async with server.client() as client:
        with pytest.raises(AuthenticationError):
            async for _ in gather(client, slices(*MANY), at_once=4, failures="yield"):
                pass
    assert len(server.asked) <= 8


@pytest.mark.parametrize("taken", [0, 1, 5])
async def test_breaking_off_cancels_and_leaves_nothing(taken: int) -> None:
    server = Accounts(pages=50)
    async with server.client() as client:
        async with aclosing(gather(client, slices(*MANY), batch_rows=1)) as walk:
            for _ in range(taken):
                await anext(walk)
        asked = len(server.asked)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(server.asked) == asked
        assert client.stats().in_flight == client.stats().waiting == 0


async def test_cancelling_whoever_waits_leaves_nothing() -> None:
    asked = asyncio.Event()
    transport = InMemoryTransport()

    async def never(_: SentRequest) -> Any:
        asked.set()
        await asyncio.Event().wait()

    transport.reply("GET", "/unified/lms/users", never)
    async with AsyncClient("key", transport=transport) as client:

        async def read() -> None:
            async for _ in gather(client, slices(*MANY)):
                pass

        task = asyncio.create_task(read())
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("close", [True, False])
def test_a_blocking_iterator_is_closed_or_collected(close: bool) -> None:
    """Nothing is fetched afterwards; the client can be used."""
    server = Accounts(pages=50)
    with server.blocking() as client:
        walk = gather(client, slices(*MANY), batch_rows=1)
        next(walk)
        if close:
            walk.close()
        else:
            del walk
            gc.collect()
        assert client.stats().in_flight == 0
        asked = len(server.asked)
        assert ids(list(batches(client, Slice("users", "x")))) == server.ids("x")
        assert {account for account, _ in server.asked[asked:]} == {"x"}


async def test_a_slow_reader_holds_the_lists_up() -> None:
    """What is fetched ahead does not depend on how many lists there are, nor on how long they are."""
    server = Accounts(pages=1000)
    async with server.client() as client, aclosing(gather(client, slices(*MANY), at_once=4, batch_rows=1)) as walk:
        await anext(walk)
        for _ in range(2000):
            await asyncio.sleep(0)
        # Of each list the page that waits for room and the one fetched ahead; two batches wait, one was taken.
        assert len(server.asked) <= 4 * 2 + 3


async def test_many_lists_under_way_have_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that all of them together hold no more than so many bytes."""
    monkeypatch.setattr("stackone_lms.batches.gathering._BYTES", 2000)
    server = Accounts(pages=6)
    async with server.client() as client:
        alone = [len(batch.data) async for batch in gather(client, slices("x"))]
        together = [len(batch.data) async for batch in gather(client, slices(*MANY), at_once=50)]
    assert max(alone) > 3 * ROWS
    assert Counter(together).most_common(1)[0][0] == ROWS
    assert sum(together) == 60 * 6 * ROWS


async def test_the_rate_limit_says_how_many_lists_are_under_way() -> None:
    server = Accounts()
    limited = AsyncClient("key", transport=server.transport, rate_limit=RateLimit(1000, per=1.0))
    async with limited as client:
        assert ids([batch async for batch in gather(client, slices(*MANY[:20]))]) == server.ids(*MANY[:20])


def test_what_cannot_be_is_told_before_anything_is_sent() -> None:
    server = Accounts()
    with server.blocking() as client:
        twice: Iterator[Slice] = iter([*slices("x"), *slices("x")])
        for wrong, named in (
            (lambda: gather(client, twice), "users of account x are given twice"),
            (lambda: gather(client, slices("x"), at_once=0), "at_once"),
            (lambda: gather(client, slices("x"), batch_rows=0), "batch_rows"),
            (lambda: gather(client, slices("x"), failures="skip"), "raise or yield"),  # type: ignore[call-overload]
            (lambda: gather(client, ["x"]), "not str"),  # type: ignore[list-item]
            (lambda: gather("client", slices("x")), "AsyncClient or a SyncClient, not str"),  # type: ignore[call-overload]
        ):
            with pytest.raises(InvalidArgumentError, match=named):
                wrong()
    assert not server.asked


def test_threads_that_gather_at_once_each_get_their_own() -> None:
    server = Accounts()
    found: list[Counter[str]] = []
    with server.blocking() as client:

        def read(first: int) -> None:
            found.append(ids(list(gather(client, slices(*MANY[first : first + 20])))))

        threads = [threading.Thread(target=read, args=(first,)) for first in (0, 20, 40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(found, Counter[str]()) == server.ids(*MANY)


async def test_a_real_server_under_trouble(aio: AsyncClient, sandbox: Sandbox) -> None:
    """Retries are the client's own business."""
    sandbox.fail_next(503)
    items = [
        batch async for batch in gather(aio, [Slice("completions", id, page_size=9) for id in sandbox.account_ids])
    ]
    assert sum(len(batch.data) for batch in items) == 150
