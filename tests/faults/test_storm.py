"""An outage of everything: what retries may add to it, and how a client comes out of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from stackone_lms import AsyncClient
from stackone_lms.engine.retry import COST, COST_THROTTLED
from stackone_lms.errors import APIConnectionError, InternalServerError, StackOneError
from stackone_lms.options import RateLimit, RetryPolicy, Timeout

from . import Connection, Fault, FaultServer, Request
from .scripts import Script, cut_at, fail, ok
from .sdk import ACCOUNT, LEAN_FIRST, Carrier, assert_idle, client_for, engine_of
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
        assert engine_of(client).budget.tokens > BUDGET - cost

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


async def _call_for_ever(client: AsyncClient, name: str, done: Callable[[], None]) -> None:
    for n in itertools.count():
        assert (await client.completions.get(f"{name}-{n}")).data.id == f"{name}-{n}"
        done()


@LEAN_FIRST
async def test_many_workers_settle_below_what_a_narrow_server_takes(carrier: Carrier) -> None:
    """A server takes four at a time, and 32 workers ask: before long few requests are in vain, and it is kept busy."""
    warm, calls = 300, 1500
    limits: list[int] = []
    before = [0]
    enough = asyncio.Event()
    retry = RetryPolicy(attempts=20, throttle_base=0.01, throttle_cap=0.1, budget=100_000)
    async with (
        FaultServer(tick=0.004) as server,
        client_for(carrier, server.base_url("narrow"), retry=retry) as client,
    ):

        def done() -> None:
            limits.append(client.stats().accounts[ACCOUNT].limit)
            if len(limits) == warm:
                before[0] = server.total.requests
            elif len(limits) == calls:
                enough.set()

        workers = [asyncio.create_task(_call_for_ever(client, f"w{n}", done)) for n in range(32)]
        waiting = asyncio.create_task(enough.wait())
        await asyncio.wait([waiting, *workers], return_when=asyncio.FIRST_COMPLETED)
        asked = server.total.requests - before[0]
        good, held = calls - warm, limits[warm:calls]
        for task in [waiting, *workers]:
            task.cancel()
        await asyncio.wait([waiting, *workers])
        assert [worker.exception() for worker in workers if not worker.cancelled()] == []
        await server.idle()
        assert_idle(client)
    assert good / asked > 0.95
    # More than it allows itself are never under way, and never fewer, as there is always somebody waiting.
    assert sum(min(limit, WIDTH) for limit in held) > 0.95 * WIDTH * len(held)


class ManualClock:
    """A clock that moves only where the client sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Bucket:
    """A server that lets through a rate, by the clock of its client, with room for a tenth of a second's worth."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.refused = 0
        self._clock, self._then, self._level = clock, clock(), 0.0

    async def script(self, connection: Connection, request: Request) -> None:
        now = self._clock()
        level = max(0.0, self._level - RATE * (now - self._then)) + 1
        self._then = now
        if level > RATE / 10:
            self.refused += 1
            self._level = level - 1
            await fail(429, "retry-after: 1")(connection, request)
        else:
            self._level = level
            await ok(connection, request)


@LEAN_FIRST
async def test_many_workers_use_up_a_known_rate_without_a_429(carrier: Carrier) -> None:
    """With the server's rate as `rate_limit` nearly all of it is used, and nothing is refused."""
    calls, clock = 1000, ManualClock()
    bucket = Bucket(clock)
    async with (
        FaultServer(more=[Fault("subject", "-", "a rate", "ok", None, bucket.script)]) as server,
        client_for(
            carrier,
            server.base_url("subject"),
            rate_limit=RateLimit(int(RATE), per=1.0),
            clock=clock,
            sleep=clock.sleep,
            timeout=Timeout(connect=None, read=None, attempt=None, total=None),
        ) as client,
    ):
        started = clock()
        assert await asyncio.gather(*(attempt(client, f"id-{n}") for n in range(calls))) == [None] * calls
        assert bucket.refused == 0
        assert calls / (clock() - started) > 0.95 * RATE
        assert_idle(client)
