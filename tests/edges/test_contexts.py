"""The contextvars of a call (its request, its span, its user) are let go when it is over, whatever outlives it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import gzip
import ssl
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import pytest
import trustme

from stackone_lms import AsyncClient, RetryPolicy, SyncClient, Timeout
from stackone_lms.errors import APITimeoutError, StackOneError
from stackone_lms.threads import run_in_kept_thread
from tests.soak import further
from tests.transport.server import Peer, answer, serving

pytestmark = pytest.mark.loop

TRANSPORTS = pytest.mark.parametrize("transport", ["lean", "aiohttp"])


class Span:
    """What tracing keeps in a contextvar, with a whole request hanging on it."""


SPAN: contextvars.ContextVar[Span] = contextvars.ContextVar("SPAN")


def in_a_context(call: Callable[[], Any]) -> tuple[weakref.ref[Span], Any]:
    """Call a function in a context of its own that holds a span."""

    def within() -> tuple[weakref.ref[Span], Any]:
        span = Span()
        SPAN.set(span)
        return weakref.ref(span), call()

    return contextvars.copy_context().run(within)


async def span_of(call: Callable[[], Coroutine[Any, Any, Any]]) -> weakref.ref[Span]:
    """Make a call in a task whose context holds a span, and return that when all is over."""
    loop = asyncio.get_running_loop()
    span, task = in_a_context(lambda: loop.create_task(call()))
    await task
    del task
    await asyncio.sleep(0)
    gc.collect()
    return span


SMALL = answer()
# Compressed, so that all of it is here while most of it has still to be read: reading from the socket pauses.
BIG = answer(
    gzip.compress(b'{"data":{"id":"x","name":"%s"}}' % (b"y" * 20_000_000)), "200 OK", "Content-Encoding: gzip"
)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def contexts_of(ca: trustme.CA, tls: bool) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    if not tls:
        return None, None
    here, there = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.configure_trust(here)  # pyright: ignore[reportUnknownMemberType]
    ca.issue_cert("localhost").configure_cert(there)  # pyright: ignore[reportUnknownMemberType]
    return here, there


@TRANSPORTS
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("size", [*further("small"), "big"])
async def test_a_pooled_connection_and_its_timers_hold_none(
    transport: Any, tls: bool, size: str, ca: trustme.CA
) -> None:
    """Neither those of the call that made it, nor of one that stopped reading from it and went on."""
    here, there = contexts_of(ca, tls)
    body = BIG if size == "big" else SMALL

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(body)

    async with (
        serving(script, context=there) as server,
        AsyncClient("key", "a", base_url=server.url, transport=transport, ssl_context=here) as client,
    ):
        for _ in range(3):
            assert (await span_of(lambda: client.users.get("x")))() is None
        assert not server.peers[-1].gone.is_set()  # it is still there


@TRANSPORTS
async def test_the_timer_of_time_limits_holds_none(transport: Any) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(answer())

    async with (
        serving(script) as server,
        AsyncClient("key", "a", base_url=server.url, transport=transport, timeout=Timeout(read=50, total=90)) as client,
    ):
        assert (await span_of(lambda: client.users.get("x")))() is None
        brief = client.with_options(timeout=Timeout(read=40))
        assert (await span_of(lambda: brief.users.get("x")))() is None


@TRANSPORTS
async def test_a_pause_that_others_wait_for_holds_none(transport: Any) -> None:
    refused = answer(b"{}", "429 Too Many Requests", "Retry-After: 30")

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(refused)

    async with (
        serving(script) as server,
        AsyncClient("key", "a", base_url=server.url, transport=transport, retry=RetryPolicy(attempts=1)) as client,
    ):

        async def refused_call() -> None:
            with pytest.raises(StackOneError):
                await client.users.get("x")

        async def short_call() -> None:
            with pytest.raises(APITimeoutError):
                await client.with_options(timeout=0.2).users.get("x")

        await refused_call()
        loop = asyncio.get_running_loop()
        first, task = in_a_context(lambda: loop.create_task(short_call()))
        await asyncio.sleep(0.05)
        others = asyncio.create_task(client.users.get("x"))
        await task
        del task
        await asyncio.sleep(0)
        gc.collect()
        assert first() is None
        others.cancel()
        await asyncio.wait([others])


async def test_a_name_that_is_still_looked_up_holds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        go.wait(60)
        raise OSError("no")

    monkeypatch.setattr("socket.getaddrinfo", hang)
    limits = Timeout(connect=0.1)
    try:
        async with AsyncClient(
            "key", "a", base_url="https://nowhere.invalid", timeout=limits, retry=RetryPolicy(attempts=1)
        ) as client:

            async def call() -> None:
                with pytest.raises(APITimeoutError):
                    await client.users.get("x")

            assert (await span_of(call))() is None
    finally:
        go.set()


async def test_a_kept_thread_holds_none() -> None:
    async def call() -> None:
        await run_in_kept_thread(lambda: None)

    assert (await span_of(call))() is None


async def test_a_blocking_client_holds_none() -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(answer())

    async with serving(script) as server:
        with SyncClient("key", "a", base_url=server.url) as client:

            def call() -> weakref.ref[Span]:
                return in_a_context(lambda: client.users.get("x"))[0]

            for _ in range(2):
                span = await asyncio.to_thread(call)
                await asyncio.to_thread(client.users.get, "x")  # so that its loop has gone on
                gc.collect()
                assert span() is None


async def test_hooks_of_tracing_see_the_context_of_their_call(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Span | None] = []
    tracing = aiohttp.TraceConfig()

    async def note(*_: Any) -> None:
        seen.append(SPAN.get(None))

    for name in ("request_start", "connection_create_start", "connection_create_end", "request_end"):
        getattr(tracing, f"on_{name}").append(note)
    init: Any = aiohttp.ClientSession.__init__

    def traced(self: aiohttp.ClientSession, **options: Any) -> None:
        init(self, **options, trace_configs=[tracing])

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", traced)

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(answer())

    async with serving(script) as server, AsyncClient("key", "a", base_url=server.url) as client:
        await span_of(lambda: client.users.get("x"))
    assert len(seen) == 4
    assert len({id(span) for span in seen}) == 1
    assert None not in seen
