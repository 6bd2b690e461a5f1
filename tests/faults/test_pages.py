"""Lists whose pages or cursors go wrong: no item is lost or doubled, and nothing goes on for ever."""

from __future__ import annotations

from itertools import islice

import pytest

from stackone_lms.calls.lists import AsyncPager
from stackone_lms.errors import BadRequestError, DecodeError, PaginationError, StackOneError
from stackone_lms.models import Completion

from . import ITEMS, Connection, Fault, FaultServer, Request
from .messages import PAGE_SIZE, answer, page
from .pages import ODD_CURSORS
from .sdk import Carrier, assert_idle, assert_presentable, blocking_client_for, client_for
from .threads import serving


async def walked(pager: AsyncPager[Completion]) -> tuple[list[str | None], StackOneError | None]:
    """Iterate; return the ids that came, and the error that ended it."""
    ids: list[str | None] = []
    try:
        async for item in pager:
            ids.append(item.id)
    except StackOneError as error:
        assert_presentable(error)
        return ids, error
    return ids, None


def numbered(pages: int) -> list[str]:
    return [f"item-{n}" for n in range(pages * PAGE_SIZE)]


_WHOLE = {
    "ok": list(ITEMS),
    "page-fails-twice": list(ITEMS),
    "page-cut-twice": list(ITEMS),
    "page-garbage-once": list(ITEMS),
    "pages-gap": numbered(3),
    "next-empty": list(ITEMS[:PAGE_SIZE]),
    "next-blank": list(ITEMS[:PAGE_SIZE]),
    "next-missing": list(ITEMS[:PAGE_SIZE]),
    "next-null": list(ITEMS[:PAGE_SIZE]),
    "list-empty": [],
    "list-null": [],
    **{f"cursor-{name}": list(ITEMS[: 2 * PAGE_SIZE]) for name in ODD_CURSORS},
    "cursor-100kb": list(ITEMS[: 2 * PAGE_SIZE]),
}


@pytest.mark.parametrize("prefetch", [0, 1])
@pytest.mark.parametrize("name", _WHOLE)
async def test_every_item_comes_once_and_in_order(carrier: Carrier, name: str, prefetch: int) -> None:
    """Page by page, fetched ahead or not, whatever cursor the server has given."""
    async with FaultServer() as server, client_for(carrier, server.base_url(name)) as client:
        assert await walked(client.completions.list(prefetch=prefetch)) == (_WHOLE[name], None)
        assert server.total.suspicious == []
        assert_idle(client)


async def test_pages_that_overlap_give_their_items_twice(carrier: Carrier) -> None:
    """What the server repeats is handed on: only an export removes doubles."""
    async with FaultServer() as server, client_for(carrier, server.base_url("pages-overlap")) as client:
        ids, error = await walked(client.completions.list())
        assert error is None
        assert (len(ids), len(set(ids))) == (12, 10)


@pytest.mark.parametrize(
    ("name", "pages", "requests"), [("cursor-repeated", 2, 2), ("cursor-cycle", 4, 4)], ids=["same", "cycle"]
)
@pytest.mark.parametrize("prefetch", [0, 1])
async def test_cursors_that_lead_in_a_circle(
    carrier: Carrier, name: str, pages: int, requests: int, prefetch: int
) -> None:
    """Seen at the first repetition, when the items of all pages so far have come; no page is asked for twice."""
    async with FaultServer() as server, client_for(carrier, server.base_url(name)) as client:
        pager = client.completions.list(prefetch=prefetch)
        ids, error = await walked(pager)
        assert isinstance(error, PaginationError)
        assert error.cursor == f"n-{pages - 1}"
        assert ids == numbered(pages)
        assert server.total.requests == requests


async def test_a_list_that_is_taken_up_at_a_repeated_cursor_gives_its_page(carrier: Carrier) -> None:
    """`error.cursor` can be passed as `next=`: that page comes again, then the same error."""
    async with FaultServer() as server, client_for(carrier, server.base_url("cursor-repeated")) as client:
        ids, error = await walked(client.completions.list(next="n-1"))
        assert isinstance(error, PaginationError)
        assert ids == numbered(2)[PAGE_SIZE:]


async def test_empty_pages_without_end(carrier: Carrier) -> None:
    """There is an end to what a list takes in a row."""
    async with FaultServer() as server, client_for(carrier, server.base_url("pages-empty")) as client:
        ids, error = await walked(client.completions.list(max_empty_pages=120))
        assert isinstance(error, PaginationError)
        assert ids == []
        assert server.total.requests == 120


