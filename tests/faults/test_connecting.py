"""Connections that cannot be made: when that is noticed, what is tried again, and that it heals."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Any

import aiohttp
import pytest
from aiohttp.resolver import DefaultResolver

from stackone_lms import AsyncClient
from stackone_lms.errors import APITimeoutError, ConnectError, StackOneError, TLSError
from stackone_lms.options import RetryPolicy, Timeout
from stackone_lms.transport.connections import Resolver

from . import CATALOGUE, FaultServer
from .children import run
from .sdk import (
    ATTEMPTS,
    KEY,
    LEAN_FIRST,
    SOON,
    Carrier,
    SkippingClock,
    assert_idle,
    assert_presentable,
    client_for,
    engine_of,
)

ONCE = RetryPolicy(attempts=1)


LIMIT, LONG = 50.0, 5000.0
"""Seconds; asyncio gives up a TLS handshake after 60."""


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> SkippingClock:
    """The clock of the event loop, too, so that a minute passes at once."""
    clock, loop = SkippingClock(), asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        pytest.skip("the clock of uvloop cannot be set")
    monkeypatch.setattr(loop, "time", clock)
    return clock


async def ends_after(
    seconds: float, call: asyncio.Task[Any], client: AsyncClient, clock: SkippingClock
) -> StackOneError:
    """Return what a call raises after so long, and not earlier."""
    with clock.stopped():
        while engine_of(client).deadlines.next > clock() + seconds:  # until it waits for what is limited so
            await asyncio.sleep(0)
        for part in (seconds - 1, 0.9, 0.1):
            assert not call.done()
            await clock.skip(part)
            for _ in range(100):
                await asyncio.sleep(0)
    with pytest.raises(StackOneError) as caught:
        await asyncio.wait_for(call, 0)
    return caught.value


@pytest.mark.parametrize("accept", ["hang", "stall"])
async def test_a_connection_that_is_not_made_is_given_up_in_time(
    carrier: Carrier, accept: Any, clock: SkippingClock
) -> None:
    """After `Timeout.connect`, TLS handshake included."""
    async with FaultServer(accept=accept, scheme="https", stall=LONG) as server:
        timeout = Timeout(connect=LIMIT, read=LONG, attempt=LONG, total=LONG)
        async with client_for(carrier, server.url, timeout=timeout, retry=ONCE, clock=clock) as client:
            await engine_of(client)._transport.open()  # pyright: ignore[reportPrivateUsage] (reads CA files in a thread)
            call = asyncio.create_task(client.completions.get("x"))
            error = await ends_after(LIMIT, call, client, clock)
            assert isinstance(error, APITimeoutError)
            assert error.phase == "connect"
            assert error.retryable


async def test_a_session_of_the_callers_own_does_not_round_that_up(clock: SkippingClock) -> None:
    """aiohttp's own limits above five seconds end with the next whole second of the loop."""
    limit = LIMIT + 0.3 - clock() % 1  # which is 0.7 seconds later
    async with FaultServer(accept="hang") as server, aiohttp.ClientSession() as session:
        timeout = Timeout(connect=limit, read=LONG, attempt=LONG, total=LONG)
        async with client_for(None, server.url, session=session, timeout=timeout, retry=ONCE, clock=clock) as client:
            call = asyncio.create_task(client.completions.get("x"))
            error = await ends_after(limit, call, client, clock)
            assert isinstance(error, APITimeoutError)
            assert error.phase == "connect"


@pytest.mark.parametrize("accept", ["refused", "hang", "stall"])
async def test_a_post_is_repeated_when_no_connection_was_made(carrier: Carrier, accept: Any) -> None:
    """Nothing was sent, so nothing can happen twice."""
    async with FaultServer(accept=accept, scheme="https", stall=120) as server:
        timeout = Timeout(connect=0.1, read=5, attempt=5, total=10)
        async with client_for(carrier, server.url, timeout=timeout) as client:
            with pytest.raises(StackOneError) as caught:
                await client.users.completions.create("u", learning_object_external_reference="x")
            assert caught.value.attempts == ATTEMPTS
            assert isinstance(caught.value, ConnectError | APITimeoutError)


