"""The transport of a client that was given none."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
from aioresponses import aioresponses

from stackone_lms import AsyncClient
from stackone_lms.sandbox import Sandbox
from stackone_lms.testing import aioresponses_compat
from stackone_lms.transport import Transport, lean
from stackone_lms.transport import aiohttp_internals as internals
from stackone_lms.transport.aiohttp import AiohttpTransport
from stackone_lms.transport.lean import LeanTransport

from ..conftest import OwnLog


@pytest.fixture
async def sandbox() -> AsyncGenerator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the transports that requests went over, in turn."""
    kinds: list[str] = []

    def noting(kind: type[Transport]) -> Any:
        send = kind.send

        def note(self: Transport, *args: Any) -> Any:
            kinds.append(kind.__name__)
            return send(self, *args)

        return note

    for kind in (AiohttpTransport, LeanTransport):
        monkeypatch.setattr(kind, "send", noting(kind))
    return kinds


def client(sandbox: Sandbox, **options: Any) -> AsyncClient:
    return AsyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url, **options)


@pytest.mark.parametrize("options", [{}, {"transport": "auto"}, {"transport": None}])
async def test_a_client_is_lean(sandbox: Sandbox, sent: list[str], options: dict[str, Any]) -> None:
    async with client(sandbox, **options) as c:
        await c.users.list(max_items=1).collect()
    assert sent == ["LeanTransport"]


async def test_a_given_session_is_used(sandbox: Sandbox, sent: list[str]) -> None:
    async with aiohttp.ClientSession() as session, client(sandbox, session=session) as c:
        await c.users.list(max_items=1).collect()
    assert sent == ["AiohttpTransport"]


async def test_a_mock_begun_and_ended_in_the_middle(sandbox: Sandbox, sent: list[str]) -> None:
    """Whatever the client did before, a mock sees its requests while it lasts, and only then."""
    id = sandbox.ids("completions")[0]
    async with client(sandbox) as c:
        assert (await c.completions.get(id)).data.id == id
        mock: Any
        with aioresponses_compat(), aioresponses() as mock:
            mock.get(f"{sandbox.url}/unified/lms/completions/mocked", payload={"data": {"id": "mocked"}})
            assert (await c.completions.get("mocked")).data.id == "mocked"
        assert (await c.completions.get(id)).data.id == id
    assert sent == ["LeanTransport", "AiohttpTransport", "LeanTransport"]


@pytest.mark.thorough
async def test_tracing_added_to_every_session_sees_the_requests(
    sandbox: Sandbox, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenTelemetry and Sentry do it: they wrap the constructor of sessions."""
    seen: list[str] = []
    tracing = aiohttp.TraceConfig()

    async def note(_session: Any, _context: Any, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.url.path)

    tracing.on_request_start.append(note)
    init = aiohttp.ClientSession.__init__

    def traced(self: aiohttp.ClientSession, **options: Any) -> None:
        init(self, **options, trace_configs=[tracing])

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", traced)
    async with client(sandbox) as c:
        await c.users.list(max_items=1).collect()
    assert seen == ["/unified/lms/users"]
    assert sent == ["AiohttpTransport"]


async def test_a_middleware_added_to_every_session_sees_the_requests(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append(request.url.path)
        return await handler(request)

    init = aiohttp.ClientSession.__init__

    def extended(self: aiohttp.ClientSession, **options: Any) -> None:
        init(self, **options, middlewares=(note,))

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", extended)
    async with client(sandbox) as c:
        await c.users.list(max_items=1).collect()
    assert seen == ["/unified/lms/users"]


async def test_a_replaced_class_or_public_method_sees_the_requests(
    sandbox: Sandbox, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `unittest.mock.patch` does it."""
    seen: list[str] = []
    request = aiohttp.ClientSession.request

    def note(self: aiohttp.ClientSession, method: str, url: Any, **options: Any) -> Any:
        seen.append(method)
        return request(self, method, url, **options)

    def made(**options: Any) -> aiohttp.ClientSession:
        seen.append("session")
        return session(**options)

    session = aiohttp.ClientSession
    async with client(sandbox) as c:
        with monkeypatch.context() as patch:
            patch.setattr(aiohttp.ClientSession, "request", note)
            await c.users.list(max_items=1).collect()
        await c.users.list(max_items=1).collect()
    async with client(sandbox) as c:
        monkeypatch.setattr(aiohttp, "ClientSession", made)
        await c.users.list(max_items=1).collect()
    assert seen == ["GET", "session"]
    assert sent == ["AiohttpTransport", "LeanTransport", "AiohttpTransport"]


async def test_an_unknown_aiohttp_is_used_by_its_public_names(
    sandbox: Sandbox,
    sent: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    own_log: OwnLog,
) -> None:
    """The log says why, once."""
    monkeypatch.setattr(internals, "UNUSABLE", "aiohttp 9 is not known")
    with caplog.at_level(logging.WARNING, "stackone_lms"):
        for _ in range(2):
            async with client(sandbox) as c:
                await c.users.list(max_items=1).collect()
    lean._told.discard("aiohttp 9 is not known")  # pyright: ignore[reportPrivateUsage]
    assert sent == ["AiohttpTransport"] * 2
    assert [record.getMessage() for record in own_log()] == ["the lean transport is not used: aiohttp 9 is not known"]


async def test_both_are_closed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the first of them fails to."""
    closed: list[str] = []
    lean_close, session_close = LeanTransport.close, AiohttpTransport.close

    async def failing(self: LeanTransport) -> None:
        await lean_close(self)
        closed.append("lean")
        raise OSError("no")

    async def noted(self: AiohttpTransport) -> None:
        await session_close(self)
        closed.append("session")

    monkeypatch.setattr(LeanTransport, "close", failing)
    monkeypatch.setattr(AiohttpTransport, "close", noted)
    c = client(sandbox)
    await c.users.list(max_items=1).collect()
    with monkeypatch.context() as patch:
        patch.setattr(internals, "session_replaced", lambda: True)
        await c.users.list(max_items=1).collect()
    with pytest.raises(OSError, match="no"):
        await c.aclose()
    assert closed == ["lean", "session"]