async def test_a_list_without_end_is_the_callers_to_end(carrier: Carrier) -> None:
    """`max_items` stops at the page that has them; leaving the loop stops as well."""
    async with FaultServer() as server, client_for(carrier, server.base_url("pages-endless")) as client:
        ids, error = await walked(client.completions.list(max_items=10))
        assert (ids, error) == (numbered(3)[:10], None)
        assert server.total.requests == 3
        seen = 0
        async for _ in client.completions.list(prefetch=1):
            seen += 1
            if seen == 5:
                break
        await server.idle()
        assert server.total.requests <= 6
        assert_idle(client)


@pytest.mark.parametrize(
    ("name", "kind"), [("cursor-expires", BadRequestError), ("page-fails", StackOneError)], ids=["400", "503"]
)
async def test_a_page_that_fails_for_good_leaves_the_place_to_resume_at(
    carrier: Carrier, name: str, kind: type[StackOneError]
) -> None:
    """The items before it have come; with `.cursor` the rest comes when the server is well again."""
    async with FaultServer() as server:
        async with client_for(carrier, server.base_url(name)) as client:
            pager = client.completions.list()
            ids, error = await walked(pager)
            assert isinstance(error, kind)
            assert ids == list(ITEMS[:PAGE_SIZE])
            assert pager.cursor == "page-1"
        async with client_for(carrier, server.base_url("ok")) as client:
            rest, error = await walked(client.completions.list(next=pager.cursor))
            assert (ids + rest, error) == (list(ITEMS), None)


@pytest.mark.parametrize("name", ["item-type", "item-null", "item-string", "item-no-id"])
async def test_a_bad_item_does_not_lose_its_page(carrier: Carrier, name: str) -> None:
    """The others come; the bad one is a DecodeError with its bytes, or an item that says what it can."""
    async with FaultServer() as server, client_for(carrier, server.base_url(name)) as client:
        pager = client.completions.list()
        ids, error = await walked(pager)
        assert error is None
        assert [id for id in ids if id in ITEMS] == list(ITEMS[:PAGE_SIZE])
        recorded = [type(e) for e in pager.errors]
        assert len(ids) + len(recorded) == PAGE_SIZE + 1
        if name in {"item-null", "item-string"}:
            assert recorded == [DecodeError]
            assert pager.errors[0].path.startswith("$.data[2]")
            assert pager.errors[0].body == {"item-null": b"null", "item-string": b'"item"'}[name]
            assert_presentable(pager.errors[0])


@pytest.mark.parametrize("name", ["list-object", "list-string", "list-missing", "next-object", "next-true"])
async def test_an_answer_that_is_no_page_is_an_error_of_its_own(carrier: Carrier, name: str) -> None:
    """A DecodeError, never a TypeError in the middle of a loop."""
    async with FaultServer() as server, client_for(carrier, server.base_url(name)) as client:
        ids, error = await walked(client.completions.list())
        assert isinstance(error, DecodeError)
        assert ids == []
        assert server.total.requests == 1


async def test_a_cursor_that_is_a_url_is_given_back_and_not_followed(carrier: Carrier) -> None:
    async with FaultServer() as evil, FaultServer(evil_url=evil.url) as server:
        async with client_for(carrier, server.base_url("cursor-url")) as client:
            assert await walked(client.completions.list()) == (list(ITEMS[: 2 * PAGE_SIZE]), None)
        assert evil.total.connections == 0
        assert server.total.requests == 2


async def test_every_page_is_asked_for_with_the_same_filters(carrier: Carrier) -> None:
    """And with the cursor exactly once, percent-encoded."""

    async def script(connection: Connection, request: Request) -> None:
        await connection.send(answer(page(ITEMS[:2], None if request.cursor else "a&next=b")))

    fault = Fault("subject", "-", "", "ok", None, script)
    async with FaultServer(more=[fault]) as server, client_for(carrier, server.base_url("subject")) as client:
        filters = {"updated_after": "2024-01-01T00:00:00Z"}
        pager = client.completions.list(filter=filters, page_size=2, proxy={"a": "&b=1"})
        async for _ in pager:
            filters["updated_after"] = "2025-01-01T00:00:00Z"
        first, second = (head.split()[1].partition(b"?")[2] for head in server.total.heads)
        assert second == first + b"&next=a%26next%3Db"
        assert b"2024" in first
        assert first.count(b"&") == 2


def test_the_blocking_pager_goes_the_same_ways(carrier: Carrier) -> None:
    with serving(FaultServer()) as server:
        with blocking_client_for(carrier, server.base_url("page-cut-twice")) as client:
            assert [item.id for item in client.completions.list()] == list(ITEMS)
        with blocking_client_for(carrier, server.base_url("cursor-cycle")) as client:
            seen: list[str | None] = []
            with pytest.raises(PaginationError) as caught:
                seen.extend(item.id for item in client.completions.list())
            assert caught.value.cursor == "n-3"
        with blocking_client_for(carrier, server.base_url("pages-endless")) as client:
            assert [item.id for item in islice(client.completions.list(), 6)] == numbered(2)[:6]
