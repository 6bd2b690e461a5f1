"""Lists: every item once, whatever the server sends for pages."""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl

import pytest

from stackone_lms import RetryPolicy
from stackone_lms.calls.lists import MAX_EMPTY_PAGES, MAX_ERRORS
from stackone_lms.errors import (
    APITimeoutError,
    InternalServerError,
    InvalidArgumentError,
    NotFoundError,
    PaginationError,
)
from stackone_lms.transport import Response
from tests.fake.fakes import FakeTransport, client_of, error, hang, lost, now, page, reply, serving, slowly, virtual

from ..conftest import OwnLog

ONE_ATTEMPT = RetryPolicy(attempts=1)


PAGES: dict[str | None, Response] = {None: page(["1", "2"], "A"), "A": page(["3", "4"], "B"), "B": page(["5"])}


def three_pages() -> FakeTransport:
    return FakeTransport(serving(PAGES))


def asked(transport: FakeTransport) -> list[str | None]:
    """Return the cursor of each request."""
    return [dict(parse_qsl(sent.query)).get("next") for sent in transport.sent]


async def ids_of(pager: Any) -> list[str]:
    return [item.id async for item in pager]


@virtual
async def test_items_of_all_pages_come_in_order() -> None:
    transport = three_pages()
    pager = client_of(transport).completions.list()
    assert await ids_of(pager) == ["1", "2", "3", "4", "5"]
    assert asked(transport) == [None, "A", "B"]
    assert pager.cursor is None
    assert {sent.path for sent in transport.sent} == {"/unified/lms/completions"}


@virtual
async def test_pages_come_whole() -> None:
    transport = FakeTransport(page(["1"], "A", total=9, raw=[{"method": "GET", "url": "u"}]), page(["2"]))
    pager = client_of(transport).courses.list(raw=True)
    pages = [found async for found in pager.pages()]
    assert [[item.id for item in found.data] for found in pages] == [["1"], ["2"]]
    assert (pages[0].next, pages[0].total, pages[1].next, pages[1].raw) == ("A", 9, None, None)
    assert pages[0].raw is not None
    assert (pages[0].raw[0].url, pages[0].status, pages[0].attempts) == ("u", 200, 1)


@virtual
async def test_the_first_page_is_one_request() -> None:
    for prefetch in (0, 1):
        transport = three_pages()
        pager = client_of(transport).completions.list(prefetch=prefetch)
        first = await pager.first_page()
        await asyncio.sleep(10)
        assert ([item.id for item in first.data], pager.cursor, asked(transport)) == (["1", "2"], "A", [None])
    empty = await client_of(three_pages()).completions.list(max_items=0).first_page()
    assert empty.data == []


@virtual
async def test_collect_returns_a_list() -> None:
    pager = client_of(three_pages()).completions.list()
    assert [item.id for item in await pager.collect()] == ["1", "2", "3", "4", "5"]
    assert pager.cursor is None


@pytest.mark.parametrize(("most", "requests"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)])
@pytest.mark.parametrize("prefetch", [0, 1])
@virtual
async def test_max_items_stops_the_walk_and_asks_for_no_page_too_many(prefetch: int, most: int, requests: int) -> None:
    expected = ["1", "2", "3", "4", "5"][:most]
    transport = three_pages()
    assert await ids_of(client_of(transport).completions.list(max_items=most, prefetch=prefetch)) == expected
    collecting, both = three_pages(), three_pages()
    pager = client_of(collecting).completions.list(prefetch=prefetch)
    assert [item.id for item in await pager.collect(most)] == expected
    pager = client_of(both).completions.list(max_items=most, prefetch=prefetch)
    assert [item.id for item in await pager.collect(100)] == expected
    assert [item.id for item in await pager.collect(1)] == expected[:1]
    await asyncio.sleep(10)
    assert len(transport.sent) == len(collecting.sent) == requests


@pytest.mark.parametrize("wrong", [-1, 1.5, "3", True])
@virtual
async def test_collect_refuses_a_number_that_is_none(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="max_items"):
        await client_of(three_pages()).completions.list().collect(wrong)


