"""The session that a client makes for itself: quick while nobody looks, aiohttp's in every way when somebody does."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import BaseConnector, Connection

from stackone_lms.transport import Transport, session
from stackone_lms.transport import aiohttp_internals as private
from stackone_lms.transport.aiohttp import AiohttpTransport
from stackone_lms.transport.session import Prepared

from .conftest import HEADERS, get, requested, send
from .server import BODY, always, answer, serving


def test_installed_aiohttp_can_be_used() -> None:
    assert session.check() is None


def _other(*_: object) -> None:
    """Stands for a function that has become another one."""


@pytest.mark.parametrize(
    ("owner", "name", "told"),
    [
        (aiohttp.ClientSession, "_request", "ClientSession._request"),
        (BaseConnector, "_get", "BaseConnector._get"),
        (BaseConnector, "_release_acquired", "BaseConnector._release_acquired"),
        (aiohttp.ClientResponse, "start", "ClientResponse.start"),
        (session, "_serialize", "_serialize_headers"),
    ],
)
def test_changed_aiohttp_is_noticed(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, told: str) -> None:
    monkeypatch.setattr(owner, name, None if name == "_serialize" else _other)
    assert told in (session.check() or "")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Connection, "release"),
        (ClientRequest, "connection_key"),
        (ClientRequest, "request_info"),
        (ClientRequest, "session"),
        (BaseProtocol, "writing_paused"),
        (aiohttp.ClientResponse, "_body"),
        (aiohttp.ClientResponse, "headers"),
    ],
)
def test_what_a_request_and_its_answer_lack_is_named(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    monkeypatch.delattr(owner, name)
    assert f"has no attribute '{name}'" in (session.check() or "")


def test_what_the_lean_transport_cannot_use_is_not_used_here_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "UNUSABLE", "aiohttp 9 is not known")
    assert session.check() == "aiohttp 9 is not known"


async def test_it_writes_what_aiohttp_would_have_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(always(answer())) as server:
        quick = await requested(server)
        monkeypatch.setattr(session, "UNUSABLE", "aiohttp 9 is not known")
        plain = await requested(server)
    assert [(each.line, sorted(each.headers)) for each in quick] == [
        (each.line, sorted(each.headers)) for each in plain
    ]
    assert {"Host", *HEADERS} == {name for name, _ in quick[0].headers}


async def test_prepared_headers_are_not_changed_by_a_request_on_a_connection_of_its_own() -> None:
    async with serving(always(answer())) as server:
        transport = AiohttpTransport(server.url)
        await transport.open()
        for fresh in (False, True, False):
            await send(transport, get(new_connection=fresh))
        await transport.close()
    told = [[each.header("connection") for each in peer.requests] for peer in server.peers]
    assert told == [[None, None], ["close"]]


def test_prepared_headers_show_nothing() -> None:
    headers = Prepared({"Host": "x", "Authorization": "Basic canary"})
    assert "canary" not in f"{headers!r} {headers} {headers.written!r} {vars(headers)}"
    assert b"Authorization: Basic canary\r\n" in bytes(headers.written)


async def test_it_does_without_what_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "UNUSABLE", "aiohttp 9 is not known")
    async with serving(always(answer())) as server:
        transport: Transport = AiohttpTransport(server.url)
        await transport.open()
        for _ in range(3):
            assert (await send(transport)).body == BODY
        await transport.close()
    assert [len(peer.requests) for peer in server.peers] == [3]
