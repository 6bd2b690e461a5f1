"""An outage of everything: what retries may add to it, and how a client comes out of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import APIConnectionError, InternalServerError, StackOneError
from stackone_lms.options import RateLimit, RetryPolicy
from stackone_lms.retry import COST, COST_THROTTLED

from . import Connection, Fault, FaultServer, Request
from .scripts import Script, cut_at, fail, ok
from .sdk import Carrier, assert_idle, client_for, core_of
from .statuses import RATE, WIDTH

BUDGET = 100
POLICY = RetryPolicy(attempts=5, base=0.001, cap=0.002, throttle_base=0.001, throttle_cap=0.002, budget=BUDGET)


class Outage:
    """A server that can be switched off and on."""

    def __init__(self, broken: Script) -> None:
        self.on = True
        self._broken = broken

    async def script(self, connection: Connection, request: Request) -> None:
        await (self._broken if self.on else ok)(connection, request)

    @property
    def fault(self) -> Fault:
        return Fault("subject", "-", "an outage", "ok", None, self.script)


async def attempt(client: AsyncClient, id: str) -> StackOneError | None:
    try:
        await client.completions.get(id)
    except StackOneError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("broken", "cost", "kind"),
    [
        (fail(503), COST_THROTTLED, InternalServerError),
        (fail(500), COST, InternalServerError),
        (cut_at("nothing", "rst"), COST, APIConnectionError),
    ],
    ids=["503", "500", "rst"],
)
async def test_an_outage_costs_no_more_retries_than_the_budget(
    carrier: Carrier, broken: Script, cost: int, kind: type[StackOneError]
) -> None:
    """First tries go on, retries end with the budget; when the server is back, so are the retries, by themselves."""
    calls = 200
    outage = Outage(broken)
    async with (
        FaultServer(more=[outage.fault]) as server,
        client_for(carrier, server.base_url("subject"), retry=POLICY) as client,
    ):
        errors = await asyncio.gather(*(attempt(client, f"id-{n}") for n in range(calls)))
        assert all(isinstance(error, kind) for error in errors)
        extra = server.total.requests - calls
        assert extra == BUDGET // cost
        assert await attempt(client, "one-more") is not None
        assert server.total.requests == calls + extra + 1
        assert_idle(client)

        outage.on = False
        good = await asyncio.gather(*(attempt(client, f"back-{n}") for n in range(BUDGET)))
        assert good == [None] * BUDGET
        assert core_of(client).budget.left > BUDGET - cost

        outage.on = True
        before = server.total.requests
        assert await attempt(client, "again") is not None
        assert server.total.requests == before + POLICY.attempts


async def test_a_success_after_a_retry_pays_it_back(carrier: Carrier) -> None:
    """A server that fails each request once costs twice the requests for ever, and no call is lost."""
    async with (
        FaultServer() as server,
        client_for(carrier, server.base_url("status-500", 1), retry=POLICY) as client,
    ):
        for n in range(50):
            assert await attempt(client, f"id-{n}") is None
        assert server.total.requests == 100


async def _work(client: AsyncClient, until: float, done: list[float], errors: list[StackOneError], name: str) -> None:
    n = 0
    while time.monotonic() < until:
        n += 1
        error = await attempt(client, f"{name}-{n}")
        if error is None:
            done.append(time.monotonic())
        else:
            errors.append(error)


async def _converge(carrier: Carrier, name: str, seconds: float, **options: Any) -> tuple[float, float, float]:
    """Let 32 workers go on; return good answers a second, their share of all, and the peak, all of the second half."""
    done: list[float] = []
    errors: list[StackOneError] = []
    retry = RetryPolicy(attempts=20, throttle_base=0.05, throttle_cap=0.5, budget=100_000)
    async with (
        FaultServer(tick=0.02) as server,
        client_for(carrier, server.base_url(name), retry=retry, **options) as client,
    ):
        start = time.monotonic()
        workers = (_work(client, start + seconds, done, errors, f"w{n}") for n in range(32))
        await asyncio.gather(*workers)
        half = start + seconds / 2
        good = sum(half <= at < start + seconds for at in done)
        asked = sum(half <= at < start + seconds for at in server.total.arrivals)
        assert errors == []
        assert_idle(client)
        return good / (seconds / 2), good / asked, server.total.in_flight_peak


async def test_many_workers_settle_below_what_a_narrow_server_takes(carrier: Carrier) -> None:
    """A server that takes four at a time: after a while nearly all requests are good, and it is kept busy."""
    rate, share, _ = await _converge(carrier, "narrow", 3.0)
    assert share > 0.8
    assert rate > 0.5 * WIDTH / 0.02


async def test_many_workers_use_up_a_known_rate_without_a_429(carrier: Carrier) -> None:
    """With the server's rate as `rate_limit` nearly all of it is used, and nearly nothing is refused."""
    rate, share, _ = await _converge(carrier, "rate-limited", 3.0, rate_limit=RateLimit(int(RATE), per=1.0))
    assert share > 0.8
    assert rate > 0.5 * RATE
