"""Both transports, for every test."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

import aiohttp
import pytest

from stackone_lms.engine.deadlines import Deadline, DeadlineTimer
from stackone_lms.transport import Request, Response, Secret, Transport
from stackone_lms.transport.aiohttp import AiohttpTransport
from stackone_lms.transport.lean import LeanTransport
from stackone_lms.transport.proxies import Proxy

from .server import BODY, Received, Server

HEADERS = {
    "Authorization": Secret("Basic a2V5Og=="),
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": "tests",
    "x-account-id": Secret("account"),
}
BODY_HEADERS = {**HEADERS, "Content-Type": "application/json"}

W = TypeVar("W", bound=Deadline)

KINDS: dict[str, Callable[..., Transport]] = {"aiohttp": AiohttpTransport, "lean": LeanTransport}


class Opener(Protocol):
    """Opens a transport to an origin; it closes after the test."""

    def __call__(
        self, origin: str, *, ssl_context: Callable[[], ssl.SSLContext] | None = ..., proxy: Proxy | None = ...
    ) -> Awaitable[Transport]: ...


@pytest.fixture(params=list(KINDS))
async def connect_to(request: pytest.FixtureRequest) -> AsyncGenerator[Opener]:
    """Return the function that opens a transport; once for each kind of transport."""
    opened: list[Transport] = []

    async def connect_to(origin: str, **options: Any) -> Transport:
        transport = KINDS[request.param](origin, **options)
        await transport.open()
        opened.append(transport)
        return transport

    yield connect_to
    for transport in opened:
        await transport.close()


def get(
    path: str = "/things/x", query: str = "", *, max_body: int = 1_000_000, new_connection: bool = False
) -> Request:
    request = Request("GET", path, query, HEADERS, None, max_body)
    request.new_connection = new_connection
    return request


def post(body: bytes) -> Request:
    return Request("POST", "/things", "", BODY_HEADERS, body, 1_000_000)


def new_watch(kind: type[W] = Deadline) -> W:  # type: ignore[assignment]
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    watch = kind(task, DeadlineTimer(time.monotonic), time.monotonic() + 60)
    watch.attempt(time.monotonic(), time.monotonic() + 60, "total", connect=5, read=10)
    return watch


async def send(transport: Transport, request: Request | None = None) -> Response:
    async with asyncio.timeout(20):
        return await transport.send(request or get(), new_watch())


async def requested(server: Server, count: int = 2) -> list[Received]:
    """Return what so many requests over one transport look like to a server."""
    transport = AiohttpTransport(server.url)
    await transport.open()
    try:
        for _ in range(count):
            assert (await send(transport)).body == BODY
    finally:
        await transport.close()
    return server.requests[-count:]


@pytest.fixture
def every_session(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that adds options to every session that is made, as tracing does."""

    def add(**more: Any) -> None:
        init = aiohttp.ClientSession.__init__

        def extended(self: aiohttp.ClientSession, **options: Any) -> None:
            init(self, **options, **more)

        monkeypatch.setattr(aiohttp.ClientSession, "__init__", extended)

    return add
