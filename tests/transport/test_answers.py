"""What is read, and what is refused."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from stackone_lms.engine.deadlines import Deadline
from stackone_lms.errors import (
    ConnectionLostError,
    ProtocolError,
    ResponseTooLargeError,
    StackOneError,
)
from stackone_lms.transport import Transport, TransportError

from .conftest import Opener, get, new_watch, post, send
from .server import BODY, Peer, Script, always, answer, serving

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def failure(transport: Transport) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await send(transport)
    assert caught.value.__context__ is None
    assert caught.value.error.__context__ is None
    return caught.value


def pieces(*data: bytes, pause: float = 0.01) -> Script:
    """Answer with `data`, piece by piece; then hang up."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in data:
            await peer.send(piece)
            await asyncio.sleep(pause)

    return script


async def test_answer_has_status_headers_in_any_case_and_body(connect_to: Opener) -> None:
    async with serving(always(answer(BODY, "201 Created", "X-Request-Id: r1"))) as server:
        reply = await send(await connect_to(server.url), post(b"{}"))
        assert (reply.status, reply.body) == (201, BODY)
        assert reply.headers["x-request-id"] == reply.headers["X-REQUEST-ID"] == "r1"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate"])
async def test_compressed_body_comes_decompressed(connect_to: Opener, encoding: str) -> None:
    packed = zlib.compress(BODY) if encoding == "deflate" else gzip.compress(BODY)
    async with serving(always(answer(packed, "200 OK", f"Content-Encoding: {encoding}"))) as server:
        transport = await connect_to(server.url)
        for _ in range(2):
            assert (await send(transport)).body == BODY
        assert len(server.peers) == 1


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "unknown"])
async def test_encoding_that_was_not_asked_for_is_refused(connect_to: Opener, encoding: str) -> None:
    async with serving(always(answer(BODY, "200 OK", f"Content-Encoding: {encoding}"))) as server:
        failed = await failure(await connect_to(server.url))
        assert isinstance(failed.error, ProtocolError)
        assert (failed.request_sent, failed.max_retries) == (True, 0)
        assert len(server.requests) == 1


async def test_corrupt_compression_is_worth_one_retry(connect_to: Opener) -> None:
    packed = bytearray(gzip.compress(BODY * 20))
    packed[12:20] = b"\xff" * 8
    async with serving(always(answer(bytes(packed), "200 OK", "Content-Encoding: gzip"))) as server:
        failed = await failure(await connect_to(server.url))
        assert isinstance(failed.error, ProtocolError)
        assert failed.max_retries == 1


async def test_chunked_body_is_joined(connect_to: Opener) -> None:
    script = pieces(CHUNKED + b"5\r\nhello\r\n", b"6\r\n world\r\n", b"0\r\n\r\n")
    async with serving(script) as server:
        assert (await send(await connect_to(server.url))).body == b"hello world"