async def test_a_client_finds_its_server_when_it_comes_up(carrier: Carrier) -> None:
    """Refused at first, the same client works once somebody listens on the port."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        async with client_for(carrier, f"http://127.0.0.1:{port}") as client:
            with pytest.raises(ConnectError) as caught:
                await client.completions.get("x")
            assert str(port) not in KEY
            assert_presentable(caught.value)
            held.listen(8)
            held.setblocking(False)
            call = asyncio.create_task(client.completions.get("x"))
            peer, _ = await asyncio.get_running_loop().sock_accept(held)
            with peer:
                await asyncio.get_running_loop().sock_recv(peer, 65_536)
                body = b'{"data":{"id":"x"}}'
                head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
                await asyncio.get_running_loop().sock_sendall(peer, head + body)
                assert (await call).data.id == "x"


@pytest.mark.parametrize(
    ("number", "attempts", "retryable"), [(socket.EAI_NONAME, 1, False), (socket.EAI_AGAIN, ATTEMPTS, True)]
)
async def test_a_name_that_does_not_resolve(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch, number: int, attempts: int, retryable: bool
) -> None:
    """No such name is final; a name server that does not answer now may answer later."""
    asked: list[Any] = []

    async def nowhere(_resolver: object, host: str, *_args: Any, **_options: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(number, "no")

    for resolver in (Resolver, DefaultResolver):
        monkeypatch.setattr(resolver, "resolve", nowhere)  # below it, each event loop has a way of its own
    async with client_for(carrier, "https://api.nowhere.example") as client:
        with pytest.raises(ConnectError, match=r"api\.nowhere\.example does not resolve") as caught:
            await client.completions.get("x")
        assert (caught.value.attempts, caught.value.retryable) == (attempts, retryable)
        assert set(asked) == {"api.nowhere.example"}
        assert_presentable(caught.value)


@pytest.mark.parametrize("name", ["tls-unknown-ca", "tls-wrong-host", "tls-expired", "tls-self-signed"])
async def test_a_bad_certificate_is_named_with_its_host(carrier: Carrier, name: str) -> None:
    """The message tells which host, and what is wrong with it; nothing was sent."""
    fault = next(f for f in CATALOGUE if f.name == name)
    async with FaultServer.of(fault) as server:
        context = ssl.create_default_context(cadata=server.ca_pem)
        async with client_for(carrier, server.url, context=context) as client:
            with pytest.raises(TLSError, match=r"127\.0\.0\.1.*certificate") as caught:
                await client.completions.get("x")
            assert not caught.value.retryable
        assert (server.total.connections, server.total.requests) == (1, 0)


async def test_waiting_for_a_slot_ends_with_the_deadline(carrier: Carrier, clock: SkippingClock) -> None:
    """With every slot taken a call waits inside the client, and no longer than its `Timeout.total`."""
    options: dict[str, Any] = {"timeout": Timeout(connect=LONG, read=LONG, attempt=LONG, total=LONG), "clock": clock}
    async with (
        FaultServer(stall=LONG) as server,
        client_for(carrier, server.base_url("never-answers"), max_concurrency=1, retry=ONCE, **options) as client,
    ):
        first = asyncio.create_task(client.completions.get("x"))
        while not server.total.requests:
            await asyncio.sleep(0)
        hurried = client.with_options(timeout=Timeout(total=LIMIT))
        error = await ends_after(LIMIT, asyncio.create_task(hurried.completions.get("y")), client, clock)
        assert isinstance(error, APITimeoutError)
        assert (error.phase, error.attempts) == ("pool", 0)
        first.cancel()
        await asyncio.wait([first])
        assert_idle(client)
        assert server.total.requests == 1


@LEAN_FIRST
@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of descriptors to lower")
async def test_no_descriptors_left(carrier: Carrier) -> None:
    """The system has no socket to give: the client backs off as if throttled, and works when there is one again."""
    finished = await run(
        """
        import asyncio, os, resource, sys
        from tests.faults import FaultServer
        from tests.faults.sdk import RetryPolicy, SkippingClock, client_for, engine_of, assert_presentable
        from stackone_lms.errors import ConnectError

        async def main():
            clock = SkippingClock()
            retry = RetryPolicy(base=0.001, throttle_base=4, throttle_cap=8)
            async with FaultServer() as server, client_for(
                sys.argv[1], server.base_url("ok"), retry=retry, clock=clock, sleep=clock.sleep, random=lambda: 1.0
            ) as client:
                await engine_of(client)._transport.open()
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                lowest = os.open(os.devnull, os.O_RDONLY)
                os.close(lowest)
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
                try:
                    await client.completions.get("x")
                except ConnectError as error:
                    assert_presentable(error)
                    print(error.attempts, clock.slept, server.total.connections)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                print((await client.completions.get("x")).data.id)

        asyncio.run(main())
        """,
        carrier,
    )
    assert (finished.out, finished.err) == ("3 [4.0, 8.0] 0\nx\n", "")


def test_the_quick_retries_of_these_tests_are_otherwise_the_default() -> None:
    assert SOON.attempts == RetryPolicy().attempts == ATTEMPTS
