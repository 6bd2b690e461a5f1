"""Closing with calls under way, use after closing, several loops and threads: with real sockets."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import ClientClosedError, StackOneError, WrongLoopError
from stackone_lms.options import RateLimit, RetryPolicy

from . import FaultServer
from .children import run
from .sdk import LEAN_FIRST, Carrier, assert_presentable, blocking_client_for, client_for, engine_of
from .threads import serving

SLOW = RetryPolicy(base=50, cap=50)


async def _reached(client: AsyncClient, server: FaultServer, *, requests: int, waiting: int) -> None:
    async with asyncio.timeout(30):
        while server.total.requests < requests or engine_of(client).admission.waiting < waiting:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)


@pytest.mark.loop
@pytest.mark.parametrize("name", ["never-answers", "stall-body", "status-500", "chunked-endless"])
async def test_closing_ends_calls_under_way_and_queued(carrier: Carrier, name: str) -> None:
    """Each of them ends with ClientClosedError, none with CancelledError, at once; the server sees it."""
    async with FaultServer(stall=120) as server:
        client = client_for(carrier, server.base_url(name), retry=SLOW, max_concurrency=5, max_body=2**30)
        calls = [asyncio.create_task(client.completions.get(f"id-{n}")) for n in range(20)]
        # Calls that pause before a retry have left their slot to others.
        backing_off = name == "status-500"
        await _reached(client, server, requests=20 if backing_off else 5, waiting=0 if backing_off else 15)
        started = time.monotonic()
        await client.aclose()
        assert time.monotonic() - started < 10
        done, pending = await asyncio.wait(calls, timeout=10)
        assert not pending
        for call in done:
            error = call.exception()
            assert isinstance(error, ClientClosedError)
            assert_presentable(error)
        await server.idle()
        if not backing_off:
            assert server.total.hangups == 5
        assert engine_of(client).admission.slots_used == 0


async def test_closing_ends_calls_that_wait_for_the_rate_limit(carrier: Carrier) -> None:
    async with FaultServer() as server:
        client = client_for(carrier, server.base_url("ok"), rate_limit=RateLimit(1, per=50))
        await client.completions.get("x")
        calls = [asyncio.create_task(client.completions.get(f"id-{n}")) for n in range(5)]
        await _reached(client, server, requests=1, waiting=5)
        await client.aclose()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {ClientClosedError}
        assert server.total.requests == 1


@pytest.mark.parametrize("accept", ["hang", "stall"])
async def test_closing_ends_connection_attempts(carrier: Carrier, accept: Any) -> None:
    async with FaultServer(accept=accept, scheme="https", stall=120) as server:
        client = client_for(carrier, server.url)
        calls = [asyncio.create_task(client.completions.get(f"id-{n}")) for n in range(5)]
        await asyncio.sleep(0.15)
        started = time.monotonic()
        await client.aclose()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - started < 10
        assert {type(result) for result in results} == {ClientClosedError}


async def test_closing_ends_a_list_on_its_way(carrier: Carrier) -> None:
    """The pager raises, with what it has delivered still valid."""
    async with FaultServer(stall=120) as server:
        client = client_for(carrier, server.base_url("ok"))
        seen: list[str | None] = []
        with pytest.raises(ClientClosedError):
            async for item in client.completions.list():
                seen.append(item.id)
                await client.aclose()
        assert seen == ["item-0", "item-1", "item-2", "item-3"]


async def test_closing_twice_side_by_side_and_again(carrier: Carrier) -> None:
    """All of them return when the client is closed; calls afterwards say so, and nothing is sent."""
    async with FaultServer(stall=120) as server:
        client = client_for(carrier, server.base_url("never-answers"))
        view = client.with_options(account_id="another")
        call = asyncio.create_task(client.completions.get("x"))
        await _reached(client, server, requests=1, waiting=0)
        await asyncio.wait_for(asyncio.gather(client.aclose(), view.aclose(), client.aclose()), 2)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await call
        assert client.closed
        assert view.closed
        for closed in (client, view):
            with pytest.raises(ClientClosedError):
                await closed.completions.get("x")
            with pytest.raises(ClientClosedError):
                await closed.completions.list().first_page()
        assert server.total.requests == 1


async def test_a_cancelled_caller_does_not_become_a_closed_client(carrier: Carrier) -> None:
    """Closing and cancelling meet: who was cancelled gets his cancellation."""
    async with FaultServer(stall=120) as server:
        client = client_for(carrier, server.base_url("never-answers"))
        call = asyncio.create_task(client.completions.get("x"))
        await _reached(client, server, requests=1, waiting=0)
        call.cancel()
        await client.aclose()
        await asyncio.wait([call])
        assert call.cancelled()


def test_a_client_made_without_a_loop_works_on_the_first_and_refuses_the_second(carrier: Carrier) -> None:
    """At once, with a plain message, and without a request; closing from another loop is refused as well."""
    with serving(FaultServer()) as server:
        client = client_for(carrier, server.base_url("ok"))
        first = asyncio.new_event_loop()
        assert first.run_until_complete(client.completions.get("x")).data.id == "x"

        async def elsewhere() -> None:
            with pytest.raises(WrongLoopError, match="another event loop"):
                await client.completions.get("y")
            with pytest.raises(WrongLoopError):
                await client.aclose()

        asyncio.run(elsewhere())
        assert server.total.requests == 1
        first.run_until_complete(client.aclose())
        first.close()


def test_another_thread_with_its_own_loop_is_refused(carrier: Carrier) -> None:
    """While the first loop is running, too."""
    errors: list[Exception] = []

    async def main() -> None:
        async with client_for(carrier, server.base_url("ok")) as client:
            await client.completions.get("x")

            def other() -> None:
                try:
                    asyncio.run(client.completions.get("y"))
                except StackOneError as error:
                    errors.append(error)

            await asyncio.to_thread(other)
            assert (await client.completions.get("z")).attempts == 1

    with serving(FaultServer()) as server:
        asyncio.run(main())
        assert [type(error) for error in errors] == [WrongLoopError]
        assert server.total.requests == 2


_LOOP_FIRST = """
import asyncio, gc, sys, warnings
warnings.simplefilter("always")
from tests.faults.sdk import client_for

