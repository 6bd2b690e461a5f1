"""A proxy that misbehaves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Reaction = Callable[[asyncio.StreamWriter], Awaitable[None] | None]
"""What is done to a request of a connection instead of making it."""


@dataclass
class Corporate:
    """A proxy that does something to the first requests, and then tunnels."""

    url: str
    heads: list[bytes] = field(default_factory=list[bytes])
    under_way: int = 0
    most_under_way: int = 0


@asynccontextmanager
async def corporate(*first: Reaction, then_tunnel: bool = True) -> AsyncGenerator[Corporate]:
    """Run a proxy; with `then_tunnel=False` the last of `first` is done to all that follow."""
    proxy: Corporate
    reactions = list(first)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            proxy.heads.append(head)
            proxy.under_way += 1
            proxy.most_under_way = max(proxy.most_under_way, proxy.under_way)
            await asyncio.sleep(0.01)
            proxy.under_way -= 1
            if reactions:
                reaction = reactions.pop(0) if then_tunnel or len(reactions) > 1 else reactions[0]
                going_on = reaction(writer)
                if going_on is not None:
                    await going_on
                return
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            there, back = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                await asyncio.gather(pump(reader, back), pump(there, writer))
            finally:
                back.transport.abort()
                writer.transport.abort()

    async with _listening(talk) as port:
        proxy = Corporate(f"http://127.0.0.1:{port}")
        yield proxy


@asynccontextmanager
async def _listening(talk: Callable[..., Any]) -> AsyncGenerator[int]:
    tasks: set[asyncio.Task[None]] = set()
    listener = await asyncio.start_server(
        lambda reader, writer: tasks.add(asyncio.ensure_future(talk(reader, writer))), "127.0.0.1", 0
    )
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


def says(text: str) -> Reaction:
    def react(writer: asyncio.StreamWriter) -> None:
        writer.write(text.encode())
        writer.close()

    return react


def refusal(status: str) -> Reaction:
    return says(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def keep_silent(writer: asyncio.StreamWriter) -> None:
    """Wait until the proxy ends."""
    try:
        await asyncio.Event().wait()
    finally:
        writer.close()