@pytest.mark.parametrize("way", ["items", "pages", "collect"])
@pytest.mark.parametrize("most", [1, 2, 3, 4])
@virtual
async def test_resuming_at_the_cursor_misses_nothing(most: int, way: str) -> None:
    """Although `max_items` may have ended the walk in the middle of a page."""
    client = client_of(three_pages())
    pager = client.completions.list() if way == "collect" else client.completions.list(max_items=most)
    fetched: list[str | None] = []
    if way == "items":
        fetched += await ids_of(pager)
    elif way == "pages":
        fetched += [item.id async for found in pager.pages() for item in found.data]
    else:
        fetched += [item.id for item in await pager.collect(most)]
    assert len(fetched) == most
    rest = await ids_of(client.completions.list(next=pager.cursor or ""))
    assert {*fetched, *rest} == {"1", "2", "3", "4", "5"}


@virtual
async def test_the_cursor_of_items_is_that_of_their_page_until_the_last_was_delivered() -> None:
    pager = client_of(three_pages()).completions.list()
    assert pager.cursor is None
    seen = [(item.id, pager.cursor) async for item in pager]
    assert seen == [("1", None), ("2", None), ("3", "A"), ("4", "A"), ("5", "B")]


@virtual
async def test_the_cursor_of_pages_is_that_of_the_following_one() -> None:
    pager = client_of(three_pages()).completions.list(next="A")
    assert pager.cursor == "A"
    assert [pager.cursor async for _ in pager.pages()] == ["B", None]


@virtual
async def test_after_a_failure_the_cursor_is_that_of_the_page_that_failed() -> None:
    transport = FakeTransport(page(["1"], "A"), page(["2"], "B"), error(500))
    pager = client_of(transport, retry=ONE_ATTEMPT).completions.list()
    seen: list[str | None] = []
    with pytest.raises(InternalServerError):
        async for item in pager:
            seen.append(item.id)
    assert (seen, pager.cursor) == (["1", "2"], "B")


@virtual
async def test_a_page_that_fails_twice_is_fetched_again_and_no_item_is_lost_or_doubled() -> None:
    transport = FakeTransport(page(["1"], "A"), lost(), error(503), page(["2"], "B"), page(["3"]))
    assert await ids_of(client_of(transport).completions.list()) == ["1", "2", "3"]
    assert asked(transport) == [None, "A", "A", "A", "B"]


@virtual
async def test_iterating_again_begins_again() -> None:
    transport = three_pages()
    pager = client_of(transport).completions.list()
    assert await ids_of(pager) == await ids_of(pager)
    assert asked(transport) == [None, "A", "B"] * 2


@virtual
async def test_empty_pages_in_between_are_nothing_special() -> None:
    transport = FakeTransport(page([], "A"), page(["1"], "B"), page([], "C"), page([], "D"), page(["2"]))
    assert await ids_of(client_of(transport).completions.list()) == ["1", "2"]


@pytest.mark.parametrize("end", [None, "", " ", "missing"])
@virtual
async def test_a_list_ends_where_there_is_no_cursor(end: str | None) -> None:
    last = reply(200, {"data": [{"id": "2"}]}) if end == "missing" else page(["2"], end)
    transport = FakeTransport(page(["1"], "A"), last)
    assert await ids_of(client_of(transport).completions.list()) == ["1", "2"]


@pytest.mark.parametrize("cursors", [["A", "A"], ["A", "B", "A"], ["A", "B", "C", "B"], ["start"], ["A", "start"]])
@virtual
async def test_a_cursor_that_comes_again_ends_the_walk_after_the_items_of_its_page(cursors: list[str]) -> None:
    transport = FakeTransport(*(page([str(n)], cursor) for n, cursor in enumerate(cursors)))
    pager = client_of(transport).completions.list(next="start")
    seen: list[str | None] = []
    with pytest.raises(PaginationError, match="repeated a cursor") as caught:
        async for item in pager:
            seen.append(item.id)
    assert len(transport.sent) == len(cursors)
    assert seen == [str(n) for n in range(len(cursors))]
    assert pager.cursor == caught.value.cursor == ["start", *cursors][len(cursors) - 1]
    assert not caught.value.retryable


