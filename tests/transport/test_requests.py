"""What goes over the wire."""

from __future__ import annotations

import pytest

from stackone_lms.transport import Request, TransportError

from .conftest import BODY_HEADERS, HEADERS, KINDS, Opener, get, post, send
from .server import always, answer, serving

QUERY = "raw=true&fields=id%2Cresult&proxy%5Bfilter%5D%5Beq%5D=a%20b&x=%2F%3F%23"


async def test_path_and_query_stand_on_the_wire_as_they_were_given(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        await send(transport, get("/unified/lms/a%2Fb%20c/%C3%A9", QUERY))
        await send(transport, get("/unified/lms"))
        assert [r.line for r in server.requests] == [
            b"GET /unified/lms/a%2Fb%20c/%C3%A9?" + QUERY.encode() + b" HTTP/1.1",
            b"GET /unified/lms HTTP/1.1",
        ]


async def test_headers_stand_on_the_wire_behind_the_host_and_nothing_is_added(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        await send(await connect_to(server.url))
        assert server.requests[0].headers == [("Host", f"127.0.0.1:{server.port}"), *HEADERS.items()]


async def test_body_comes_whole_with_its_length(connect_to: Opener) -> None:
    body = b"[" + b"1," * 2_000_000 + b"1]"
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        for _ in range(2):
            await send(transport, post(body))
        for received in server.requests:
            assert received.line == b"POST /things HTTP/1.1"
            assert received.header("Content-Type") == "application/json"
            assert received.body == body
        assert len(server.requests) == 2


async def test_both_transports_write_the_same_bytes() -> None:
    requests = [
        get("/a", QUERY),
        get("/a"),
        get("/a", new_connection=True),
        post(b"{}"),
        Request("PATCH", "/a", "", BODY_HEADERS, b'{"a":1}', 1000),
        Request("PUT", "/a", "b=c", BODY_HEADERS, b"", 1000),
        Request("DELETE", "/a", "", HEADERS, None, 1000),
    ]
    written: dict[str, list[object]] = {}
    for kind, make in KINDS.items():
        async with serving(always(answer())) as server:
            transport = make(server.url)
            await transport.open()
            for request in requests:
                await send(transport, request)
            await transport.close()
            host = [("Host", f"127.0.0.1:{server.port}")]
            assert all(r.headers[:1] == host for r in server.requests)
            written[kind] = [(r.line, r.headers[1:], r.body) for peer in server.peers for r in peer.requests]
    assert written["lean"] == written["aiohttp"]
    assert len(written["lean"]) == len(requests)


async def test_views_with_headers_of_their_own_are_kept_apart(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        for account in ("one", "two", "one"):
            headers = {**HEADERS, "x-account-id": account}
            await send(transport, Request("GET", "/a", "", headers, None, 1000))
        assert [r.header("x-account-id") for r in server.requests] == ["one", "two", "one"]


@pytest.mark.parametrize("value", ["a\r\nx-account-id: other", "a\nb", "a\x00b", "a\x7fb"])
async def test_header_with_control_characters_is_never_sent(connect_to: Opener, value: str) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        headers = {**HEADERS, "x-account-id": value}
        with pytest.raises(TransportError):
            await send(transport, Request("GET", "/a", "", headers, None, 1000))
        await send(transport)
        assert [r.header("x-account-id") for r in server.requests] == ["account"]


@pytest.mark.parametrize("path", ["/a\r\nx: y", "/a\x00"])
async def test_path_with_control_characters_is_never_sent(connect_to: Opener, path: str) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        with pytest.raises(TransportError):
            await send(transport, get(path))
        await send(transport)
        assert [r.line for r in server.requests] == [b"GET /things/x HTTP/1.1"]


async def test_lean_transport_refuses_a_path_that_is_not_encoded() -> None:
    async with serving(always(answer())) as server:
        transport = KINDS["lean"](server.url)
        await transport.open()
        for path in ("/a b", "/a\tb", "/é", "/a HTTP/1.0"):
            with pytest.raises(TransportError):
                await send(transport, get(path))
        await transport.close()
        assert server.requests == []
