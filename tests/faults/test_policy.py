"""When a request is sent again, and after how long: counted and timed on the server."""

from __future__ import annotations

import asyncio
import math
import time
from itertools import pairwise
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import (
    APITimeoutError,
    BadGatewayError,
    BadRequestError,
    InternalServerError,
    RateLimitError,
    StackOneError,
)
from stackone_lms.options import RetryPolicy, Timeout

from . import Fault, FaultServer
from .scripts import fail
from .sdk import PATIENT, Carrier, SkippingClock, client_for

BASE, CAP = 0.5, 6.0
THROTTLE_BASE, THROTTLE_CAP = 1.0, 10.0
POLICY = RetryPolicy(
    attempts=8, base=BASE, cap=CAP, throttle_base=THROTTLE_BASE, throttle_cap=THROTTLE_CAP, budget=10_000
)


def skipping_client(carrier: Carrier, url: str, clock: SkippingClock, **options: Any) -> AsyncClient:
    settings: dict[str, Any] = {
        "retry": POLICY,
        "timeout": Timeout(connect=5, read=5, attempt=5, total=3600),
        **options,
    }
    return client_for(carrier, url, clock=clock, sleep=clock.sleep, **settings)


async def pauses(carrier: Carrier, name: str, *more: Fault, **options: Any) -> tuple[list[float], StackOneError]:
    """Return the pauses of a call that keeps failing, and its error."""
    clock = SkippingClock()
    async with (
        FaultServer(more=more) as server,
        skipping_client(carrier, server.base_url(name), clock, **options) as client,
    ):
        with pytest.raises(StackOneError) as caught:
            await client.completions.get("x")
        assert server.total.requests == 1 + len(clock.slept) == caught.value.attempts
    return clock.slept, caught.value


@pytest.mark.parametrize(
    ("name", "base", "cap"),
    [
        ("status-500", BASE, CAP),
        ("status-408", BASE, CAP),
        ("rst-nothing", BASE, CAP),
        ("status-503", THROTTLE_BASE, THROTTLE_CAP),
        ("status-429", THROTTLE_BASE, THROTTLE_CAP),
    ],
)
async def test_the_longest_pauses_double_up_to_the_cap(carrier: Carrier, name: str, base: float, cap: float) -> None:
    slept, _ = await pauses(carrier, name, random=lambda: 1.0)
    assert slept == [min(cap, base * 2**n) for n in range(POLICY.attempts - 1)]


async def test_pauses_are_spread_over_their_whole_range(carrier: Carrier) -> None:
    """Twenty clients that fail together do not come back together."""
    firsts = [(await pauses(carrier, "status-503", retry=RetryPolicy(attempts=2)))[0][0] for _ in range(20)]
    assert len({round(pause, 6) for pause in firsts}) == 20
    assert all(0 <= pause <= 1 for pause in firsts)
    assert max(firsts) - min(firsts) > 0.3


@pytest.mark.parametrize("failures", [1, 2, 5])
async def test_what_fails_a_few_times_and_then_works_succeeds(carrier: Carrier, failures: int) -> None:
    async with (
        FaultServer() as server,
        skipping_client(carrier, server.base_url("status-500", failures), SkippingClock()) as client,
    ):
        answer = await client.completions.get("x")
        assert answer.attempts == server.total.requests == failures + 1


async def test_one_attempt_means_no_retry(carrier: Carrier) -> None:
    slept, error = await pauses(carrier, "status-503", retry=RetryPolicy(attempts=1))
    assert (slept, error.attempts) == ([], 1)


_OBEYED = {
    "retry-after:0": 0,
    "retry-after:1": 1,
    "retry-after:fraction": 0.5,
    "retry-after:padded": 1,
    "retry-after:zeros": 1,
    "retry-after:two": 1,
    "503-retry-after:1": 1,
    "408-retry-after:1": 1,
}


