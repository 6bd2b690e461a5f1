"""Opening, closing, loops and cancellation: a call ends as its caller wants, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import stackone_lms
from stackone_lms import AsyncClient, RateLimit, RetryPolicy, Timeout
from stackone_lms.errors import APITimeoutError, ClientClosedError, WrongLoopError
from stackone_lms.transport import Request, Response, TimeLimits
from tests.fake.fakes import (
    ACCOUNT,
    KEY,
    FakeTransport,
    client_of,
    engine_of,
    error,
    hang,
    now,
    record,
    slowly,
    virtual,
)


class SlowToOpen(FakeTransport):
    """Takes four seconds to get ready."""

    async def open(self) -> None:
        await super().open()
        await asyncio.sleep(4)


def in_phase(phase: str) -> tuple[AsyncClient, FakeTransport]:
    """Return a client whose next call spends a long time in a phase."""
    options: dict[str, dict[str, Any]] = {
        "pool": {"max_concurrency": 1},
        "rate limit": {"rate_limit": RateLimit(1, per=1000)},
    }
    transport: FakeTransport
    if phase == "open":
        transport = SlowToOpen(record())
    elif phase == "backoff":
        transport = FakeTransport(error(429, Retry_After="60"))
    elif phase == "pause":
        transport = FakeTransport(error(503, Retry_After="60"), record())
    elif phase == "rate limit":
        transport = FakeTransport(record())
    else:
        transport = FakeTransport(hang)
    return client_of(transport, **options.get(phase, {})), transport


PHASES = ["open", "send", "backoff", "pool", "rate limit", "pause"]


async def bring_to(phase: str, client: AsyncClient) -> list[asyncio.Task[Any]]:
    """Do what has to come before, so that the next call gets stuck in the phase."""
    if phase == "pool":
        return [asyncio.create_task(client.completions.get("c0"))]
    if phase == "rate limit":
        await client.completions.get("c1")
    if phase == "pause":
        once = client.with_options(retry=RetryPolicy(attempts=1))
        await asyncio.gather(once.completions.get("c1"), return_exceptions=True)
    return []


def assert_nothing_left(client: AsyncClient, transport: FakeTransport) -> None:
    core = engine_of(client)
    assert (core.admission.slots_used, core.admission.in_flight, core.admission.waiting) == (0, 0, 0)
    assert len(core.deadlines) == 0
    assert transport.under_way == 0


def own_cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def by_cancel(call: Callable[[], Awaitable[Any]]) -> None:
    task = asyncio.ensure_future(call())
    await asyncio.sleep(1)
    task.cancel("the caller's reason")
    with pytest.raises(asyncio.CancelledError, match="the caller's reason"):
        await task
    assert task.cancelled()


async def by_asyncio_timeout(call: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(1):
            await call()
    assert not isinstance(caught.value, APITimeoutError)


async def by_wait_for(call: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(call(), 1)
    assert not isinstance(caught.value, APITimeoutError)


async def by_anyio_scope(call: Callable[[], Awaitable[Any]]) -> None:
    with anyio.move_on_after(1) as scope:
        await call()
    assert scope.cancelled_caught


async def by_task_group(call: Callable[[], Awaitable[Any]]) -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise KeyError("mine")

    async def run() -> None:
        await call()

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(run())
            group.create_task(fail())
    assert [type(inner) for inner in caught.value.exceptions] == [KeyError]


@pytest.mark.parametrize("cancel", [by_cancel, by_asyncio_timeout, by_wait_for, by_anyio_scope, by_task_group])
@pytest.mark.parametrize("phase", PHASES)
@virtual
async def test_a_cancellation_passes_through_at_once_and_frees_everything(phase: str, cancel: Any) -> None:
    client, transport = in_phase(phase)
    before = await bring_to(phase, client)
    requests, start = len(transport.sent), now()
    await cancel(lambda: client.completions.get("c1"))
    assert now() - start == 1
    assert len(transport.sent) == requests + (phase in {"send", "backoff"}) + (phase == "pool")
    for task in before:
        task.cancel()
    await asyncio.gather(*before, return_exceptions=True)
    assert_nothing_left(client, transport)
    if cancel is not by_task_group:  # a TaskGroup of Python 3.11 leaves its own count behind
        assert own_cancellations() == 0
    await asyncio.sleep(1000)
    transport.script = (record(),)
    await client.completions.get("c1")


@pytest.mark.parametrize("phase", PHASES)
@virtual
async def test_closing_ends_every_call_with_client_closed(phase: str) -> None:
    """Never with CancelledError: nobody cancelled the callers."""
    client, transport = in_phase(phase)
    calls = await bring_to(phase, client)
    calls += [asyncio.create_task(client.completions.get("c1")) for _ in range(5)]
    await asyncio.sleep(1)
    start = now()
    await client.aclose()
    assert now() - start < 1
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ClientClosedError}
    assert not any(task.cancelling() for task in calls)
    assert transport.closed == (phase != "open")
    assert_nothing_left(client, transport)


@virtual
async def test_a_deadline_at_the_moment_of_a_cancellation_does_not_swallow_it() -> None:
    for total in (0.999, 1.0, 1.001):
        client = client_of(FakeTransport(hang), timeout=Timeout(total=total), retry=RetryPolicy(attempts=1))
        task = asyncio.create_task(client.completions.get("c1"))
        await asyncio.sleep(1.0)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, APITimeoutError if total < 1 else asyncio.CancelledError)


@virtual
async def test_a_deadline_inside_a_scope_that_ends_at_the_same_time_leaves_the_scope_intact() -> None:
    client = client_of(FakeTransport(hang), timeout=Timeout(total=1), retry=RetryPolicy(attempts=1))
    with anyio.move_on_after(1) as scope:
        await client.completions.get("c1")
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await client.completions.get("c1")
    await asyncio.sleep(10)


@virtual
async def test_a_call_that_is_cancelled_is_not_retried() -> None:
    transport = FakeTransport(slowly(5, error(500)))
    task = asyncio.create_task(client_of(transport).completions.get("c1"))
    await asyncio.sleep(6)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(100)
    assert len(transport.sent) == 2


@virtual
async def test_the_session_is_made_at_the_first_call_and_once() -> None:
    transport = SlowToOpen(record())
    client = client_of(transport)
    assert transport.opened == 0
    await asyncio.gather(*(client.completions.get("c1") for _ in range(10)))
    assert (transport.opened, len(transport.sent)) == (1, 10)


@virtual
async def test_when_the_one_who_opens_gives_up_another_takes_over() -> None:
    transport = SlowToOpen(record())
    client = client_of(transport, timeout=Timeout(connect=7))
    first, second = (asyncio.create_task(client.completions.get("c1")) for _ in range(2))
    await asyncio.sleep(2)
    first.cancel()
    assert (await second).data.id == "c1"
    assert (transport.opened, len(transport.sent)) == (2, 1)


@virtual
async def test_closing_twice_and_at_the_same_time_is_fine() -> None:
    transport = FakeTransport(record())
    client = client_of(transport)
    await client.completions.get("c1")
    await asyncio.gather(client.aclose(), client.aclose(), client.aclose())
    await client.aclose()
    assert transport.closed == 1


@virtual
async def test_closing_a_client_that_was_never_used_is_fine() -> None:
    transport = FakeTransport(record())
    async with client_of(transport) as client:
        pass
    assert (client.closed, transport.opened, transport.closed) == (True, 0, 0)
    with pytest.raises(ClientClosedError):
        await client.completions.get("c1")


@virtual
async def test_a_close_that_is_cancelled_has_closed_the_session_all_the_same() -> None:
    async def stubborn(request: Request, limits: TimeLimits) -> Response:
        for _ in range(3):
            try:
                await asyncio.sleep(50)
            except asyncio.CancelledError:
                continue
        return record()

    transport = FakeTransport(stubborn)
    client = client_of(transport)
    call = asyncio.create_task(client.completions.get("c1"))
    await asyncio.sleep(1)
    with anyio.move_on_after(0.1):
        await client.aclose()
    await client.aclose()
    assert transport.closed == 1
    await asyncio.gather(call, return_exceptions=True)


@virtual
async def test_a_call_that_ignores_its_end_does_not_hold_up_the_close() -> None:
    async def stubborn(request: Request, limits: TimeLimits) -> Response:
        while True:
            try:
                await asyncio.sleep(50)
                return record()
            except asyncio.CancelledError:
                continue

    transport, start = FakeTransport(stubborn), now()
    client = client_of(transport)
    call = asyncio.create_task(client.completions.get("c1"))
    await asyncio.sleep(1)
    await client.aclose()
    assert now() - start < 3
    assert transport.closed == 1
    await asyncio.gather(call, return_exceptions=True)


def test_a_client_belongs_to_the_loop_of_its_first_call() -> None:
    transport = FakeTransport(record())
    client = AsyncClient(KEY, ACCOUNT, transport=transport)

    async def call() -> None:
        await client.completions.get("c1")

    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(call())
        with pytest.raises(WrongLoopError, match="another event loop"):
            second.run(call())
        with pytest.raises(WrongLoopError):
            second.run(client.aclose())
        first.run(call())
        first.run(client.aclose())
        with pytest.raises(ClientClosedError):
            second.run(call())
        second.run(client.aclose())
    assert (len(transport.sent), transport.closed) == (2, 1)


def test_when_its_loop_is_gone_a_client_can_still_be_closed() -> None:
    client = AsyncClient(KEY, ACCOUNT, transport=FakeTransport(record()))

    async def call() -> None:
        await client.completions.get("c1")

    asyncio.run(call())
    asyncio.run(client.aclose())
    assert client.closed


FORKING = """
import asyncio, os, sys
from stackone_lms import AsyncClient
from stackone_lms.errors import ForkedError
from tests.fake.fakes import FakeTransport, record

