"""TLS and proxies."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest
import trustme

from stackone_lms.errors import ConnectError, ConnectionLostError, ProtocolError, TLSError
from stackone_lms.transport import TransportError
from stackone_lms.transport.aiohttp import make_ssl_context
from stackone_lms.transport.proxies import Proxy, read_proxy

from .conftest import Opener, get, post, send
from .server import BODY, Peer, always, answer, serving, tunnelling


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def server_context(ca: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


def trusting(ca: trustme.CA) -> Callable[[], ssl.SSLContext]:
    context = ssl.create_default_context()
    ca.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return lambda: context


async def test_requests_over_tls_share_a_connection_and_fresh_ones_do_not(connect_to: Opener, ca: trustme.CA) -> None:
    big = bytes(range(256)) * 8000
    async with serving(always(answer(big)), context=server_context(ca)) as server:
        transport = await connect_to(server.url, ssl_context=trusting(ca))
        for request in (get(max_body=len(big)), post(b"x" * 500_000), get(max_body=len(big), new_connection=True)):
            request.max_body = len(big)
            assert (await send(transport, request)).body == big
        assert [len(peer.requests) for peer in server.peers] == [2, 1]
        await asyncio.wait_for(server.peers[1].gone.wait(), 5)


async def test_cancelled_over_tls_hangs_up(connect_to: Opener, ca: trustme.CA) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await peer.wait_until_gone()

    async with serving(script, context=server_context(ca)) as server:
        transport = await connect_to(server.url, ssl_context=trusting(ca))
        task = asyncio.create_task(send(transport))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.peers[0].gone.wait(), 5)


async def test_late_answer_over_tls_is_not_taken_for_the_next(connect_to: Opener, ca: trustme.CA) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())
        if len(server.peers) == 1:
            await asyncio.sleep(0.05)
            await peer.send(answer(b"late"))
        await always(answer())(peer)

    async with serving(script, context=server_context(ca)) as server:
        transport = await connect_to(server.url, ssl_context=trusting(ca))
        await send(transport)
        await asyncio.sleep(0.15)
        assert (await send(transport)).body == BODY
        assert len(server.peers) == 2


async def test_unknown_authority_is_an_error_without_retry(connect_to: Opener, ca: trustme.CA) -> None:
    async with serving(always(answer()), context=server_context(ca)) as server:
        transport = await connect_to(server.url)
        with pytest.raises(TransportError) as caught:
            await send(transport)
        assert isinstance(caught.value.error, TLSError)
        assert (caught.value.request_sent, caught.value.max_retries) == (False, 0)
        assert server.requests == []


async def test_certificate_of_another_name_is_an_error(connect_to: Opener, ca: trustme.CA) -> None:
    async with serving(always(answer()), context=server_context(ca, "elsewhere.example")) as server:
        transport = await connect_to(server.url, ssl_context=trusting(ca))
        with pytest.raises(TransportError) as caught:
            await send(transport)
        assert isinstance(caught.value.error, TLSError)


async def test_tls_to_a_server_without_it_is_an_error(connect_to: Opener, ca: trustme.CA) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(100)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(script) as server:
        transport = await connect_to(f"https://localhost:{server.port}", ssl_context=trusting(ca))
        with pytest.raises(TransportError) as caught:
            await send(transport)
        assert isinstance(caught.value.error, TLSError)


async def test_no_tls_to_a_server_that_wants_it_is_an_error(connect_to: Opener, ca: trustme.CA) -> None:
    async with serving(always(answer()), context=server_context(ca)) as server:
        transport = await connect_to(f"http://localhost:{server.port}")
        with pytest.raises(TransportError) as caught:
            await send(transport)
        assert isinstance(caught.value.error, ConnectionLostError | ProtocolError)


async def test_client_certificate_is_shown(
    connect_to: Opener, ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("certificates")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ca.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    context = server_context(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    async with serving(always(answer()), context=context) as server:
        bundle = str(folder / "ca.pem")
        shown = await connect_to(
            server.url, ssl_context=lambda: make_ssl_context(bundle, (str(folder / "client.pem"), None))
        )
        assert (await send(shown)).body == BODY
        hidden = await connect_to(server.url, ssl_context=lambda: make_ssl_context(bundle, None))
        with pytest.raises(TransportError):
            await send(hidden)
        assert len(server.requests) == 1


async def test_tunnel_through_a_proxy_is_made_once_and_shows_it_nothing(connect_to: Opener, ca: trustme.CA) -> None:
    async with serving(always(answer()), context=server_context(ca)) as server, tunnelling() as proxy:
        url = proxy.url.replace("://", "://user:pass@")
        transport = await connect_to(server.url, ssl_context=trusting(ca), proxy=read_proxy(url, "proxy"))
        for _ in range(3):
            assert (await send(transport)).body == BODY
        assert (await send(transport, get(new_connection=True))).body == BODY
        assert [len(peer.requests) for peer in server.peers] == [3, 1]
        assert len(proxy.heads) == 2
        for head in proxy.heads:
            assert head.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % server.port)
            assert b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in head
            assert b"a2V5Og==" not in head
            assert b"x-account-id" not in head
        assert all(r.header("proxy-authorization") is None for r in server.requests)


async def test_proxy_that_refuses_is_an_error_that_sent_nothing(connect_to: Opener, ca: trustme.CA) -> None:
    refusing = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with tunnelling(refusing=refusing) as proxy:
        transport = await connect_to("https://localhost:1", ssl_context=trusting(ca), proxy=Proxy(proxy.url))
        with pytest.raises(TransportError) as caught:
            await send(transport)
        assert isinstance(caught.value.error, ConnectError)
        assert not caught.value.request_sent
        assert "407" in str(caught.value.error)


async def test_proxy_that_is_not_there_is_an_error_that_sent_nothing(connect_to: Opener, ca: trustme.CA) -> None:
    async with tunnelling() as proxy:
        url = proxy.url
    transport = await connect_to("https://localhost:1", ssl_context=trusting(ca), proxy=read_proxy(url, "proxy"))
    with pytest.raises(TransportError) as caught:
        await send(transport)
    assert isinstance(caught.value.error, ConnectError)
    assert not caught.value.request_sent


async def test_without_tls_a_proxy_is_told_the_whole_url(connect_to: Opener) -> None:
    async with serving(always(answer())) as proxy:
        url = f"http://user:pass@127.0.0.1:{proxy.port}"
        transport = await connect_to("http://localhost:8123", proxy=read_proxy(url, "proxy"))
        for request in (get("/a", "b=c"), post(b"{}"), get("/a", new_connection=True)):
            assert (await send(transport, request)).body == BODY
        assert [r.line for r in proxy.requests] == [
            b"GET http://localhost:8123/a?b=c HTTP/1.1",
            b"POST http://localhost:8123/things HTTP/1.1",
            b"GET http://localhost:8123/a HTTP/1.1",
        ]
        for received in proxy.requests:
            assert received.headers[0] == ("Host", "localhost:8123")
            assert received.header("proxy-authorization") == "Basic dXNlcjpwYXNz"
        assert [len(peer.requests) for peer in proxy.peers] == [2, 1]
