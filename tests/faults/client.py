"""The raw client of the fault server's own tests."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import io
import json
import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast
from urllib.parse import urlsplit

from .server import FaultServer

PATH = "/unified/lms/completions/"
_GOOD_BODY = b'{"data":{"id":"%b","remote_id":"remote %b","updated_at":"2021-07-21T14:00:00.000Z"},"raw":null}'
GOOD_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"x-request-id: request-of-the-fault-server\r\ncontent-length: %d\r\n\r\n"
)


def body(id: bytes) -> bytes:
    return _GOOD_BODY % (id, id)


def good(id: bytes) -> bytes:
    return GOOD_HEAD % len(body(id)) + body(id)


class Client:
    """A connection, and all the bytes that came over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.got = bytearray()
        """What `rest` has read."""

    def ask(self, target: str, method: str = "GET", *lines: str, body: str = "") -> None:
        rows = [f"{method} {target} HTTP/1.1", "Host: here", *lines]
        rows += [f"Content-Length: {len(body)}"] if body else []
        self.writer.write("".join(row + "\r\n" for row in rows).encode("latin-1") + b"\r\n" + body.encode())

    async def answer(self) -> tuple[int, bytes]:
        """Read one well-formed answer with a Content-Length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: ([0-9]+)", head)
        assert length is not None
        return int(head[9:12]), await self.reader.readexactly(int(length[1]))

    async def rest(self, most: int = 2**30) -> tuple[bytes, str]:
        """Read up to the end, or up to `most` bytes; return the bytes and how it ended."""
        while len(self.got) < most:
            try:
                piece = await self.reader.read(65_536)
            except ConnectionResetError:
                return bytes(self.got), "rst"
            if not piece:
                return bytes(self.got), "fin"
            self.got += piece
        return bytes(self.got), "most"


@asynccontextmanager
async def connected(server: FaultServer, context: ssl.SSLContext | None = None) -> AsyncGenerator[Client]:
    url = urlsplit(server.url)
    async with asyncio.timeout(5):
        client = Client(*await asyncio.open_connection(url.hostname, url.port, ssl=context))
        try:
            yield client
        finally:
            client.writer.transport.abort()
            with suppress(ConnectionError):
                await client.writer.wait_closed()


async def fetch(server: FaultServer, base: str, id: str = "x", most: int = 2**30) -> tuple[bytes, str]:
    """Ask for a completion over a connection of its own."""
    async with connected(server) as client:
        client.ask(f"/f/{base}{PATH}{id}")
        return await client.rest(most)


class _Wire:
    """The least that http.client wants of a socket."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


def understood(raw: bytes) -> Any:
    """Decode an answer by the standard library's client."""
    while raw.startswith(b"HTTP/1.1 1"):
        raw = raw.partition(b"\r\n\r\n")[2]
    response = http.client.HTTPResponse(cast("Any", _Wire(raw)))
    response.begin()
    assert response.status == 200
    body = response.read()
    return json.loads(
        gzip.decompress(body) if response.getheader("content-encoding") == "gzip" else body, parse_int=str
    )
