"""A list as record batches: whole, and from every place on that it was stopped at."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.batches import Batch, Failure, Slice, batches, schema
from stackone_lms.errors import (
    ClientClosedError,
    ExportError,
    InternalServerError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    PreconditionFailedError,
)
from stackone_lms.export.lists import resources
from stackone_lms.sandbox import Sandbox
from stackone_lms.testing import InMemoryTransport

from ..soak import rounds
from .rows import ids_of as ids

LISTS = sorted(resources())


def table(found: list[Batch], what: Slice) -> pa.Table:
    return pa.Table.from_batches([batch.data for batch in found], schema=schema(what.resource, what.columns))


@pytest.mark.parametrize("resource", LISTS)
def test_going_on_from_every_stop_gives_every_row_once(resource: str, client: SyncClient, sandbox: Sandbox) -> None:
    """In order, by data that went through JSON; of the lists of users too."""
    what = Slice(resource, sandbox.account_ids[0], page_size=5)
    found = list(batches(client, what, batch_rows=1))
    whole = table(found, what)
    assert whole.num_rows
    assert [batch.ended for batch in found] == [False] * (len(found) - 1) + [True]
    done = 0
    for stop, batch in enumerate(found, 1):
        done += batch.data.num_rows
        if batch.remaining is not None:
            rest = Slice.from_json(batch.remaining.to_json())
            assert table(list(batches(client, rest)), rest).equals(whole.slice(done)), f"after batch {stop}"


@pytest.mark.thorough
@pytest.mark.rounds
@settings(max_examples=rounds(100))
@given(
    resource=st.sampled_from(["completions", "users.completions", "users"]),
    page_size=st.integers(1, 40),
    batch_rows=st.integers(1, 60),
    stops=st.lists(st.integers(1, 4), max_size=6),
)
def test_any_number_of_stops_loses_and_doubles_nothing(
    resource: str, page_size: int, batch_rows: int, stops: list[int], shared: tuple[SyncClient, str]
) -> None:
    client, account = shared
    what = Slice(resource, account, page_size=page_size)
    rest: Slice | None = what
    found: list[Batch] = []
    for stop in [*stops, 10_000]:
        if rest is None:
            break
        walk = batches(client, rest, batch_rows=batch_rows)
        for batch in walk:
            found.append(batch)
            rest, stop = batch.remaining, stop - 1  # noqa: PLW2901
            if not stop:
                break
        walk.close()
    assert rest is None
    assert table(found, what).equals(table(list(batches(client, what)), what))


@pytest.fixture(scope="module")
def shared(sandbox: Sandbox) -> Iterator[tuple[SyncClient, str]]:
    with SyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None) as client:
        yield client, sandbox.account_ids[1]


async def test_both_clients_read_the_same(client: SyncClient, aio: AsyncClient, sandbox: Sandbox) -> None:
    what = Slice("completions", sandbox.account_ids[0], page_size=20)
    found = [batch async for batch in batches(aio, what, batch_rows=30)]
    assert [batch.data.num_rows for batch in found] == [40, 35] or len(found) > 1
    assert table(found, what).num_rows == 75
    with pytest.warns(RuntimeWarning, match="AsyncClient"):
        blocking = list(batches(client, what, batch_rows=30))
    assert blocking == found


@pytest.mark.parametrize("resource", LISTS)
def test_columns_are_those_of_the_whole_and_only_they_are_asked_for(
    resource: str, client: SyncClient, sandbox: Sandbox
) -> None:
    """Whatever `fields=` leaves out."""
    account = sandbox.account_ids[0]
    whole = table(list(batches(client, what := Slice(resource, account))), what)
    names = [name for name in whole.schema.names if name != "extra"]
    for chosen in (names[::2], names[1::2], ["account_id"]):
        narrow = Slice(resource, account, columns=chosen)
        assert table(list(batches(client, narrow)), narrow).equals(whole.select(chosen))
        assert "fields=" in sandbox.requests[-1].query


def test_filters_and_moments_narrow_what_is_asked_for(client: SyncClient, sandbox: Sandbox) -> None:
    account = sandbox.account_ids[0]
    what = Slice("assignments", account, filters={"status": "pending"}, updated_after="2025-06-01")
    found = table(list(batches(client, what)), what)
    assert set(found.column("status_value").to_pylist()) == {"pending"}
    assert "filter%5Bupdated_after%5D=2025-06-01T00" in sandbox.requests[-1].query


def test_an_empty_list_is_one_batch_without_rows() -> None:
    transport = InMemoryTransport()
    transport.reply("GET", "/unified/lms/users", {"data": [], "next": None})
    with SyncClient("key", transport=transport) as client:
        (batch,) = batches(client, Slice("users", "1"))
    assert (batch.data.num_rows, batch.cursor, batch.ended, batch.pages) == (0, None, True, 1)
    assert batch.data.schema == schema("users")


def test_a_batch_is_as_many_pages_as_hold_the_rows_asked_for(client: SyncClient, sandbox: Sandbox) -> None:
    sizes = [
        batch.data.num_rows
        for batch in batches(client, Slice("completions", sandbox.account_ids[0], page_size=10), batch_rows=25)
    ]
    assert all(25 <= size < 35 for size in sizes[:-1])
    assert sum(sizes) == 75


PAGES = [
    {"data": [{"id": str(page * 2 + n)} for n in range(2)], "next": str(page + 1) if page < 4 else None}
    for page in range(5)
]


@contextmanager
def served(pages: Mapping[int, Any]) -> Generator[SyncClient]:
    """A client of five pages, some of them replaced by an error."""
    transport = InMemoryTransport()
    for page in range(5):
        answer, status = pages.get(page, (PAGES[page], 200))
        query = {"next": str(page)} if page else {}
        transport.reply("GET", "/unified/lms/users", answer, status=status, query=query)
    with SyncClient("key", transport=transport, retry=1) as client:
        yield client


@pytest.mark.parametrize("broken", [0, 1, 3])
def test_what_came_before_an_error_is_delivered_and_the_rest_can_be_fetched(broken: int) -> None:
    """Whatever the size of the batches."""
    what = Slice("users", "1")
    with served({broken: ({"message": "down"}, 503)}) as client:
        items = list(batches(client, what, failures="yield"))
        found: list[Batch] = []
        with pytest.raises(InternalServerError):
            found.extend(batches(client, what))
    failure = items[-1]
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, InternalServerError)
    assert (failure.cursor is None) == (broken == 0)
    assert failure.user_id is None
    assert ids(items) == [str(n) for n in range(broken * 2)]
    with served({}) as client:
        assert ids(items) + ids(list(batches(client, failure.remaining))) == [str(n) for n in range(10)]


def test_what_was_delivered_before_an_error_is_raised() -> None:
    with served({3: ({"message": "down"}, 503)}) as client:
        walk = batches(client, Slice("users", "1"))
        assert ids([next(walk)]) == [str(n) for n in range(6)]
        with pytest.raises(InternalServerError):
            next(walk)
        assert list(walk) == []


def test_a_missing_pyarrow_is_told_before_anything_is_sent(
    client: SyncClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    what, before = Slice("users", sandbox.account_ids[0]), sandbox.request_count
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for call in (lambda: batches(client, what), lambda: schema("users")):
        with pytest.raises(ExportError, match=r"pip install 'stackone-lms\[arrow\]'"):
            call()
    assert sandbox.request_count == before


async def test_closing_early_ends_what_is_under_way(aio: AsyncClient, sandbox: Sandbox) -> None:
    tasks = asyncio.all_tasks()
    async with aclosing(batches(aio, Slice("completions", sandbox.account_ids[0], page_size=1), batch_rows=1)) as walk:
        assert (await anext(walk)).data.num_rows == 1
    assert asyncio.all_tasks() == tasks
    assert aio.stats().in_flight == 0


def test_a_closed_client_is_told(sandbox: Sandbox) -> None:
    client = SyncClient(sandbox.api_key, base_url=sandbox.url)
    walk = batches(client, Slice("completions", sandbox.account_ids[0], page_size=1), batch_rows=1, failures="yield")
    next(walk)
    client.close()
    with pytest.raises(ClientClosedError):
        list(walk)


# Lists of users


def users_server(lists: Mapping[str, tuple[Any, int]], users: list[str] | None = None) -> InMemoryTransport:
    """Serve users, and a list of completions of each: given ones, or a single record."""
    transport = InMemoryTransport()
    everybody = users or ["a", "b", "c"]
    transport.reply("GET", "/unified/lms/users", {"data": [{"id": id} for id in everybody], "next": None})
    for id in everybody:
        answer, status = lists.get(id, ({"data": [{"id": f"{id}1"}], "next": None}, 200))
        transport.reply("GET", f"/unified/lms/users/{id}/completions", answer, status=status)
    return transport


def read_users(transport: InMemoryTransport, what: Slice) -> list[Any]:
    with SyncClient("key", transport=transport, retry=1) as client:
        return list(batches(client, what, failures="yield"))


def test_a_user_whose_list_cannot_be_read_is_told_and_passed_over() -> None:
    what = Slice("users.completions", "1")
    items = read_users(users_server({"b": ({"message": "no"}, 403)}), what)
    assert ids(items) == ["a1", "c1"]
    assert [type(item) for item in items] == [Batch, Failure, Batch]  # what came before was delivered before
    failure = items[1]
    assert (failure.user_id, type(failure.error)) == ("b", PermissionDeniedError)
    assert ids(read_users(users_server({}), failure.remaining)) == ["c1"]
    refusing = users_server({"b": ({"message": "no"}, 403)})
    with SyncClient("key", transport=refusing, retry=1) as client, pytest.raises(PermissionDeniedError):
        list(batches(client, what))


def test_a_user_who_is_gone_has_no_records_unless_he_was_asked_for() -> None:
    gone = {"b": ({"message": "gone"}, 404)}
    assert ids(items := read_users(users_server(gone), Slice("users.completions", "1"))) == ["a1", "c1"]
    assert not any(isinstance(item, Failure) for item in items)
    items = read_users(users_server(gone), Slice("users.completions", "1", users=["b", "c"]))
    assert ids(items) == ["c1"]
    assert [(item.user_id, type(item.error)) for item in items if isinstance(item, Failure)] == [("b", NotFoundError)]


def test_an_account_whose_users_all_fail_is_given_up() -> None:
    """After so many in a row; each was told before."""
    users = [f"u{n}" for n in range(40)]
    items = read_users(
        users_server({id: ({"message": "x"}, 500) for id in users}, users), Slice("users.completions", "1")
    )
    assert [item.user_id for item in items] == [*users[:19], None]
    assert all(isinstance(item, Failure) for item in items)


def test_an_account_that_fails_while_its_users_are_read_is_the_lists_failure() -> None:
    items = read_users(users_server({"b": ({"message": "suspended"}, 412)}), Slice("users.completions", "1"))
    assert ids(items) == ["a1"]
    assert (items[-1].user_id, type(items[-1].error)) == (None, PreconditionFailedError)
    assert ids(read_users(users_server({}), items[-1].remaining)) == ["b1", "c1"]


def test_a_list_of_a_user_that_breaks_off_goes_on_with_the_next_user() -> None:
    """What came of it is delivered; whoever reads on begins behind that user."""
    transport = users_server({"b": ({"data": [{"id": "b1"}], "next": "2"}, 200)})
    transport.reply("GET", "/unified/lms/users/b/completions", {"message": "no"}, status=403, query={"next": "2"})
    items = read_users(transport, Slice("users.completions", "1"))
    assert ids(items) == ["a1", "b1", "c1"]
    assert [item.user_id for item in items if isinstance(item, Failure)] == ["b"]


def test_users_who_moved_are_told_instead_of_guessed() -> None:
    with SyncClient("key", transport=users_server({}), retry=1) as client:
        walk = batches(client, Slice("users.completions", "1"), batch_rows=1)
        rest = next(walk).remaining
        walk.close()
    assert rest is not None
    others = SyncClient("key", transport=users_server({}, ["x", "y"]), retry=1)
    with others, pytest.raises(PaginationError, match="'a' is not on its page any more"):
        list(batches(others, rest))