client = client_for(*sys.argv[1:])
asyncio.run(client.completions.get("x"))
asyncio.run(client.aclose())
print(client.closed)
del client
gc.collect()
"""


@LEAN_FIRST
async def test_a_loop_that_is_closed_first_leaves_warnings_only(carrier: Carrier) -> None:
    """No exception from a finalizer; the client can still be closed, and dropped."""
    async with FaultServer() as server:
        finished = await run(_LOOP_FIRST, carrier, server.base_url("ok"))
        assert (finished.code, finished.out) == (0, "True\n")
        assert "Exception ignored" not in finished.err
        assert "Traceback" not in finished.err


@LEAN_FIRST
@pytest.mark.loop
def test_32_threads_share_a_blocking_client_without_mixing_up_answers(carrier: Carrier) -> None:
    """Every thread gets the records it asked for, a good part of them after a retry."""
    with (
        serving(FaultServer()) as server,
        blocking_client_for(carrier, server.base_url("status-500", 1), retry=RetryPolicy(base=0.001)) as client,
    ):
        barrier = threading.Barrier(32)

        def work(number: int) -> list[tuple[str | None, str | None]]:
            barrier.wait()
            found: list[tuple[str | None, str | None]] = []
            for n in range(20):
                data = client.completions.get(f"{number}-{n}").data
                found.append((data.id, data.remote_id))
            return found

        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            for number, found in enumerate(pool.map(work, range(32))):
                assert found == [(f"{number}-{n}", f"remote {number}-{n}") for n in range(20)]
        assert server.total.requests == 32 * 20 * 2
        assert server.total.suspicious == []


def test_closing_a_blocking_client_ends_the_calls_of_other_threads(carrier: Carrier) -> None:
    with serving(FaultServer(stall=120)) as server:
        client = blocking_client_for(carrier, server.base_url("never-answers"))
        outcomes: list[BaseException] = []

        def call(id: str) -> None:
            try:
                client.completions.get(id)
            except BaseException as error:
                outcomes.append(error)

        threads = [threading.Thread(target=call, args=(f"id-{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        while server.total.requests < 8:
            time.sleep(0.005)
        started = time.monotonic()
        client.close()
        for thread in threads:
            thread.join(20)
        assert time.monotonic() - started < 10
        assert [type(outcome) for outcome in outcomes] == [ClientClosedError] * 8
        with pytest.raises(ClientClosedError):
            client.completions.get("x")
        client.close()
