"""A server of scripts over raw sockets, and a proxy that only tunnels."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

BODY = b'{"data":{"id":"x"}}'


@dataclass
class Received:
    """One request, as its bytes came."""

    line: bytes
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Peer:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.requests: list[Received] = []
        self.gone = asyncio.Event()
        """Set when the client has hung up."""

    async def request(self) -> Received | None:
        """Read one request; None if the client hangs up instead."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
            return None
        line, *rows = head[:-4].split(b"\r\n")
        pairs = [row.decode().split(": ", 1) for row in rows]
        received = Received(line, [(name, value) for name, value in pairs], b"")
        received.body = await self.reader.readexactly(int(received.header("content-length") or 0))
        self.requests.append(received)
        return received

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def wait_until_gone(self) -> None:
        """Read on until the client has hung up."""
        with suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass
        self.gone.set()

    def reset(self) -> None:
        """Hang up at once."""
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Server:
    """Where the server is, and who has been there."""

    url: str
    port: int
    peers: list[Peer] = field(default_factory=list[Peer])

    @property
    def requests(self) -> list[Received]:
        return [request for peer in self.peers for request in peer.requests]


def answer(body: bytes = BODY, status: str = "200 OK", *headers: str) -> bytes:
    rows = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*rows, "", ""]).encode() + body


def always(data: bytes) -> Script:
    """Answer every request of a connection with `data`."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(data)

    return script


@asynccontextmanager
async def serving(script: Script, *, context: ssl.SSLContext | None = None) -> AsyncGenerator[Server]:
    """Run `script` for each connection; an exception in it fails the test."""
    server: Server
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        server.peers.append(peer)
        try:
            await script(peer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(talk(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    scheme, name = ("https", "localhost") if context else ("http", "127.0.0.1")
    server = Server(f"{scheme}://{name}:{port}", port)
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            peer.reset()
        for task in tasks:
            if not task.done():
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
    failures = [o for o in outcomes if isinstance(o, Exception) and not isinstance(o, ConnectionError)]
    assert not failures, failures


@dataclass
class Proxy:
    """Where a proxy is, and the heads of the requests that it got."""

    url: str
    heads: list[bytes] = field(default_factory=list[bytes])


@asynccontextmanager
async def tunnelling(*, refusing: bytes = b"", context: ssl.SSLContext | None = None) -> AsyncGenerator[Proxy]:
    """Run a proxy that connects to where it is told, or answers `refusing`."""
    proxy: Proxy
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        proxy.heads.append(head)
        if refusing:
            writer.write(refusing)
            writer.close()
            return
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            for end in (back, writer):
                end.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(talk(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    proxy = Proxy(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    try:
        yield proxy
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
                await task
        await asyncio.sleep(0)
