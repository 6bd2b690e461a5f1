"""What `client.stats()` shows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, suppress
from typing import Any

import msgspec
import pytest

from stackone_lms import AsyncClient, RateLimit, Timeout
from stackone_lms.bulk.list_strategy import Strategy
from stackone_lms.calls.operation import executor_of
from stackone_lms.engine.stats import Stats
from stackone_lms.errors import APITimeoutError, AuthenticationError, NotFoundError
from stackone_lms.transport.base import Response
from tests.fake.fakes import now, virtual

from ..soak import further
from .server import QUICK, Server, blocking, client, ids, refuse


async def test_a_new_client_shows_its_limits() -> None:
    """The client-side limit, its tokens, the budget; nothing done yet."""
    async with client(Server(), rate_limit=RateLimit(1000, per=60.0), retry=QUICK) as of:
        stats = of.stats()
    assert (stats.limit, stats.per, stats.tokens) == (1000, 60.0, 50.0)
    assert stats.rate == pytest.approx(1000 / 60.6)
    assert (stats.requests, stats.retries, stats.throttled, stats.in_flight, stats.waiting) == (0, 0, 0, 0, 0)
    assert (stats.paused_for, stats.failures, stats.accounts, stats.choices) == (0.0, {}, {}, ())
    assert stats.budget == QUICK.budget


async def test_it_counts_requests_retries_throttling_and_failures() -> None:
    """Every request, every retry, every 429, and what was raised, by class."""

    def script(id: str, n: int) -> Response | None:
        if id == "gone":
            return refuse(404)
        return refuse(429) if id == "late" and n < 3 else None

    async with client(Server(script)) as of:
        await of.completions.get("a")
        await of.with_options(timeout=Timeout(total=9)).completions.get("late")
        for _ in range(2):
            with pytest.raises(NotFoundError):
                await of.completions.get("gone")
        stats = of.stats()
        assert (stats.requests, stats.retries, stats.throttled) == (6, 2, 2)
        assert stats.failures == {"NotFoundError": 2}
        assert stats.accounts["account-of-the-test"].throttled == 2
        assert stats.accounts["account-of-the-test"].limit == 16  # one at a time


@virtual
async def test_it_shows_what_is_under_way_and_what_waits() -> None:
    """Requests under way are told from calls that wait, over all and for each account."""
    server = Server(latency=0.2)
    async with client(server, max_concurrency=2, clock=now) as of:
        other = of.with_options(account_id="other-account")
        tasks = [asyncio.create_task(_get(view, id)) for view in (of, other) for id in ids(2)]
        await asyncio.sleep(0.02)
        stats = of.stats()
        assert stats == other.stats()
        assert (stats.in_flight, stats.waiting, stats.requests) == (2, 2, 2)
        assert stats.accounts["account-of-the-test"].in_flight == 2
        assert (stats.accounts["other-account"].in_flight, stats.accounts["other-account"].waiting) == (0, 2)
        await asyncio.gather(*tasks)
        assert (of.stats().in_flight, of.stats().waiting) == (0, 0)


async def _get(view: Any, id: str) -> None:
    await view.completions.get(id)


@virtual
async def test_waiting_for_the_rate_limit_is_not_under_way() -> None:
    """A call that waits for the rate limit counts as waiting."""
    async with client(Server(latency=0.05), rate_limit=RateLimit(1, per=0.2), clock=now) as of:
        tasks = [asyncio.create_task(_get(of, id)) for id in ids(3)]
        await asyncio.sleep(0.02)
        stats = of.stats()
        assert (stats.in_flight, stats.waiting) == (1, 2)
        assert stats.tokens is not None
        assert stats.tokens < 1
        await asyncio.gather(*tasks)


@virtual
async def test_it_shows_pauses() -> None:
    """A Retry-After shows as the pause of the key, or of the account only."""
    provider: dict[str, Any] = {}
    server = Server(lambda _, n: refuse(429, headers={"Retry-After": "0.3"}, **provider) if n == 1 else None)
    async with client(server, clock=now) as of:
        task = asyncio.create_task(_get(of, "a"))
        await asyncio.sleep(0.05)
        stats = of.stats()
        assert 0 < stats.paused_for <= 0.3
        assert 0 < stats.accounts["account-of-the-test"].paused_for <= 0.3
        await task
        assert of.stats().paused_for == 0
        provider["provider_errors"] = [{"status": 429}]
        task = asyncio.create_task(_get(of, "b"))
        await asyncio.sleep(0.05)
        stats = of.stats()
        assert stats.paused_for == 0
        assert 0 < stats.accounts["account-of-the-test"].paused_for <= 0.3
        await task


async def test_timeouts_are_failures_too() -> None:
    """Calls that end by their deadline are counted like others that raise."""
    async with client(Server(latency=5.0), timeout=Timeout(total=0.05)) as of:
        with pytest.raises(APITimeoutError):
            await of.completions.get("a")
        assert of.stats().failures == {"APITimeoutError": 1}


async def test_its_repr_stays_short() -> None:
    """However many accounts there are: the repr shows their number, the mapping has them."""
    async with client(Server()) as of:
        await of.completions.get("a")
        stats = of.stats()
    assert "account-of-the-test" not in repr(stats) + str(stats) + repr(stats.__rich_repr__())
    assert "accounts=1" in repr(stats)
    assert "account-of-the-test" in stats.accounts


def test_it_is_a_frozen_value_that_encodes() -> None:
    """Stats of the blocking client can be taken from any thread, before and after its life, and encode."""
    of = blocking(Server())
    assert of.stats().requests == 0
    with of:
        list(of.completions.get_many(ids(20)))
        stats = of.stats()
    assert of.stats().requests == stats.requests == 20
    with pytest.raises(AttributeError):
        stats.requests = 5  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    assert msgspec.json.decode(msgspec.json.encode(stats), type=Stats) == stats


@pytest.fixture
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle accounts are forgotten from the fiftieth on, not from the 4,096th."""
    monkeypatch.setattr("stackone_lms.engine.admission._KEPT_LIMITS", 50)


