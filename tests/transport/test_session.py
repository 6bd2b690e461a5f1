"""The session that a client makes for itself: quick while nobody looks, aiohttp's in every way when somebody does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import BaseConnector, Connection

from stackone_lms.transport import Transport, private, session
from stackone_lms.transport.aiohttp import AiohttpTransport
from stackone_lms.transport.session import Prepared

from .conftest import HEADERS, exchange, get
from .server import BODY, Peer, Received, Server, answer, serving


async def always(peer: Peer) -> None:
    while await peer.request():
        await peer.send(answer())


async def requested(server: Server, count: int = 2) -> list[Received]:
    """Return what so many requests over one transport look like to a server."""
    transport = AiohttpTransport(server.url)
    await transport.open()
    try:
        for _ in range(count):
            assert (await exchange(transport)).body == BODY
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


def test_installed_aiohttp_can_be_used() -> None:
    assert session.check() is None


def _other(*_: object) -> None:
    """Stands for a function that has become another one."""


@pytest.mark.parametrize(
    ("owner", "name", "told"),
    [
        (aiohttp.ClientSession, "_request", "ClientSession._request"),
        (aiohttp.ClientSession, "__init__", "ClientSession.__init__"),
        (BaseConnector, "_get", "BaseConnector._get"),
        (BaseConnector, "_release_acquired", "BaseConnector._release_acquired"),
        (Connection, "release", "Connection.release"),
        (ClientRequest, "__init__", "ClientRequest.__init__"),
        (aiohttp.ClientResponse, "start", "ClientResponse.start"),
        (session, "_serialize", "_serialize_headers"),
        (session, "_PARAMETERS", "unheard_of= of ClientRequest"),
    ],
)
def test_changed_aiohttp_is_noticed(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, told: str) -> None:
    stand_in: Any = {"_serialize": None, "_PARAMETERS": {"unheard_of"}}.get(name, _other)
    monkeypatch.setattr(owner, name, stand_in)
    assert told in (session.check() or "")


def test_what_the_lean_transport_cannot_use_is_not_used_here_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "UNUSABLE", "aiohttp 9 is not known")
    assert session.check() == "aiohttp 9 is not known"


async def test_it_writes_what_aiohttp_would_have_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(always) as server:
        quick = await requested(server)
        monkeypatch.setattr(session, "UNUSABLE", "aiohttp 9 is not known")
        plain = await requested(server)
    assert [(each.line, sorted(each.headers)) for each in quick] == [
        (each.line, sorted(each.headers)) for each in plain
    ]
    assert {"Host", *HEADERS} == {name for name, _ in quick[0].headers}


async def test_prepared_headers_are_not_changed_by_a_request_on_a_connection_of_its_own() -> None:
    async with serving(always) as server:
        transport = AiohttpTransport(server.url)
        await transport.open()
        for fresh in (False, True, False):
            await exchange(transport, get(fresh=fresh))
        await transport.close()
    told = [[each.header("connection") for each in peer.requests] for peer in server.peers]
    assert told == [[None, None], ["close"]]


def test_prepared_headers_show_nothing() -> None:
    headers = Prepared({"Host": "x", "Authorization": "Basic canary"})
    assert "canary" not in f"{headers!r} {headers} {headers.written!r} {vars(headers)}"
    assert b"Authorization: Basic canary\r\n" in bytes(headers.written)


async def test_a_middleware_may_send_requests_of_its_own(every_session: Callable[..., None]) -> None:
    async def authorise(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if request.url.path != "/token":
            async with request.session.get(request.url.with_path("/token")) as told:
                request.headers["X-Token"] = json.loads(await told.read())["data"]["id"]
        return await handler(request)

    every_session(middlewares=(authorise,))
    async with serving(always) as server:
        await requested(server, 1)
    first, second = server.requests
    assert first.line == b"GET /token HTTP/1.1"
    assert first.header("host") == server.url.removeprefix("http://")
    assert first.header("authorization") is None
    assert second.header("x-token") == "x"


async def test_headers_added_to_every_session_are_sent(every_session: Callable[..., None]) -> None:
    every_session(headers={"X-Added": "yes"})
    async with serving(always) as server:
        (received,) = await requested(server, 1)
    assert received.header("x-added") == "yes"
    assert received.header("user-agent") == HEADERS["User-Agent"]


async def test_tracing_sees_every_step(every_session: Callable[..., None]) -> None:
    steps: list[str] = []
    tracing = aiohttp.TraceConfig()

    def note(name: str) -> Any:
        async def step(*_: Any) -> None:
            steps.append(name)

        return step

    for name in (
        "request_start",
        "connection_create_end",
        "connection_reuseconn",
        "request_headers_sent",
        "request_end",
    ):
        getattr(tracing, f"on_{name}").append(note(name))
    every_session(trace_configs=[tracing])
    async with serving(always) as server:
        await requested(server)
    rest = ["request_headers_sent", "request_end"]
    assert steps == ["request_start", "connection_create_end", *rest, "request_start", "connection_reuseconn", *rest]


async def test_a_replaced_request_method_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    request = aiohttp.ClientSession.request

    def replaced(self: aiohttp.ClientSession, method: str, url: Any, **options: Any) -> Any:
        seen.append(str(url))
        return request(self, method, url, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "request", replaced)
    async with serving(always) as server:
        await requested(server, 1)
    assert len(seen) == 1


async def test_it_does_without_what_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "UNUSABLE", "aiohttp 9 is not known")
    async with serving(always) as server:
        transport: Transport = AiohttpTransport(server.url)
        await transport.open()
        for _ in range(3):
            assert (await exchange(transport)).body == BODY
        await transport.close()
    assert [len(peer.requests) for peer in server.peers] == [3]
