"""The way of a call through the package: how many modules it passes, and how often it comes back to one."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import stackone_lms
from stackone_lms import AsyncClient
from stackone_lms.transport.aiohttp_internals import UNUSABLE

ROOT = Path(stackone_lms.__file__).parent
BODY = b'{"data":{"id":"%s","status":"completed","completed_at":"2026-01-31T09:00:00.000Z","content_id":"c"}}'


async def trace(call: Awaitable[object]) -> list[tuple[str, str]]:
    """Return module and name of each function of the package that begins during a call, in their order.

    A coroutine that goes on after it has waited does not begin.
    """
    frames: dict[int, FrameType] = {}  # held, so that no other one gets the same id
    begun: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and id(frame) not in frames and ROOT in path.parents:
            frames[id(frame)] = frame
            begun.append((path.relative_to(ROOT).as_posix(), frame.f_code.co_name))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        await call
    finally:
        sys.setprofile(before)
    return begun


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection with the record that it asks for, whose id is plain."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = BODY % head.split(b" ", 2)[1].rpartition(b"/")[2].partition(b"?")[0]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    except asyncio.IncompleteReadError:
        writer.close()


@pytest.mark.skipif(UNUSABLE is not None, reason="the lean transport does not know this aiohttp")
async def test_a_call_passes_few_modules_and_none_of_them_often() -> None:
    """Over a connection that is open already, as nearly all calls go."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, AsyncClient("key", "account", base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.completions.get("first")).data.content_id == "c"
        begun = await trace(client.completions.get("second"))
    entries = Counter(module for module, _ in groupby(begun, key=lambda step: step[0]))
    assert ("engine/call.py", "call") in begun
    assert ("transport/lean.py", "send") in begun
    assert len(entries) <= 12, begun
    assert max(entries.values()) <= 2, begun
