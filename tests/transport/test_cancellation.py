"""A request that is cancelled closes its connection, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket

import pytest

from stackone_lms.transport import Transport

from .conftest import Opener, get, new_watch, post, send
from .server import BODY, Peer, Script, always, answer, serving


async def begun(transport: Transport, data: bytes | None = None) -> asyncio.Task[object]:
    request = get() if data is None else post(data)
    task: asyncio.Task[object] = asyncio.create_task(transport.send(request, new_watch()))
    await asyncio.sleep(0)
    return task


async def cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


def stopping_after(*data: bytes) -> Script:
    """Write `data` to the first connection and wait for its end; answer the others."""
    seen = 0

    async def script(peer: Peer) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            await always(answer())(peer)
            return
        await peer.request()
        for piece in data:
            await peer.send(piece)
        await peer.wait_until_gone()

    return script


@pytest.mark.parametrize(
    "data",
    [
        (),
        (b"HTTP/1.1 100 Continue\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\nhalf",),
    ],
    ids=["answer", "interim", "head", "body", "rest-of-body", "chunk", "error-body"],
)
async def test_cancelled_while_waiting_for_the(connect_to: Opener, data: tuple[bytes, ...]) -> None:
    async with serving(stopping_after(*data)) as server:
        transport = await connect_to(server.url)
        task = await begun(transport)
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await cancelled(task)
        await asyncio.wait_for(server.peers[0].gone.wait(), 5)
        assert (await send(transport)).body == BODY
        assert len(server.peers) == 2


async def test_cancelled_while_writing_a_body(connect_to: Opener) -> None:
    begun_reading = asyncio.Event()

    async def script(peer: Peer) -> None:
        if len(server.peers) > 1:
            await always(answer())(peer)
            return
        await peer.reader.readuntil(b"\r\n\r\n")
        begun_reading.set()
        await asyncio.sleep(0.2)
        await peer.wait_until_gone()

    async with serving(script) as server:
        transport = await connect_to(server.url)
        task = await begun(transport, b"x" * 30_000_000)
        await asyncio.wait_for(begun_reading.wait(), 5)
        await cancelled(task)
        await asyncio.wait_for(server.peers[0].gone.wait(), 5)
        assert (await send(transport)).body == BODY


async def test_cancelled_in_each_turn_of_the_loop(connect_to: Opener) -> None:
    """Whatever the moment, the next request is answered, and no more connections are open than are in use."""
    open_now = 0

    async def script(peer: Peer) -> None:
        nonlocal open_now
        open_now += 1
        try:
            await always(answer())(peer)
        finally:
            open_now -= 1

    async with serving(script) as server:
        transport = await connect_to(server.url)
        for turns in [*range(12), *range(12)]:
            task = await begun(transport)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert (await send(transport)).body == BODY
        async with asyncio.timeout(5):
            while open_now > 1:
                await asyncio.sleep(0.01)


async def test_cancelled_while_connecting(connect_to: Opener) -> None:
    # A socket that listens with a full queue neither accepts nor refuses.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            transport = await connect_to(f"http://127.0.0.1:{port}")
            task = await begun(transport)
            await asyncio.sleep(0.05)
            assert not task.done()
            await cancelled(task)
        finally:
            for filler in fillers:
                filler.close()


async def test_one_of_many_is_cancelled_alone(connect_to: Opener) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await asyncio.sleep(0.05)
            await peer.send(answer())

    async with serving(script) as server:
        transport = await connect_to(server.url)
        tasks = [await begun(transport) for _ in range(8)]
        await asyncio.sleep(0.02)
        await cancelled(tasks[3])
        others = tasks[:3] + tasks[4:]
        for reply in await asyncio.gather(*others):
            assert getattr(reply, "body", None) == BODY
        assert sum(peer.gone.is_set() for peer in server.peers) <= 1
