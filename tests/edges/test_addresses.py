"""Servers that have no name but an address."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from stackone_lms import AsyncClient
from tests.transport.server import answer


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="there is no IPv6 here")
@pytest.mark.parametrize("way", ["lean", "aiohttp", "session"])
async def test_an_ipv6_address_keeps_its_brackets(way: Any) -> None:
    hosts: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        hosts.extend(line.split(" ", 1)[1] for line in head.split("\r\n") if line.lower().startswith("host:"))
        writer.write(answer())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession() as session:
        options: dict[str, Any] = {"session": session} if way == "session" else {"transport": way}
        async with AsyncClient("key", "a", base_url=f"http://[::1]:{port}", **options) as client:
            assert (await client.users.get("x")).data.id == "x"
    assert hosts == [f"[::1]:{port}"]