@virtual
async def test_empty_pages_with_other_cursors_go_on_and_are_reported(
    caplog: pytest.LogCaptureFixture, own_log: OwnLog
) -> None:
    transport = FakeTransport(*(page([], f"c{n}") for n in range(350)), page(["1"]))
    with caplog.at_level(logging.WARNING, "stackone_lms"):
        assert len(await client_of(transport).completions.list().collect()) == 1
    assert len(transport.sent) == 351
    assert [log.getMessage() for log in own_log()] == [
        f"completions.list: {n} empty pages in a row so far, each with another cursor" for n in (100, 200, 300)
    ]


@pytest.mark.parametrize("given", [{}, {"max_empty_pages": 7}])
@virtual
async def test_too_many_empty_pages_in_a_row_are_given_up(given: dict[str, int], monkeypatch: Any) -> None:
    monkeypatch.setattr("stackone_lms.calls.lists.MAX_EMPTY_PAGES", 150)
    transport = FakeTransport(*(page([], f"c{n}") for n in range(200)))
    most = given.get("max_empty_pages", 150)
    with pytest.raises(PaginationError, match=f"{most} empty pages in a row") as caught:
        await client_of(transport).completions.list(**given).collect()  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert (len(transport.sent), caught.value.cursor) == (most, f"c{most - 2}")


def test_ten_thousand_empty_pages_are_borne() -> None:
    assert MAX_EMPTY_PAGES == 10_000


@virtual
async def test_empty_pages_are_only_counted_in_a_row_and_bad_items_are_not_nothing() -> None:
    bad = reply(200, {"data": [{"id": {}}], "next": "x"})
    pages = [page(["1"], f"c{n}") if n % 90 == 0 else page([], f"c{n}") for n in range(300)]
    assert len(await client_of(FakeTransport(*pages, page([]))).completions.list(max_empty_pages=100).collect()) == 4
    pages = [page([], f"c{n}") for n in range(90)]
    transport = FakeTransport(*pages, bad, *(page([], f"d{n}") for n in range(90)), page(["1"]))
    pager = client_of(transport).completions.list(max_empty_pages=100)
    assert [item.id for item in await pager.collect()] == ["1"]
    assert len(pager.errors) == 1


@virtual
async def test_a_bad_item_is_recorded_and_the_walk_goes_on() -> None:
    first = reply(200, b'{"data":[{"id":"1"},{"id":[]},{"id":"2"}],"next":"A"}')
    transport = FakeTransport(first, page(["3"], "B"), reply(200, b'{"data":[{"score":"none"}]}'))
    pager = client_of(transport).completions.list()
    assert await ids_of(pager) == ["1", "2", "3"]
    assert [(bad.path, bad.body) for bad in pager.errors] == [
        ("$.data[1].id", b'{"id":[]}'),
        ("$.data[0].score", b'{"score":"none"}'),
    ]


@virtual
async def test_every_page_is_asked_for_with_the_same_keywords() -> None:
    transport = three_pages()
    await (
        client_of(transport)
        .users.completions.list(
            "u/1", page_size=2, raw=True, fields=["id"], proxy={"a": {"b": 1}}, updated_after="2024-01-01", max_items=99
        )
        .collect()
    )
    assert {sent.path for sent in transport.sent} == {"/unified/lms/users/u%2F1/completions"}
    first, *others = [sent.query for sent in transport.sent]
    assert sorted(parse_qsl(first)) == [
        ("fields", "id"),
        ("filter[updated_after]", "2024-01-01"),
        ("page_size", "2"),
        ("proxy[a][b]", "1"),
        ("raw", "true"),
    ]
    assert others == [f"{first}&next=A", f"{first}&next=B"]


