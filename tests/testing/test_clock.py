"""SkippingClock: pauses take no time, and are still there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from stackone_lms import APITimeoutError, AsyncClient, RateLimit, RateLimitError, Timeout
from stackone_lms.testing import InMemoryTransport, SentRequest, SkippingClock

ONE = "/unified/lms/completions/1"


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """No test here may really wait."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 5


async def test_a_retry_after_is_jumped_over() -> None:
    """The client waits the whole time that it was asked for, on its own clock."""
    clock = SkippingClock()
    transport = InMemoryTransport().reply("GET", ONE, status=429, headers={"Retry-After": "40"})
    transport.reply("GET", ONE, {"data": {"id": "1"}})
    async with AsyncClient("key", "account", transport=transport, clock=clock, sleep=clock.sleep) as client:
        result = await client.completions.get("1")
    assert result.attempts == 2
    assert 40 <= clock.skipped <= 45
    assert result.elapsed >= 40
    assert max(clock.pauses) >= 40


async def test_the_rate_limit_is_kept_on_the_clock() -> None:
    """Sixty calls at one a second are a minute that takes no time."""
    clock = SkippingClock()
    transport = InMemoryTransport().reply("GET", ONE, {"data": {"id": "1"}})
    async with AsyncClient(
        "key", "account", transport=transport, rate_limit=RateLimit(60, per=60.0), clock=clock, sleep=clock.sleep
    ) as client:
        for _ in range(60):
            await client.completions.get("1")
    assert 55 <= clock.skipped <= 60


async def test_pauses_at_the_same_time_count_once() -> None:
    """Twenty tasks that wait ten seconds each wait ten seconds together."""
    clock = SkippingClock()
    began = clock()
    await asyncio.gather(*(clock.sleep(10) for _ in range(20)))
    assert clock.pauses == [10] * 20
    assert 10 <= clock() - began < 12


async def test_time_limits_on_answers_still_hold() -> None:
    """Between pauses the clock runs as always."""

    async def never(request: SentRequest) -> None:
        await asyncio.sleep(30)

    clock = SkippingClock()
    transport = InMemoryTransport().reply("GET", ONE, never)
    limits = Timeout(connect=0.05, read=0.05)
    async with AsyncClient(
        "key", "account", transport=transport, timeout=limits, clock=clock, sleep=clock.sleep
    ) as client:
        with pytest.raises(APITimeoutError) as caught:
            await client.completions.get("1")
    assert (caught.value.phase, caught.value.attempts) == ("read", 3)


async def test_a_deadline_counts_the_pauses() -> None:
    """A pause that would end after the deadline is not begun."""
    clock = SkippingClock()
    transport = InMemoryTransport().reply("GET", ONE, status=429, headers={"Retry-After": "50"})
    async with AsyncClient(
        "key", "account", transport=transport, timeout=Timeout(total=80), clock=clock, sleep=clock.sleep
    ) as client:
        with pytest.raises(RateLimitError) as caught:
            await client.completions.get("1")
    assert caught.value.attempts == 2