async def test_body_without_length_ends_with_the_connection(connect_to: Opener) -> None:
    async with serving(pieces(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")) as server:
        assert (await send(await connect_to(server.url))).body == b"hello"


async def test_megabytes_come_whole(connect_to: Opener) -> None:
    body = bytes(range(256)) * 20_000
    async with serving(always(answer(body))) as server:
        transport = await connect_to(server.url)
        for _ in range(3):
            assert (await send(transport, get(max_body=len(body)))).body == body
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    "data",
    [
        answer(b"x" * 1001),
        CHUNKED + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        answer(gzip.compress(b"x" * 1001), "200 OK", "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,
    ],
    ids=["length", "chunked", "gzip", "until-close"],
)
async def test_body_over_the_cap_is_refused_and_the_connection_closed(connect_to: Opener, data: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        await peer.wait_until_gone()

    async with serving(script) as server:
        transport = await connect_to(server.url)
        with pytest.raises(TransportError) as caught:
            await send(transport, get(max_body=1000))
        assert isinstance(caught.value.error, ResponseTooLargeError)
        assert (caught.value.request_sent, caught.value.max_retries) == (True, 0)
        await asyncio.wait_for(server.peers[0].gone.wait(), 5)


@pytest.mark.parametrize("coming", [answer(b"x" * 1000), CHUNKED + b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n"])
async def test_body_of_just_the_cap_is_fine(connect_to: Opener, coming: bytes) -> None:
    async with serving(always(coming)) as server:
        assert (await send(await connect_to(server.url), get(max_body=1000))).body == b"x" * 1000


async def test_length_over_the_cap_is_refused_before_the_body_comes(connect_to: Opener) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        await peer.wait_until_gone()

    async with serving(script) as server:
        failed = await failure(await connect_to(server.url))
        assert isinstance(failed.error, ResponseTooLargeError)


async def test_endless_body_is_read_to_the_cap_only(connect_to: Opener) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(CHUNKED)
        while not peer.writer.transport.is_closing() and sent < 200_000_000:
            await peer.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            sent += 65_536

    async with serving(script) as server:
        failed = await failure(await connect_to(server.url))
        assert isinstance(failed.error, ResponseTooLargeError)
        await asyncio.sleep(0.05)
        assert sent < 50_000_000


async def test_error_body_is_cut_at_64_kib_and_the_connection_closed(connect_to: Opener) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 5_000_000)
        await peer.wait_until_gone()

    async with serving(script) as server:
        reply = await send(await connect_to(server.url), get(max_body=100))
        assert (reply.status, reply.body) == (500, b"x" * 65_536)
        await asyncio.wait_for(server.peers[0].gone.wait(), 5)


async def test_short_error_leaves_the_connection_in_use(connect_to: Opener) -> None:
    async with serving(always(answer(b'{"message":"no"}', "404 Not Found"))) as server:
        transport = await connect_to(server.url)
        for _ in range(3):
            reply = await send(transport)
            assert (reply.status, reply.body) == (404, b'{"message":"no"}')
        assert len(server.peers) == 1


async def test_error_that_breaks_off_still_tells_its_status(connect_to: Opener) -> None:
    async with serving(pieces(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n\r\nhalf", b"")) as server:
        reply = await send(await connect_to(server.url))
        assert (reply.status, reply.body) == (503, b"half")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_statuses_without_a_body_have_none(connect_to: Opener, status: str) -> None:
    data = f"HTTP/1.1 {status}\r\nX-A: b\r\n\r\n".encode()
    async with serving(always(data)) as server:
        transport = await connect_to(server.url)
        for _ in range(2):
            reply = await send(transport)
            assert (str(reply.status), reply.body) == (status[:3], b"")
        assert len(server.peers) == 1


INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize("pause", [0, 0.02])
async def test_interim_answers_are_passed_over(connect_to: Opener, pause: float) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            for piece in (*INTERIM, answer()):
                await peer.send(piece)
                await asyncio.sleep(pause)

    async with serving(script) as server:
        transport = await connect_to(server.url)
        for _ in range(2):
            assert (await send(transport)).body == BODY
        assert len(server.peers) == 1


async def test_endless_interim_answers_end_with_the_watch(connect_to: Opener) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        while not peer.writer.transport.is_closing():
            await peer.send(INTERIM[0] * 50)
            await asyncio.sleep(0.001)

    async with serving(script) as server:
        transport = await connect_to(server.url)
        call = asyncio.create_task(transport.send(get(), new_watch()))
        await asyncio.sleep(0.1)
        call.cancel()  # as the watchdog does
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(call, 5)


async def test_switch_of_protocols_is_refused(connect_to: Opener) -> None:
    data = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbytes"
    async with serving(pieces(data, pause=0.1)) as server:
        failed = await failure(await connect_to(server.url))
        assert isinstance(failed.error, ProtocolError)
        assert failed.max_retries == 0


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ConnectionLostError),
        (b"HTTP/1.1 200 OK\r\nContent-", ConnectionLostError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", ConnectionLostError),
        (CHUNKED + b"5\r\nhello\r\n", ConnectionLostError),
        (CHUNKED + b"zz\r\n", ProtocolError),
        (b"220 smtp.example.com ESMTP\r\n", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", ProtocolError),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000, ProtocolError),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000, ProtocolError),
    ],
    ids=["none", "head", "length", "chunks", "chunk-size", "no-http", "negative", "two-lengths", "many", "long"],
)
async def test_answer_that_is_cut_or_broken_is_an_error_after_one_request(
    connect_to: Opener, data: bytes, kind: type[StackOneError]
) -> None:
    async with serving(pieces(data)) as server:
        failed = await failure(await connect_to(server.url))
        assert isinstance(failed.error, kind), failed.error
        assert failed.request_sent
        assert sum(len(peer.requests) for peer in server.peers) == 1


async def test_reset_is_a_lost_connection(connect_to: Opener) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with serving(script) as server:
        failed = await failure(await connect_to(server.url))
        assert isinstance(failed.error, ConnectionLostError)
        assert len(server.requests) == 1


async def test_watch_hears_of_the_request_and_of_each_piece(connect_to: Opener) -> None:
    class Counting(Deadline):
        steps = 0

        def progress(self) -> None:
            self.steps += 1
            super().progress()

    script = pieces(CHUNKED, b"2\r\nab\r\n", b"2\r\ncd\r\n", b"0\r\n\r\n", pause=0.05)
    async with serving(script) as server:
        transport = await connect_to(server.url)
        watch = new_watch(Counting)
        await transport.send(get(), watch)
        assert watch.steps >= 3  # the head, two pieces
        assert watch.phase == "read"