@virtual
async def test_the_keywords_are_those_of_the_call_whatever_becomes_of_them() -> None:
    transport = FakeTransport(page(["1"], "A"), page(["2"]), page(["1"], "A"), page(["2"]))
    chosen: dict[str, Any] = {"updated_after": "2024-01-01"}
    proxy: dict[str, Any] = {"a": ["x"]}
    pager = client_of(transport).completions.list(
        filter=chosen, proxy=proxy, fields=(name for name in ["id", "user_id"])
    )
    chosen.clear()
    async for _ in pager:
        proxy["a"].append("y")
    await pager.collect()
    expected = "filter%5Bupdated_after%5D=2024-01-01&proxy%5Ba%5D=x&fields=id%2Cuser_id&page_size=100"
    assert [sent.query for sent in transport.sent] == [expected, f"{expected}&next=A"] * 2


@pytest.mark.parametrize("cursor", ["a+b/c==", "&next=x#?", "é 🦊", "https://evil.example/", "x" * 5000, "%2e"])
@virtual
async def test_a_cursor_goes_back_exactly_as_it_came(cursor: str) -> None:
    transport = FakeTransport(page(["1"], cursor), page(["2"]))
    await client_of(transport).completions.list().collect()
    assert asked(transport)[1] == cursor
    assert {sent.path for sent in transport.sent} == {"/unified/lms/completions"}


@virtual
async def test_without_prefetch_a_page_is_fetched_when_it_is_needed() -> None:
    transport = three_pages()
    async with aclosing(client_of(transport).completions.list().pages()) as pages:
        async for _ in pages:
            await asyncio.sleep(100)
            assert len(transport.sent) == 1
            break


@virtual
async def test_prefetch_fetches_one_page_ahead_and_no_more() -> None:
    transport = FakeTransport(*(slowly(10, page([str(n)], f"c{n}" if n < 4 else None)) for n in range(5)))
    start = now()
    ahead: list[int] = []
    async for _ in client_of(transport).completions.list(prefetch=1).pages():
        await asyncio.sleep(10)  # working on the page, while the next one comes
        ahead.append(len(transport.sent))
    assert ahead == [2, 3, 4, 5, 5]
    assert now() - start == 60
    assert transport.most_under_way == 1


@virtual
async def test_a_page_fetched_ahead_in_vain_is_cancelled() -> None:
    transport, start = FakeTransport(page(["1"], "A"), hang), now()
    async with aclosing(client_of(transport).completions.list(prefetch=1).pages()) as pages:
        async for _ in pages:
            await asyncio.sleep(1)
            assert transport.under_way == 1
            break
    assert (transport.under_way, now() - start) == (0, 1)


@virtual
async def test_the_error_of_a_page_fetched_ahead_belongs_to_who_asks_for_it(caplog: pytest.LogCaptureFixture) -> None:
    transport = FakeTransport(page(["1"], "A"), error(404))
    pager = client_of(transport).completions.list(prefetch=1)
    with pytest.raises(NotFoundError):
        await ids_of(pager)
    assert pager.cursor == "A"
    transport = FakeTransport(page(["1"], "A"), error(404))
    walk = client_of(transport).completions.list(prefetch=1).pages()
    await anext(walk)
    await asyncio.sleep(1)
    await walk.aclose()
    del walk
    gc.collect()
    await asyncio.sleep(1)
    assert len(transport.sent) == 2
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@virtual
async def test_cancelling_the_walk_cancels_the_page_fetched_ahead() -> None:
    transport = FakeTransport(page(["1"], "A"), hang)
    task = asyncio.create_task(client_of(transport).completions.list(prefetch=1).collect())
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transport.under_way == 0


@virtual
async def test_each_page_is_a_call_with_its_own_time_limit() -> None:
    transport = FakeTransport(slowly(60, page(["1"], "A")), *(slowly(60, page(["2"], f"{n}")) for n in range(8)), hang)
    pager = client_of(transport, retry=ONE_ATTEMPT).completions.list()
    start = now()
    with pytest.raises(APITimeoutError):
        await ids_of(pager)
    assert now() - start == 9 * 60 + 65


