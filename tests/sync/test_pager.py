"""Lists from blocking code: one change of thread a page."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest

from stackone_lms import RetryPolicy, SyncClient
from stackone_lms.calls.operation import executor_of
from stackone_lms.errors import InternalServerError, InvalidArgumentError, PaginationError
from stackone_lms.sync import PortalExecutor
from stackone_lms.transport import Response
from tests.fake.fakes import ACCOUNT, KEY, FakeTransport, error, hang, page, reply, serving

PAGES: dict[str | None, Response] = {None: page(["1", "2"], "A"), "A": page(["3", "4"], "B"), "B": page(["5"])}


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport(serving(PAGES))


@pytest.fixture
def client(transport: FakeTransport) -> Iterator[SyncClient]:
    with SyncClient(KEY, ACCOUNT, transport=transport, retry=RetryPolicy(attempts=1)) as made:
        yield made


def cursors(transport: FakeTransport) -> list[str | None]:
    return [dict(parse_qsl(sent.query)).get("next") for sent in transport.sent]


def test_items_pages_and_lists(client: SyncClient, transport: FakeTransport) -> None:
    pager = client.completions.list(page_size=2)
    assert [item.id for item in pager] == ["1", "2", "3", "4", "5"]
    assert [[item.id for item in found.data] for found in pager.pages()] == [["1", "2"], ["3", "4"], ["5"]]
    assert [item.id for item in pager.collect()] == ["1", "2", "3", "4", "5"]
    assert cursors(transport) == [None, "A", "B"] * 3
    assert repr(pager) == "<SyncPager of completions.list>"


@pytest.mark.parametrize("prefetch", [0, 1])
def test_the_first_page_is_one_request(client: SyncClient, transport: FakeTransport, prefetch: int) -> None:
    pager = client.completions.list(prefetch=prefetch)
    first = pager.first_page()
    assert ([item.id for item in first.data], first.status, pager.cursor) == (["1", "2"], 200, "A")
    client.completions.list(max_items=0).first_page()
    client.with_options(account_id="acct-2").completions.list().first_page()
    assert cursors(transport) == [None, None]


@pytest.mark.parametrize(("most", "requests"), [(0, 0), (1, 1), (2, 1), (3, 2), (5, 3), (9, 3)])
@pytest.mark.parametrize("prefetch", [0, 1])
def test_max_items(client: SyncClient, transport: FakeTransport, prefetch: int, most: int, requests: int) -> None:
    pager = client.completions.list(prefetch=prefetch)
    assert [item.id for item in pager.collect(most)] == ["1", "2", "3", "4", "5"][:most]
    assert len(transport.sent) == requests
    rest = [item.id for item in client.completions.list(next=pager.cursor or "")]
    assert {"1", "2", "3", "4", "5"} <= {*["1", "2", "3", "4", "5"][:most], *rest}


def test_one_change_of_thread_a_page(client: SyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    hops: list[object] = []
    run: Any = PortalExecutor.run

    def counting(self: Any, function: Any, /, *args: Any) -> Any:
        hops.append(function)
        return run(self, function, *args)

    monkeypatch.setattr(PortalExecutor, "run", counting)
    assert len(client.completions.list().collect()) == 5
    assert len(hops) == 4  # three pages, and the end
    for item in client.completions.list():
        assert item.id
        break
    assert len(hops) == 5


def test_breaking_out_leaves_the_rest_unasked(client: SyncClient, transport: FakeTransport) -> None:
    pager = client.completions.list()
    for item in pager:
        if item.id == "3":
            break
    assert (cursors(transport), pager.cursor) == ([None, "A"], "A")


def test_errors_come_where_the_page_would_and_leave_the_cursor_there(
    client: SyncClient, transport: FakeTransport
) -> None:
    transport.script = (page(["1"], "A"), page(["2"], "B"), error(500))
    pager = client.completions.list()
    seen: list[str | None] = []
    with pytest.raises(InternalServerError):
        for item in pager:
            seen.append(item.id)
    assert (seen, pager.cursor) == (["1", "2"], "B")


def test_a_repeated_cursor_ends_the_walk(client: SyncClient, transport: FakeTransport) -> None:
    transport.script = (page(["1"], "A"), page(["2"], "A"))
    with pytest.raises(PaginationError):
        client.completions.list().collect()
    assert len(transport.sent) == 2


def test_a_bad_item_is_recorded(client: SyncClient, transport: FakeTransport) -> None:
    transport.script = (reply(200, b'{"data":[{"id":"1"},{"id":[]}]}'),)
    pager = client.completions.list()
    assert [item.id for item in pager] == ["1"]
    assert [bad.body for bad in pager.errors] == [b'{"id":[]}']


def test_wrong_values_are_refused_at_once(client: SyncClient) -> None:
    with pytest.raises(InvalidArgumentError):
        client.completions.list(page_size=-1)
    with pytest.raises(InvalidArgumentError):
        client.completions.list().collect(-1)


def test_a_page_fetched_ahead_comes_while_the_caller_works(client: SyncClient, transport: FakeTransport) -> None:
    ahead: list[int] = []
    for _ in client.completions.list(prefetch=1).pages():
        executor_of(client).run(asyncio.sleep, 0.02)
        ahead.append(len(transport.sent))
    assert ahead == [2, 3, 3]


@pytest.mark.parametrize("close_first", [False, True])
def test_a_page_fetched_ahead_in_vain_is_given_up_silently(
    client: SyncClient, transport: FakeTransport, close_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when the client is closed before the walk is left."""
    transport.script = (page(["1"], "A"), hang)
    for _ in client.completions.list(prefetch=1).pages():
        executor_of(client).run(asyncio.sleep, 0.02)
        assert transport.under_way == 1
        if close_first:
            client.close()
        break
    gc.collect()
    if not close_first:
        executor_of(client).run(asyncio.sleep, 0.02)
    assert transport.under_way == 0
    client.close()
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_page_fetched_ahead_is_given_up_where_the_walk_is_collected_on_the_thread_of_the_loop(
    client: SyncClient, transport: FakeTransport
) -> None:
    """As the garbage collector may do at any time: nothing is raised where nobody can catch it."""
    transport.script = (page(["1"], "A"), hang)
    walk = client.completions.list(prefetch=1).pages()
    next(walk)
    executor_of(client).run(asyncio.sleep, 0.02)
    assert transport.under_way == 1
    held: list[Any] = [walk]
    del walk

    async def drop() -> None:
        held.clear()

    executor_of(client).run(drop)
    executor_of(client).run(asyncio.sleep, 0.02)
    assert transport.under_way == 0