@pytest.mark.usefixtures("few_kept")
async def test_idle_accounts_are_forgotten_after_thousands() -> None:
    """A client that serves ever new accounts does not grow with them."""
    async with client(Server()) as of:
        for n in range(300):
            await of.with_options(account_id=f"account-{n}").completions.get("a")
            assert len(of.stats().accounts) <= 50


@pytest.mark.usefixtures("few_kept")
@pytest.mark.parametrize("how", ["end", "list", "break", "cancel", "refused", "broken ids", "not begun", "accounts"])
async def test_an_account_is_idle_after_a_bulk_fetch(how: str) -> None:
    """In whatever way the fetch ended; else a client could not forget the accounts that it served."""
    server = Server(lambda one, _: refuse(401) if one == "id-7" and how == "refused" else None, records=ids(20))

    def source() -> Iterator[str]:
        yield from ids(20)
        if how == "broken ids":
            raise ZeroDivisionError

    async def fetch(of: AsyncClient) -> None:
        strategy: Strategy = "list" if how == "list" else "get"
        async with aclosing(of.completions.get_many(source(), strategy=strategy)) as outcomes:
            async for _ in outcomes:
                if how == "break":
                    return

    async with client(server) as of:
        for n in range(120):
            name = f"account-{n}"
            view = of.with_options(account_id=name)
            if how == "cancel":
                task = asyncio.create_task(fetch(view))
                for _ in range(n % 20):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            elif how == "not begun":
                await view.completions.get_many(ids(20)).aclose()
            elif how == "accounts":
                fan = of.for_accounts([name])
                [o async for o in fan.completions.get_many({name: ids(20)})]
            else:
                with suppress(AuthenticationError, ZeroDivisionError):
                    await fetch(view)
            assert len(of.stats().accounts) <= 51


@pytest.mark.usefixtures("few_kept")
@pytest.mark.parametrize("how", ["end", "accounts", *further("break", "collected on the loop's thread")])
def test_an_account_is_idle_after_a_bulk_fetch_of_the_blocking_client(how: str) -> None:
    """The same there; an iterator may be collected on the thread of the loop, where nobody can wait for its end."""
    with blocking(Server()) as of:
        for n in range(120):
            name = f"account-{n}"
            if how == "accounts":
                outcomes: Any = of.for_accounts([name]).completions.get_many({name: ids(20)})
            else:
                outcomes = of.with_options(account_id=name).completions.get_many(ids(20 if how == "end" else 1000))
            next(outcomes)
            if how in {"end", "accounts"}:
                assert len(list(outcomes)) == 19
            elif how == "break":
                outcomes.close()
            else:
                held: list[Any] = [outcomes]
                del outcomes

                async def drop(held: list[Any] = held) -> None:
                    held.clear()

                executor_of(of).run(drop)
            assert len(of.stats().accounts) <= 100  # those whose tasks have not ended yet are in use


@pytest.mark.usefixtures("few_kept")
async def test_an_account_is_idle_after_a_retry() -> None:
    """While a call sleeps before its next attempt its account is kept, and no longer."""
    async with client(Server(lambda _, n: refuse(500) if n % 2 else None), retry=QUICK) as of:
        for n in range(120):
            await of.with_options(account_id=f"account-{n}").completions.get("a")
            assert len(of.stats().accounts) <= 51
