"""Getting records out of the pages of their list, where that is asked for or cheaper."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

import pytest

from stackone_lms.bulk.list_strategy import Strategy
from stackone_lms.errors import AuthenticationError
from stackone_lms.models import CompletionResult
from stackone_lms.transport.base import Response

from .server import QUICK, Server, blocking, client, ids, refuse


async def fetch(server: Server, some: Any, **options: Any) -> tuple[list[Any], Any]:
    """Return the outcomes, and what was chosen."""
    async with client(server) as of:
        outcomes = [o async for o in of.completions.get_many(some, **options)]
        choices = of.stats().choices
    return outcomes, choices[-1] if choices else None


async def test_list_picks_the_wanted_records_out_of_pages_of_100() -> None:
    """300 ids of a list of 1,000 take ten pages and no single get; results are what `get` gives."""
    server = Server(records=ids(1000))
    wanted = [*ids(1000)[::3], "id-999"]
    outcomes, choice = await fetch(server, wanted, strategy="list")
    assert Counter(o.id for o in outcomes) == Counter(wanted)
    assert (server.pages, server.gets) == (10, 0)
    for outcome in outcomes:
        result = outcome.unwrap()
        assert isinstance(result, CompletionResult)
        assert result.data.id == outcome.id
        assert result.status == 200
        assert result.body == b""
    assert (choice.operation, choice.strategy, choice.ids) == ("completions.get_many", "list", 335)


async def test_list_finds_records_by_the_providers_ids_too() -> None:
    """Ids may be those of the provider, or both for one record."""
    server = Server(records=ids(10))
    outcomes, _ = await fetch(server, ["remote id-3", "id-3", "id-4"], strategy="list")
    assert {o.id: o.unwrap().data.id for o in outcomes} == {"remote id-3": "id-3", "id-3": "id-3", "id-4": "id-4"}
    assert server.gets == 0


async def test_what_the_list_does_not_show_is_fetched_singly() -> None:
    """Each id has its outcome, also those that no list shows or that cannot be sent."""
    server = Server(lambda one, _: refuse(404) if one == "gone" else None, records=ids(50))
    wanted = [*ids(20), "hidden", "gone", "..", "id-1", 5, "hidden"]
    outcomes, _ = await fetch(server, wanted, strategy="list")
    assert Counter(map(repr, (o.id for o in outcomes))) == Counter(map(repr, wanted))
    assert server.fetched == {"hidden": 1, "gone": 1}
    assert {repr(o.id): type(o.error).__name__ for o in outcomes if o.error} == {
        "'gone'": "NotFoundError",
        "'..'": "InvalidArgumentError",
        "5": "InvalidArgumentError",
    }


async def test_the_list_is_left_when_all_are_found() -> None:
    """No page is read once every wanted record has been seen."""
    server = Server(records=ids(5000))
    await fetch(server, ids(150), strategy="list")
    assert server.pages == 2


async def test_a_list_that_fails_is_replaced_by_single_gets() -> None:
    """An error of the list costs no id."""
    server = Server(lambda one, n: refuse(404) if one.startswith("page") and n == 3 else None, records=ids(1000))
    outcomes, _ = await fetch(server, ids(1000), strategy="list")
    assert Counter(o.id for o in outcomes) == Counter(ids(1000))
    assert all(o.ok for o in outcomes)
    assert server.gets == 800


@pytest.mark.parametrize("options", [{"ordered": True}, {"raw": True}])
async def test_auto_says_when_it_has_no_choice(options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """An order, and raw answers, come from single gets; that is told like any other choice."""
    server = Server(records=ids(200), total=True)
    with caplog.at_level(logging.INFO, "stackone_lms"):
        outcomes, choice = await fetch(server, ids(200), strategy="auto", **options)
    assert Counter(o.id for o in outcomes) == Counter(ids(200))
    assert (server.pages, server.gets) == (0, 200)
    assert (choice.strategy, choice.ids, choice.pages) == ("get", 200, None)
    assert "single gets" in choice.reason
    assert f"strategy get: {choice.reason}" in caplog.text


async def test_auto_says_when_the_list_fails_at_once() -> None:
    """Then single gets are the choice."""
    server = Server(lambda one, _: refuse(404) if one.startswith("page") else None)
    outcomes, choice = await fetch(server, ids(200), strategy="auto")
    assert all(o.ok for o in outcomes)
    assert server.gets == 200
    assert (choice.strategy, choice.reason) == ("get", "the list failed after 0 pages (NotFoundError)")


async def test_a_refused_key_stops_it_there() -> None:
    """What every id would meet stops the fetch in the list already."""
    server = Server(lambda one, n: refuse(401) if one.startswith("page") and n == 2 else None, records=ids(1000))
    done: list[str] = []
    async with client(server) as of:
        with pytest.raises(AuthenticationError) as caught:
            async for outcome in of.completions.get_many(ids(500), strategy="list"):
                done.append(outcome.id)
    assert done == ids(100)
    assert done + caught.value.pending == ids(500)
    assert server.gets == 0


async def test_a_bad_item_of_a_page_is_fetched_singly() -> None:
    """A record that does not decode in the list gets its own answer."""

    class Odd(Server):
        def _page(self, account: str, query: str) -> Response:
            self.pages += 1
            return Response(200, {}, b'{"data":[{"id":"a"},{"id":"b","score":{"percentage":{}}}],"next":null}')

    server = Odd()
    outcomes, _ = await fetch(server, ["a", "b"], strategy="list")
    assert sorted(o.id for o in outcomes if o.ok) == ["a", "b"]
    assert server.fetched == {"b": 1}


async def test_a_slow_consumer_stops_the_list() -> None:
    """Pages are not read further ahead than outcomes are fetched otherwise."""
    server = Server(records=ids(5000))
    async with client(server) as of, aclosing(of.completions.get_many(ids(5000), strategy="list")) as outcomes:
        await anext(outcomes)
        await asyncio.sleep(0.1)
        assert server.pages <= 6
        assert len([o async for o in outcomes]) == 4999


async def _slowly(some: Iterable[str]) -> AsyncIterator[str]:
    for id in some:
        yield id


@pytest.mark.parametrize("strategy", ["list", "auto"])
async def test_ids_may_come_from_anywhere(strategy: Any) -> None:
    """Asynchronous iterables and generators work with every strategy, duplicates included."""
    wanted = [*ids(300), *ids(300)]
    for some in (_slowly(wanted), iter(wanted), wanted):
        server = Server(records=ids(400), total=True)
        outcomes, choice = await fetch(server, some, strategy=strategy)
        assert Counter(o.id for o in outcomes) == Counter(wanted)
        assert choice.strategy == "list"
        assert (server.pages, server.gets) == (3, 0)


def test_the_blocking_client_brings_all_ids_over_first() -> None:
    """Strategies work through the blocking client as well."""
    server = Server(records=ids(1500), total=True)
    strategies: list[Strategy] = ["list", "auto"]
    for strategy in strategies:
        with blocking(server) as of:
            outcomes = list(of.completions.get_many((id for id in ids(1200)), strategy=strategy))
        assert Counter(o.id for o in outcomes) == Counter(ids(1200))
    assert (server.pages, server.gets) == (24, 0)


# What `auto` chooses


async def test_auto_lists_where_pages_are_fewer(caplog: pytest.LogCaptureFixture) -> None:
    """500 ids of a list of 1,000 that tells its size: ten pages; it is logged and in the stats, with the reason."""
    server = Server(records=ids(1000), total=True)
    with caplog.at_level(logging.INFO, "stackone_lms"):
        outcomes, choice = await fetch(server, ids(1000)[::2], strategy="auto")
    assert len(outcomes) == 500
    assert (server.pages, server.gets) == (10, 0)
    assert (choice.strategy, choice.ids, choice.pages) == ("list", 500, 10)
    assert "10 pages are fewer requests than 500 single gets" in choice.reason
    assert choice.reason in caplog.text


async def test_auto_gets_where_the_list_is_long() -> None:
    """50 ids of a list of 10,000: a look at its first page, then single gets for those it did not show."""
    server = Server(records=ids(10_000), total=True)
    outcomes, choice = await fetch(server, ids(10_000)[::200], strategy="auto")
    assert len(outcomes) == 50
    assert all(o.ok for o in outcomes)
    assert (server.pages, server.gets) == (1, 49)
    assert (choice.strategy, choice.ids, choice.pages) == ("get", 50, 100)


async def test_auto_does_not_look_for_a_few() -> None:
    """Fewer than ten ids are fetched without a look at the list."""
    server = Server(records=ids(1000))
    outcomes, choice = await fetch(server, iter(ids(9)), strategy="auto")
    assert len(outcomes) == 9
    assert (server.pages, server.gets) == (0, 9)
    assert choice.strategy == "get"


async def test_auto_reads_a_list_of_unknown_size_as_long_as_it_pays() -> None:
    """Where the list does not tell its size, it is left after five pages that showed too few wanted records."""
    dense = Server(records=ids(2000))
    outcomes, choice = await fetch(dense, ids(2000)[::4], strategy="auto")
    assert (len(outcomes), dense.pages, dense.gets) == (500, 20, 0)
    assert (choice.strategy, choice.pages) == ("list", None)
    sparse = Server(records=ids(2000))
    outcomes, _ = await fetch(sparse, ids(2000)[::-150], strategy="auto")
    assert len(outcomes) == 14
    assert sparse.pages == 5
    assert sparse.gets > 8


async def test_auto_reads_ids_of_unknown_number_to_count_them() -> None:
    """A long generator counts as the thousand ids that were read."""
    server = Server(records=ids(3000), total=True)
    outcomes, choice = await fetch(server, iter(ids(3000)), strategy="auto")
    assert len(outcomes) == 3000
    assert (choice.strategy, server.pages, server.gets) == ("list", 30, 0)


async def test_get_is_the_default() -> None:
    """Without a strategy no list is read and nothing is chosen."""
    server = Server(records=ids(1000), total=True)
    _, choice = await fetch(server, ids(500))
    assert (server.pages, server.gets, choice) == (0, 500, None)


async def test_stats_keep_the_last_sixteen_choices() -> None:
    """They do not grow."""
    async with client(Server(records=ids(5)), retry=QUICK) as of:
        for _ in range(20):
            async for _ in of.completions.get_many(ids(3), strategy="auto"):
                pass
        assert len(of.stats().choices) == 16