@pytest.mark.parametrize(("name", "seconds"), _OBEYED.items())
async def test_retry_after_is_waited_for_in_full(carrier: Carrier, name: str, seconds: float) -> None:
    """Never less than asked, and a tenth of a second more at most."""
    slept, error = await pauses(carrier, name, random=lambda: 0.0)
    assert slept == [seconds] * 7
    slept, error = await pauses(carrier, name, random=lambda: 0.999, retry=RetryPolicy(base=0, throttle_base=0))
    assert all(seconds <= pause <= seconds + 0.1 for pause in slept)
    assert isinstance(error, RateLimitError | InternalServerError) or error.status == 408


@pytest.mark.parametrize("name", ["retry-after:date", "retry-after:clock-fast", "retry-after:clock-slow"])
async def test_dates_are_measured_against_the_answers_own(carrier: Carrier, name: str) -> None:
    """Two seconds ahead are two seconds, however wrong the server's clock is."""
    slept, _ = await pauses(carrier, name, random=lambda: 0.0)
    assert slept == [2.0] * 7


@pytest.mark.parametrize(
    "value",
    ["-5", "soon", "", "inf", "nan", "1e3", "1_0", "0x10", "+5", "²", "1, 2", "5s", '"5"', "NaN", "\uff11",
     "Wed, 99 Foo 2026 25:61:61 GMT", "2026-11-24", "1 2", "5.", ".5", "\u0663"],
)  # fmt: skip
@pytest.mark.parametrize("status", [429, 503])
async def test_a_senseless_retry_after_is_ignored(carrier: Carrier, value: str, status: int) -> None:
    """It neither crashes nor sleeps: the pauses are the client's own."""
    encodable = value.encode("utf-8").decode("latin-1")
    fault = Fault("subject", "-", value, "ok", None, fail(status, f"retry-after: {encodable}"))
    slept, error = await pauses(carrier, "subject", fault, random=lambda: 1.0)
    assert slept == [min(THROTTLE_CAP, THROTTLE_BASE * 2**n) for n in range(7)]
    assert getattr(error, "retry_after", 0) is None


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("retry-after:120", 120),
        ("retry-after:ten-years", 315360000),
        ("retry-after:5000-digits", math.inf),
        ("retry-after:far-date", None),
        ("503-retry-after:120", 120),
    ],
)
async def test_a_long_retry_after_is_raised_at_once(carrier: Carrier, name: str, seconds: float | None) -> None:
    """The error carries it; nobody sleeps."""
    slept, error = await pauses(carrier, name)
    assert slept == []
    found: float = getattr(error, "retry_after", math.nan)
    assert found == seconds if seconds is not None else found > 86_400 * 365 * 1000
    assert error.retryable


async def test_the_longest_retry_after_is_the_callers_choice(carrier: Carrier) -> None:
    slept, _ = await pauses(
        carrier, "retry-after:120", retry=RetryPolicy(attempts=2, max_retry_after=120), random=lambda: 0.0
    )
    assert slept == [120.0]


async def test_a_date_in_the_past_leaves_the_pauses_to_the_client(carrier: Carrier) -> None:
    slept, _ = await pauses(carrier, "retry-after:past", random=lambda: 1.0)
    assert slept[:3] == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("name", ["retry-after:ms", "retry-after:reset"])
async def test_other_headers_than_retry_after_are_not_read(carrier: Carrier, name: str) -> None:
    """The API documents `Retry-After` alone."""
    slept, error = await pauses(carrier, name, random=lambda: 1.0, retry=RetryPolicy(attempts=2))
    assert slept == [1.0]
    assert getattr(error, "retry_after", 0) is None


