"""Time limits: each phase has its own, and the whole call has one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stackone_lms import RateLimit, RetryPolicy, Timeout
from stackone_lms.errors import APITimeoutError, InternalServerError, RateLimitError
from stackone_lms.transport import Request, Response, TimeLimits, Transport
from tests.fake.fakes import (
    FakeTransport,
    client_of,
    created,
    engine_of,
    error,
    hang,
    lost,
    now,
    record,
    slowly,
    virtual,
)

ONE_ATTEMPT = RetryPolicy(attempts=1)


async def connecting_for_ever(request: Request, limits: TimeLimits) -> Response:
    """Never connect."""
    limits.connecting()
    return await hang(request, limits)


def trickle(every: float) -> Callable[[Request, TimeLimits], Awaitable[Response]]:
    """Send a byte now and then, without end."""

    async def step(request: Request, limits: TimeLimits) -> Response:
        while True:
            await asyncio.sleep(every)
            limits.progress()

    return step


@virtual
async def test_a_server_that_never_answers_is_given_up_after_65_seconds() -> None:
    """A little more than the 60 after which the API itself answers 408."""
    transport, start = FakeTransport(hang), now()
    with pytest.raises(APITimeoutError, match="the answer stopped coming") as caught:
        await client_of(transport, retry=ONE_ATTEMPT).completions.get("c1")
    assert (now() - start, caught.value.phase, caught.value.attempts) == (65, "read", 1)
    assert isinstance(caught.value, TimeoutError)


@virtual
async def test_a_connection_that_is_never_made_is_given_up_after_5_seconds() -> None:
    transport, start = FakeTransport(connecting_for_ever), now()
    with pytest.raises(APITimeoutError) as caught:
        await client_of(transport, retry=ONE_ATTEMPT).completions.get("c1")
    assert (now() - start, caught.value.phase) == (5, "connect")


@virtual
async def test_bytes_that_trickle_do_not_keep_an_attempt_alive() -> None:
    transport, start = FakeTransport(trickle(10)), now()
    with pytest.raises(APITimeoutError) as caught:
        await client_of(transport, retry=ONE_ATTEMPT).completions.get("c1")
    assert (now() - start, caught.value.phase) == (75, "attempt")


@virtual
async def test_bytes_that_come_in_time_push_the_read_limit_on() -> None:
    timeout = Timeout(read=3, attempt=None, total=10)
    transport, start = FakeTransport(trickle(2)), now()
    with pytest.raises(APITimeoutError) as caught:
        await client_of(transport, retry=ONE_ATTEMPT, timeout=timeout).completions.get("c1")
    assert (now() - start, caught.value.phase) == (10, "total")


@virtual
async def test_timeouts_are_retried_within_the_whole_calls_limit() -> None:
    transport, start = FakeTransport(hang), now()
    with pytest.raises(APITimeoutError) as caught:
        await client_of(transport, retry=RetryPolicy(attempts=10)).completions.get("c1")
    assert (now() - start, caught.value.phase) == (300, "total")
    assert len(transport.sent) == 5
    assert caught.value.attempts == 5


@virtual
async def test_after_a_timeout_a_retry_may_help() -> None:
    transport, start = FakeTransport(hang, record()), now()
    answer = await client_of(transport).completions.get("c1")
    assert answer.attempts == 2
    assert now() - start == pytest.approx(65.05)
    assert answer.elapsed == pytest.approx(65.05)


@virtual
async def test_a_write_that_timed_out_is_not_sent_again_unless_it_was_never_sent() -> None:
    for step, requests in [(hang, 1), (trickle(10), 1), (connecting_for_ever, 3)]:
        transport = FakeTransport(step)
        with pytest.raises(APITimeoutError):
            await client_of(transport).users.completions.create("u", learning_object_external_reference="x")
        assert len(transport.sent) == requests


@virtual
async def test_none_switches_a_limit_off() -> None:
    forever = Timeout(connect=None, read=None, attempt=None, total=None)
    transport, start = FakeTransport(slowly(100_000, record())), now()
    await client_of(transport, timeout=forever).completions.get("c1")
    assert now() - start == 100_000


@virtual
async def test_waiting_for_a_slot_counts_and_ends_with_the_call() -> None:
    transport, start = FakeTransport(slowly(50, record())), now()
    client = client_of(transport, max_concurrency=1)
    first = asyncio.create_task(client.completions.get("c1"))
    await asyncio.sleep(0)
    with pytest.raises(APITimeoutError, match="no slot became free") as caught:
        await client.with_options(timeout=Timeout(total=20)).completions.get("c1")
    assert (now() - start, caught.value.phase, caught.value.attempts) == (20, "pool", 0)
    await first
    assert len(transport.sent) == 1


@virtual
async def test_waiting_for_the_rate_limit_counts_and_ends_with_the_call() -> None:
    transport, start = FakeTransport(record()), now()
    client = client_of(transport, rate_limit=RateLimit(1, per=60), timeout=Timeout(total=20))
    await client.completions.get("c1")
    with pytest.raises(APITimeoutError, match="the rate limit") as caught:
        await client.completions.get("c1")
    assert (now() - start, caught.value.phase, caught.value.attempts) == (20, "rate_limit", 0)
    assert len(transport.sent) == 1


@virtual
async def test_a_pause_of_the_account_counts_and_ends_with_the_call() -> None:
    transport, start = FakeTransport(error(503, Retry_After="60"), record()), now()
    client = client_of(transport, timeout=Timeout(total=20))
    with pytest.raises(InternalServerError):
        await client.completions.get("c1")
    assert now() == start
    with pytest.raises(APITimeoutError) as caught:
        await client.completions.get("c1")
    assert (now() - start, caught.value.phase) == (20, "rate_limit")


@virtual
async def test_a_pause_longer_than_the_time_left_is_not_begun() -> None:
    transport, start = FakeTransport(slowly(15, error(429, Retry_After="10"))), now()
    with pytest.raises(RateLimitError) as caught:
        await client_of(transport, timeout=Timeout(total=20)).completions.get("c1")
    assert (now() - start, caught.value.attempts, caught.value.retry_after) == (15, 1, 10)


@virtual
async def test_a_call_that_ran_out_of_time_says_what_went_wrong_before() -> None:
    transport = FakeTransport(lost(), slowly(1, record()))
    client = client_of(transport, max_concurrency=1, timeout=Timeout(total=20), retry=RetryPolicy(base=2, cap=2))
    task = asyncio.create_task(client.completions.get("c1"))
    await asyncio.sleep(0.5)
    transport.script = (lost(), slowly(100, record()))
    other = asyncio.create_task(client.with_options(timeout=Timeout()).completions.get("c1"))
    with pytest.raises(APITimeoutError) as caught:
        await task
    assert (caught.value.phase, caught.value.attempts) == ("pool", 1)
    assert type(caught.value.__cause__).__name__ == "ConnectionLostError"
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


@virtual
async def test_the_limits_of_one_call_are_not_those_of_another() -> None:
    transport, start = FakeTransport(slowly(10, record())), now()
    client = client_of(transport, retry=ONE_ATTEMPT)
    ends: dict[float, float] = {}

    async def call(total: float) -> None:
        try:
            await client.with_options(timeout=Timeout(total=total)).completions.get("c1")
        except APITimeoutError:
            ends[total] = now() - start

    await asyncio.gather(*(call(total) for total in (7, 3, 30, 9, 5)))
    assert ends == {7: 7, 3: 3, 9: 9, 5: 5}


@virtual
async def test_a_timeout_leaves_nothing_behind() -> None:
    client = client_of(FakeTransport(hang), retry=ONE_ATTEMPT, timeout=Timeout(total=1))
    for _ in range(5):
        with pytest.raises(APITimeoutError):
            await client.completions.get("c1")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    admission = engine_of(client).admission
    assert (admission.slots_used, admission.waiting) == (0, 0)
    await asyncio.sleep(500)  # no timer is left that would cancel somebody else


class Plain(Transport):
    """A transport as its docstring shows it: one that tells nothing of connecting, or of what it sends."""

    def __init__(self) -> None:
        self.sent = 0

    async def send(self, request: Request, limits: TimeLimits) -> Response:
        self.sent += 1
        await asyncio.sleep(5.5)
        return created() if request.method == "POST" else record()


@virtual
async def test_a_transport_that_tells_nothing_has_its_writes_sent_once() -> None:
    """An answer that takes longer than a connection may: the request counts as sent."""
    transport, start = Plain(), now()
    client = client_of(transport, timeout=Timeout(connect=5))
    await client.users.completions.create("u", learning_object_external_reference="x")
    assert (transport.sent, now() - start) == (1, 5.5)
    with pytest.raises(APITimeoutError, match="stopped coming"):
        await client.with_options(timeout=Timeout(connect=5, read=4)).users.completions.create(
            "u", learning_object_external_reference="x"
        )
    assert transport.sent == 2
    assert (await client.completions.get("c1")).attempts == 1


@virtual
async def test_a_transport_that_opens_for_ever_is_given_up_as_one_that_does_not_connect() -> None:
    class Opening(Plain):
        async def open(self) -> None:
            await asyncio.sleep(100)

    transport, start = Opening(), now()
    with pytest.raises(APITimeoutError) as caught:
        await client_of(transport, retry=ONE_ATTEMPT).completions.get("c1")
    assert (now() - start, caught.value.phase, transport.sent) == (5, "connect", 0)