transport = FakeTransport(record())

async def main():
    client = AsyncClient("key", "account", transport=transport)
    await client.completions.get("c1")
    child = os.fork()
    if child == 0:
        try:
            await client.completions.get("c1")
        except ForkedError as error:
            print(error, flush=True)
        await client.aclose()
        os._exit(transport.closed)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    await client.completions.get("c1")
    await client.aclose()
    print(status, transport.closed, len(transport.sent), flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_after_a_fork_the_child_is_told_and_the_parent_goes_on() -> None:
    root = Path(stackone_lms.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False, cwd=root
    )
    assert (done.returncode, done.stderr) == (0, "")
    told, ended = done.stdout.splitlines()
    assert "make a new one in the child process" in told
    assert ended == "0 1 2"


def test_constructing_and_describing_a_client_needs_no_loop() -> None:
    client = AsyncClient(KEY, ACCOUNT, transport=FakeTransport(record()))
    pager = client.with_options(heartbeat=True).completions.list(page_size=5)
    assert repr(pager) == "<AsyncPager of completions.list>"


@virtual
async def test_an_interrupt_inside_a_call_passes_through() -> None:
    class Mine(BaseException):
        """Such as KeyboardInterrupt, which would end the test run."""

    async def interrupted(request: Request, limits: TimeLimits) -> Response:
        raise Mine

    transport = FakeTransport(interrupted)
    client = client_of(transport)
    with pytest.raises(Mine):
        await client.completions.get("c1")
    assert_nothing_left(client, transport)


@virtual
async def test_closing_waits_no_longer_than_for_the_calls_under_way() -> None:
    """They are cancelled, and gone at the next look; with none there is nothing to wait for."""
    for calls in (0, 3):
        client = client_of(FakeTransport(record(), hang))
        await client.completions.get("c1")
        under_way = [asyncio.create_task(client.completions.get("c1")) for _ in range(calls)]
        await asyncio.sleep(1)
        start = now()
        await client.aclose()
        assert now() - start <= 0.02
        results = await asyncio.gather(*under_way, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["ClientClosedError"] * calls