async def test_no_pause_leads_beyond_the_deadline(carrier: Carrier) -> None:
    """The last error is raised at once rather than a timeout later."""
    async with (
        FaultServer(
            more=[Fault("subject", "-", "a pause", "RateLimitError", None, fail(429, "retry-after: 30"))]
        ) as server,
        client_for(
            carrier,
            server.base_url("subject"),
            timeout=Timeout(connect=10, read=10, attempt=10, total=20),
            retry=RetryPolicy(),
        ) as client,
    ):
        with pytest.raises(RateLimitError) as caught:
            await client.completions.get("x")
        assert (caught.value.retry_after, caught.value.attempts) == (30.0, 1)


async def test_the_deadline_holds_over_all_attempts(carrier: Carrier) -> None:
    """A call of attempts that each take long ends with `Timeout.total`; its cause is what failed before."""
    async with (
        FaultServer(stall=120) as server,
        client_for(
            carrier,
            server.base_url("never-answers"),
            timeout=Timeout(connect=5, read=0.2, attempt=0.2, total=0.5),
            retry=RetryPolicy(attempts=100, base=0),
        ) as client,
    ):
        started = time.monotonic()
        with pytest.raises(APITimeoutError) as caught:
            await client.completions.get("x")
        assert time.monotonic() - started > 0.45
        assert caught.value.phase in {"total", "read"}
        assert caught.value.attempts <= 3


@pytest.mark.parametrize("keyed", [False, True])
async def test_all_workers_hold_when_a_server_says_when_to_come_back(carrier: Carrier, keyed: bool) -> None:
    """For StackOne's own limit all accounts hold, for a provider's the one account."""
    more: dict[str, Any] = {} if keyed else {"provider_errors": [{"status": 429}]}
    limited = Fault("limited", "-", "", "ok", None, fail(429, "retry-after: 1", **more))
    async with (
        FaultServer(more=[limited]) as server,
        client_for(carrier, server.base_url("limited", 1), retry=RetryPolicy(attempts=2, base=0)) as client,
    ):
        other = client.with_options(account_id="another-account")
        first = asyncio.create_task(client.completions.get("x"))
        while not server.total.requests:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        started = time.monotonic()
        # Their first request would fail too, were it sent now; `x` is asked for again after the pause.
        waiting = [asyncio.create_task(client.completions.get("x")) for _ in range(5)]
        elsewhere = asyncio.create_task(other.completions.get("x"))
        if keyed:
            await asyncio.sleep(0.3)
        else:
            await elsewhere
        assert server.total.requests == (1 if keyed else 2)
        assert elsewhere.done() is not keyed
        await asyncio.gather(first, *waiting, elsewhere)
        assert time.monotonic() - started > 0.85
        gaps = [b - a for a, b in pairwise(sorted(server.total.arrivals))]
        assert max(gaps) > (0.9 if keyed else 0.85)
        assert server.total.requests == 8


async def test_nothing_below_the_client_repeats_a_request(carrier: Carrier) -> None:
    """Not a GET, PUT or DELETE either, on a fresh connection or a used one."""
    retry = RetryPolicy(attempts=1)
    for name in ("rst-nothing", "fin-nothing", "fin-headers"):
        async with (
            FaultServer() as server,
            client_for(carrier, server.base_url(name), retry=retry, timeout=PATIENT) as client,
        ):
            calls = (
                client.completions.get("x"),
                client.content.upsert(external_reference="x"),
                client.users.completions.delete("u", "x"),
            )
            for count, call in enumerate(calls, 1):
                with pytest.raises(StackOneError):
                    await call
                assert server.total.requests == count


async def test_the_error_of_the_last_attempt_is_the_one_raised(carrier: Carrier) -> None:
    """Whatever went wrong before; a final answer ends the retries."""
    statuses = iter((503, 502, 400))

    async def script(connection: Any, request: Any) -> None:
        await fail(next(statuses))(connection, request)

    fault = Fault("subject", "-", "", "ok", None, script)
    slept, error = await pauses(carrier, "subject", fault)
    assert isinstance(error, BadRequestError)
    assert not isinstance(error, BadGatewayError)
    assert len(slept) == 2
