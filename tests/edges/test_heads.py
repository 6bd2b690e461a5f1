"""Answers with large heads: read up to a limit, and beyond it told which one it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import ProtocolError
from tests.transport.server import BODY, always, serving

TRANSPORTS = pytest.mark.parametrize("transport", ["lean", "aiohttp"])
LONGEST, MOST = 32 * 1024, 256

pytestmark = pytest.mark.parser


def head(*headers: str) -> bytes:
    rows = ["HTTP/1.1 200 OK", f"Content-Length: {len(BODY)}", *headers, "", ""]
    return "\r\n".join(rows).encode() + BODY


def header_of(length: int) -> str:
    return "X-Long: " + "y" * (length - len("X-Long: "))


@asynccontextmanager
async def asking(data: bytes, **options: Any) -> AsyncGenerator[AsyncClient]:
    async with serving(always(data)) as server, AsyncClient("key", "a", base_url=server.url, **options) as client:
        yield client


@TRANSPORTS
@pytest.mark.parametrize("headers", [1, 8])
async def test_headers_up_to_32_kib_are_read(transport: Any, headers: int) -> None:
    async with asking(head(*[header_of(LONGEST)] * headers), transport=transport) as client:
        for _ in range(2):
            answer = await client.users.get("x")
            assert len(answer.response.headers["x-long"]) == LONGEST - len("X-Long: ")


@TRANSPORTS
async def test_so_is_a_long_status_line(transport: Any) -> None:
    data = head().replace(b" OK", b" OK" + b"!" * (LONGEST - 100), 1)
    async with asking(data, transport=transport) as client:
        await client.users.get("x")


@TRANSPORTS
async def test_256_headers_are_read(transport: Any) -> None:
    async with asking(head(*(f"X-{n}: y" for n in range(MOST - 1))), transport=transport) as client:
        for _ in range(2):
            assert (await client.users.get("x")).response.headers["x-254"] == "y"


TOO_LARGE = {
    "header": (head(header_of(LONGEST + 100)), "a header of the answer is longer than 32 KiB"),
    "name": (head("X" * (LONGEST + 100) + ": y"), "a header of the answer is longer than 32 KiB"),
    "unended": (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2 * LONGEST, "a header of the answer is longer than 32 KiB"),
    "count": (head(*(f"X-{n}: y" for n in range(MOST + 10))), "the answer has more headers than 256"),
}


@TRANSPORTS
@pytest.mark.parametrize("what", TOO_LARGE)
async def test_beyond_a_limit_the_message_says_which(transport: Any, what: str) -> None:
    data, message = TOO_LARGE[what]
    async with asking(data, transport=transport) as client:
        with pytest.raises(ProtocolError) as caught:
            await client.users.get("x")
    assert message in str(caught.value)
    assert caught.value.attempts == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (head(header_of(LONGEST)), "longer than 8190 bytes (max_field_size of the session)"),
        (head(*(f"X-{n}: y" for n in range(MOST - 1))), "more headers than its session reads (max_headers)"),
    ],
    ids=["header", "count"],
)
async def test_a_session_of_the_callers_has_limits_of_its_own(data: bytes, message: str) -> None:
    async with aiohttp.ClientSession() as session, asking(data, session=session) as client:
        with pytest.raises(ProtocolError) as caught:
            await client.users.get("x")
    assert message in str(caught.value)
    larger = aiohttp.ClientSession(max_line_size=LONGEST, max_field_size=LONGEST, max_headers=MOST + 2)
    async with larger as session, asking(data, session=session) as client:
        await client.users.get("x")


@TRANSPORTS
async def test_what_is_no_http_is_still_called_so(transport: Any) -> None:
    async with asking(b"220 mail.example ESMTP\r\n\r\n", transport=transport) as client:
        with pytest.raises(ProtocolError, match="not valid HTTP"):
            await client.users.get("x")