def sizes(transport: FakeTransport) -> list[str | None]:
    """Return the `page_size` of each request."""
    return [dict(parse_qsl(sent.query)).get("page_size") for sent in transport.sent]


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "100"), ({"max_items": 26}, "100"), ({"max_items": 25}, None), ({"page_size": 7}, "7")],
)
@virtual
async def test_who_walks_on_asks_for_pages_of_a_hundred(given: dict[str, Any], expected: str | None) -> None:
    transport = three_pages()
    pager = client_of(transport).completions.list(**given)
    assert await ids_of(pager) == ["1", "2", "3", "4", "5"]
    async with aclosing(pager.pages()) as pages:
        assert [len(found.data) async for found in pages] == [2, 2, 1]
    assert len(await pager.collect()) == 5
    assert sizes(transport) == [expected] * 9


@virtual
async def test_a_small_collection_and_a_first_page_keep_the_size_of_the_api() -> None:
    transport = three_pages()
    pager = client_of(transport).completions.list()
    await pager.collect(max_items=3)
    assert len((await pager.first_page()).data) == 2
    assert len((await pager).data) == 2
    assert sizes(transport) == [None] * 4
    await pager.collect(max_items=26)
    assert sizes(transport)[4:] == ["100"] * 3


@pytest.mark.parametrize("await_it", [True, False])
@virtual
async def test_a_walk_from_the_cursor_of_a_first_page_keeps_its_size(await_it: bool) -> None:
    """Cursors count pages: with another size, records would be passed over."""
    transport = FakeTransport(
        serving({None: page(["1"], "small"), "small": page(["2"], "next"), "next": page(["3"]), "other": page(["9"])})
    )
    listed = client_of(transport).completions.list
    first = await listed() if await_it else await listed().first_page()
    assert first.next
    assert await ids_of(listed(next=first.next)) == ["2", "3"]
    assert await ids_of(listed(next="other")) == ["9"]
    assert sizes(transport) == [None, None, None, "100"]


@virtual
async def test_an_awaited_list_is_its_first_page() -> None:
    transport = three_pages()
    found = await client_of(transport).completions.list()
    assert ([item.id for item in found.data], found.next, asked(transport)) == (["1", "2"], "A", [None])


@virtual
async def test_a_plain_loop_over_a_pager_says_what_to_write() -> None:
    pager: Any = client_of(three_pages()).completions.list()
    with pytest.raises(TypeError, match="async for"):
        for _ in pager:
            pass
    with pytest.raises(TypeError, match="collect"):
        list(pager)


@virtual
async def test_the_errors_kept_are_bounded_and_all_are_counted(
    caplog: pytest.LogCaptureFixture, own_log: OwnLog
) -> None:
    bad: list[Any] = [{"id": []}] * 400
    pages = [reply(200, {"data": bad, "next": f"c{n}"}) for n in range(3)]
    pager = client_of(FakeTransport(*pages, page(["1"]))).completions.list()
    with caplog.at_level(logging.WARNING, "stackone_lms"):
        assert await ids_of(pager) == ["1"]
    assert (len(pager.errors), pager.error_count) == (MAX_ERRORS, 1200) == (1000, 1200)
    assert [log.getMessage() for log in own_log()] == [
        "completions.list: 1000 items did not decode; the errors of further ones are only counted"
    ]


@virtual
async def test_the_memory_of_a_walk_does_not_grow_with_its_cursors() -> None:
    """Of each cursor a few bytes are kept, however long it is."""
    count, length = 300, 20_000

    def answers() -> Any:
        for n in range(count):
            yield page([str(n)], f"{n}" + "x" * length)
        yield page([])

    following = answers()

    async def next_page(*_: Any) -> Response:
        transport.sent.clear()  # it would keep the queries
        return next(following)  # type: ignore[no-any-return]

    transport = FakeTransport(next_page)
    before = 0
    pager = client_of(transport).completions.list()
    tracemalloc.start()
    try:
        seen = 0
        async for _ in pager:
            seen += 1
            if seen == 50:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert seen == count
    assert grown < (count - 50) * length / 4
