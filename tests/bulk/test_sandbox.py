"""Bulk fetches and the sandbox, over real sockets; its limit on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import Any

import pytest

from stackone_lms import AsyncClient, RateLimit, RetryPolicy, SyncClient
from stackone_lms.sandbox import Sandbox
from stackone_lms.sandbox.limits import Window
from stackone_lms.transport import Request, Response, TimeLimits
from tests.fake.fakes import FakeTransport, client_of, error, now, record, virtual

SMALL: dict[str, Any] = {"users": 20, "courses": 8, "contents": 30, "assignments": 40, "completions": 600}


def connect(sandbox: Sandbox, **options: Any) -> AsyncClient:
    settings: dict[str, Any] = {"rate_limit": None, **options}
    return AsyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url, **settings)


async def test_a_whole_resource_comes_through_faults() -> None:
    """With 5 % of the requests answered 503 or 429, each of 600 completions comes exactly once."""
    faults: list[Any] = [{"status": 503, "rate": 0.03}, {"status": 429, "rate": 0.02}]
    for fault in faults:
        async with Sandbox(**SMALL, faults=fault) as sandbox:
            retry = RetryPolicy(attempts=6, base=0.01, throttle_base=0.01)
            async with connect(sandbox, retry=retry) as of:
                outcomes = [o async for o in of.completions.get_many(sandbox.ids("completions"))]
            assert Counter(o.id for o in outcomes) == Counter(sandbox.ids("completions"))
            assert all(o.unwrap().data.id == o.id for o in outcomes)


RESOURCES = ["assignments", "categories", "completions", "content", "courses", "skills", "users"]


@pytest.mark.parametrize("strategy", ["get", "list", "auto"])
async def test_every_resource_has_it(strategy: Any) -> None:
    """All resources with a `get` have `get_many`, with every strategy; results equal those of `get`."""
    async with Sandbox(**SMALL) as sandbox, connect(sandbox) as of:
        for name in RESOURCES:
            wanted = sandbox.ids(name)[:25]
            outcomes = [o async for o in getattr(of, name).get_many(wanted, strategy=strategy)]
            assert sorted(o.id for o in outcomes) == sorted(wanted)
            assert outcomes[0].unwrap().data == (await getattr(of, name).get(outcomes[0].id)).data
        user = sandbox.ids("users")[0]
        for resource in (of.users.assignments, of.users.completions):
            ids = [item.id async for item in resource.list(user) if item.id]
            found: Any = [o.id async for o in resource.get_many(user, ids, strategy=strategy)]
            assert sorted(found) == sorted(ids)


@pytest.mark.thorough
async def test_it_finds_what_a_narrow_sandbox_can_take() -> None:
    """With 503 beyond 8 requests at a time it settles at about 8, and soon there is hardly a 503."""
    sizes: dict[str, Any] = {**SMALL, "completions": 1500}
    async with Sandbox(**sizes, max_in_flight=8, latency=0.02) as sandbox:
        retry = RetryPolicy(attempts=6, base=0.01, throttle_base=0.05, budget=10_000)
        async with connect(sandbox, retry=retry) as of:
            done = before = 0
            async for outcome in of.completions.get_many(sandbox.ids("completions")):
                assert outcome.ok
                done += 1
                if done == 300:
                    before = sandbox.status_counts[503]
            assert 6 <= of.stats().accounts[sandbox.account_ids[0]].limit <= 10
        assert sandbox.status_counts[503] - before <= 0.02 * 1200


@virtual
async def test_the_limit_of_the_client_spares_the_sandbox_429s() -> None:
    """At the rate that the server allows, it answers no 429, and what it allows is used up."""
    window = Window((300, 1.0), now)

    async def answered(request: Request, limits: TimeLimits) -> Response:
        return record(request.path.rpartition("/")[2]) if window.take() is None else error(429)

    transport, start = FakeTransport(answered), now()
    of = client_of(transport, rate_limit=RateLimit(300, per=1.0))
    outcomes = [o async for o in of.completions.get_many(f"c{n}" for n in range(1500))]
    assert {repr(o.error) for o in outcomes} == {"None"}
    assert len(transport.sent) == len(outcomes) == 1500
    assert 4 <= now() - start <= 5.1


async def test_breaking_off_frees_the_sockets() -> None:
    """After an early end no request is under way on the wire, and the client can go on."""
    async with Sandbox(**SMALL, latency=0.05) as sandbox, connect(sandbox) as of:
        async with aclosing(of.completions.get_many(sandbox.ids("completions"))) as outcomes:
            async for _ in outcomes:
                break
        sent = of.stats().requests
        assert of.stats().in_flight == 0
        await asyncio.sleep(0.1)
        assert of.stats().requests == sent >= sandbox.request_count
        assert (await of.completions.get(sandbox.ids("completions")[0])).status == 200


def test_accounts_side_by_side() -> None:
    """The blocking client lists and fetches over all accounts of the sandbox."""
    with Sandbox.in_thread(**SMALL) as sandbox:
        settings: dict[str, Any] = {"base_url": sandbox.url, "rate_limit": None}
        with SyncClient(sandbox.api_key, sandbox.account_ids[0], **settings) as of:
            fan = of.for_accounts(sandbox.account_ids)
            expected = Counter((name, id) for name in sandbox.account_ids for id in sandbox.ids("users", name))
            assert Counter((o.account_id, o.id) for o in fan.users.list()) == expected
            wanted = {name: sandbox.ids("users", name) for name in sandbox.account_ids}
            assert Counter((o.account_id, o.id) for o in fan.users.get_many(wanted) if o.ok) == expected
