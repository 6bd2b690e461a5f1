"""When a connection is used again, and when it is closed."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from contextlib import nullcontext, suppress
from typing import Any

import aiohttp
import pytest
from aiohttp.http_parser import HttpResponseParser, HttpResponseParserPy

from stackone_lms.errors import ClientClosedError, ConnectError, ConnectionLostError
from stackone_lms.transport import TransportError
from stackone_lms.transport import aiohttp_internals as internals
from stackone_lms.transport import lean as lean_module
from stackone_lms.transport.aiohttp import AiohttpTransport
from stackone_lms.transport.lean import LeanTransport

from .conftest import Opener, get, post, send
from .server import BODY, Peer, Script, always, answer, serving

OTHER = b'{"data":{"id":"somebody else"}}'


def first(data: bytes, *, then: bytes = b"", after: float = 0.0, hang_up: bool = False) -> Script:
    """Answer the first connection with `data`, and write `then` some time later; the others as usual."""
    seen = 0

    async def script(peer: Peer) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            await always(answer())(peer)
            return
        await peer.request()
        await peer.send(data)
        await asyncio.sleep(after)
        await peer.send(then)
        if not hang_up:
            while await peer.request():
                await peer.send(answer(OTHER))

    return script


async def test_requests_one_after_the_other_share_a_connection(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        for _ in range(20):
            await send(transport)
        assert [len(peer.requests) for peer in server.peers] == [20]


async def test_requests_at_the_same_time_have_a_connection_each_and_keep_it(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        for _ in range(3):
            await asyncio.gather(*[send(transport) for _ in range(8)])
        assert len(server.peers) == 8
        assert sum(len(peer.requests) for peer in server.peers) == 24


async def test_close_ends_a_request_on_a_connection_that_was_used_before(connect_to: Opener) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())
        await peer.request()
        await peer.wait_until_gone()

    async with serving(script) as server:
        transport = await connect_to(server.url)
        await send(transport)
        task = asyncio.create_task(send(transport))
        while len(server.requests) < 2:
            await asyncio.sleep(0.01)
        await transport.close()
        await asyncio.wait_for(server.peers[0].gone.wait(), 5)
        with pytest.raises(TransportError):
            await task


async def test_fresh_request_has_a_new_connection_that_is_closed_after_it(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        await send(transport)
        await send(transport, get(new_connection=True))
        await asyncio.wait_for(server.peers[1].gone.wait(), 5)
        await send(transport)
        assert [len(peer.requests) for peer in server.peers] == [2, 1]
        assert server.peers[1].requests[0].header("connection") == "close"


@pytest.mark.parametrize(
    "data",
    [
        answer(BODY, "200 OK", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        answer() + answer(OTHER),
        answer() + b"surplus",
        answer() + b"HTTP/1.1 200 OK\r\nConte",
    ],
    ids=["close", "http-1.0", "two-answers", "surplus", "half-an-answer"],
)
async def test_connection_is_not_used_again_after_an_answer_that_forbids_it(connect_to: Opener, data: bytes) -> None:
    async with serving(first(data)) as server:
        transport = await connect_to(server.url)
        compiled = HttpResponseParser is not HttpResponseParserPy
        begins = data.endswith(b"Conte") or (b"surplus" in data and not compiled)
        if begins and isinstance(transport, AiohttpTransport):
            pytest.skip("aiohttp's documented methods do not show the beginning of an answer")
        # The parser refuses the whole of what does not begin like an answer.
        with suppress(TransportError) if b"surplus" in data else nullcontext():
            assert (await send(transport)).status == 200
        assert (await send(transport)).body == BODY
        assert [len(peer.requests) for peer in server.peers] == [1, 1]
        await asyncio.wait_for(server.peers[0].gone.wait(), 5)


@pytest.mark.parametrize("then", [answer(OTHER), answer(OTHER)[:20], b"x"], ids=["answer", "half", "byte"])
async def test_what_comes_on_an_idle_connection_ends_it_before_the_next_request(
    connect_to: Opener, then: bytes
) -> None:
    async with serving(first(answer(), then=then, after=0.05)) as server:
        transport = await connect_to(server.url)
        compiled = HttpResponseParser is not HttpResponseParserPy
        begins = len(then) == 20 or (then == b"x" and not compiled)
        if begins and isinstance(transport, AiohttpTransport):
            pytest.skip("aiohttp's documented methods do not show the beginning of an answer")
        await send(transport)
        await asyncio.sleep(0.15)
        for request in (post(b"{}"), get()):
            assert (await send(transport, request)).body == BODY
        assert [len(peer.requests) for peer in server.peers] == [1, 2]


async def test_what_came_while_the_loop_was_busy_is_noticed_too(connect_to: Opener) -> None:
    async with serving(first(answer())) as server:
        transport = await connect_to(server.url)
        await send(transport)
        server.peers[0].writer.write(answer(OTHER))  # asyncio writes at once; the client's side is not read before
        time.sleep(0.05)
        assert (await send(transport)).body == BODY
        assert [len(peer.requests) for peer in server.peers] == [1, 1]


async def test_connection_that_the_server_closed_while_idle_costs_no_request(connect_to: Opener) -> None:
    async with serving(first(answer(), hang_up=True)) as server:
        transport = await connect_to(server.url)
        await send(transport)
        await asyncio.sleep(0.05)
        assert (await send(transport, post(b"{}"))).body == BODY
        assert [len(peer.requests) for peer in server.peers] == [1, 1]


async def test_many_dead_connections_cost_no_request(connect_to: Opener) -> None:
    async def script(peer: Peer) -> None:
        if await peer.request():
            await peer.send(answer())
            if len(server.peers) > 16:
                await always(answer())(peer)

    async with serving(script) as server:
        transport = await connect_to(server.url)
        await asyncio.gather(*[send(transport) for _ in range(16)])
        await asyncio.sleep(0.05)
        assert (await send(transport)).body == BODY
        assert len(server.peers) == 17


async def test_nothing_is_sent_to_a_server_that_spoke_first(
    connect_to: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(answer(OTHER))
        await peer.request()

    connect = aiohttp.TCPConnector.connect

    async def connect_slowly(*args: Any, **options: Any) -> Any:
        connection = await connect(*args, **options)
        await asyncio.sleep(0.05)
        return connection

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect_slowly)
    async with serving(script) as server:
        transport = await connect_to(server.url)
        with pytest.raises(TransportError) as caught:
            await send(transport)
        assert isinstance(caught.value.error, ConnectionLostError)
        assert len(server.peers) == 1
        await asyncio.wait_for(server.peers[0].gone.wait(), 5)
        assert server.requests == []


async def test_discard_closes_the_connection_of_a_reply(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        reply = await send(transport)
        reply.close_connection()
        await asyncio.wait_for(server.peers[0].gone.wait(), 5)
        reply.close_connection()
        assert (await send(transport)).body == BODY
        assert len(server.peers) == 2


async def test_early_answer_leaves_nothing_of_its_request_to_the_next(connect_to: Opener) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        if len(server.peers) > 1:
            await peer.send(answer())
            return
        await peer.send(answer(b"{}", "413 Content Too Large"))
        await asyncio.sleep(0.1)
        await peer.wait_until_gone()

    async with serving(script) as server:
        transport = await connect_to(server.url)
        assert (await send(transport, post(b"x" * 30_000_000))).status == 413
        assert (await send(transport)).body == BODY
        assert len(server.peers) == 2


async def test_refused_connection_is_an_error_that_sent_nothing(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        url = server.url
    transport = await connect_to(url)
    with pytest.raises(TransportError) as caught:
        await send(transport)
    assert isinstance(caught.value.error, ConnectError)
    assert not caught.value.request_sent


async def test_idle_connections_are_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lean_module, internals):
        monkeypatch.setattr(module, "KEEP_ALIVE", 0.2)
    async with serving(always(answer())) as server:
        transport = LeanTransport(server.url)
        await transport.open()
        await asyncio.gather(*[send(transport) for _ in range(4)])
        await asyncio.sleep(0.1)
        await send(transport)
        await asyncio.wait_for(asyncio.gather(*[peer.gone.wait() for peer in server.peers]), 5)
        await send(transport)
        assert [len(peer.requests) for peer in server.peers] == [1, 1, 1, 2, 1]
        await transport.close()


async def test_connection_that_rested_too_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(always(answer())) as server:
        transport = LeanTransport(server.url)
        await transport.open()
        await send(transport)
        monkeypatch.setattr(internals, "KEEP_ALIVE", 0.01)
        await asyncio.sleep(0.05)
        await send(transport)
        assert len(server.peers) == 2
        await transport.close()


async def test_closed_transport_refuses_and_has_hung_up(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        await asyncio.gather(*[send(transport) for _ in range(3)])
        await transport.close()
        await asyncio.wait_for(asyncio.gather(*[peer.gone.wait() for peer in server.peers]), 5)
        if not isinstance(transport, AiohttpTransport):
            with pytest.raises(TransportError) as caught:
                await send(transport)
            assert isinstance(caught.value.error, ClientClosedError)
            assert not caught.value.request_sent


async def test_close_under_a_request_ends_it(connect_to: Opener) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.wait_until_gone()

    async with serving(script) as server:
        transport = await connect_to(server.url)
        call = asyncio.create_task(send(transport))
        while not server.requests:
            await asyncio.sleep(0.01)
        await transport.close()
        with pytest.raises(TransportError) as caught:
            await asyncio.wait_for(call, 5)
        assert isinstance(caught.value.error, ConnectionLostError)
        await asyncio.wait_for(server.peers[0].gone.wait(), 5)


async def test_nothing_is_left_for_the_garbage_collector(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        await asyncio.gather(*[send(transport) for _ in range(4)])
        await send(transport, get(new_connection=True))
        await transport.close()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del transport
            gc.collect()
            await asyncio.sleep(0.01)
        assert [str(w.message) for w in caught] == []
