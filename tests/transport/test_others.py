"""What others put into sessions, or in the place of their methods: it is all carried out, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import weakref
from collections.abc import Callable
from typing import Any

import aiohttp
import psutil
import pytest

from stackone_lms import AsyncClient, Timeout
from stackone_lms.transport.aiohttp import AiohttpTransport

from .conftest import HEADERS, KINDS, Opener, get, post, requested, send
from .server import BODY, Peer, always, answer, serving

Add = Callable[..., None]


async def test_a_middleware_may_send_requests_of_its_own(every_session: Callable[..., None]) -> None:
    async def authorise(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if request.url.path != "/token":
            async with request.session.get(request.url.with_path("/token")) as told:
                request.headers["X-Token"] = json.loads(await told.read())["data"]["id"]
        return await handler(request)

    every_session(middlewares=(authorise,))
    async with serving(always(answer())) as server:
        await requested(server, 1)
    first, second = server.requests
    assert first.line == b"GET /token HTTP/1.1"
    assert first.header("host") == server.url.removeprefix("http://")
    assert first.header("authorization") is None
    assert second.header("x-token") == "x"


async def test_headers_added_to_every_session_are_sent(every_session: Callable[..., None]) -> None:
    every_session(headers={"X-Added": "yes"})
    async with serving(always(answer())) as server:
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
    async with serving(always(answer())) as server:
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
    async with serving(always(answer())) as server:
        await requested(server, 1)
    assert len(seen) == 1


async def slow(peer: Peer) -> None:
    """Answer, after more than the client may take to connect."""
    while await peer.request():
        await asyncio.sleep(0.7)
        await peer.send(answer())


async def _at_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    return await handler(request)


async def _in_a_task(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    steps: Any = handler(request)
    task: asyncio.Task[aiohttp.ClientResponse] = asyncio.create_task(steps, context=contextvars.Context())
    return await task


@pytest.mark.parametrize("way", ["alone", "in-a-task", "with-another-client", "one-context"])
async def test_a_write_is_sent_once_however_a_middleware_goes_about_it(every_session: Add, way: str) -> None:
    """The wait for an answer is never taken for the wait for a connection, after which a write could be sent again."""
    async with serving(always(answer())) as elsewhere, serving(slow) as server:
        other = AsyncClient("key", "other", base_url=elsewhere.url, transport="aiohttp")

        async def ask(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            if request.url.port == server.port:
                await other.users.get("x")
            return await handler(request)

        middleware: Any = {"in-a-task": _in_a_task, "with-another-client": ask}.get(way, _at_once)
        every_session(middlewares=(middleware,))
        limits = Timeout(connect=0.3, read=20, attempt=20, total=20)
        client = AsyncClient("key", "a", base_url=server.url, transport="aiohttp", timeout=limits)
        context = contextvars.copy_context() if way == "one-context" else None
        async with other, client:
            calls = [
                asyncio.create_task(
                    client.users.completions.create("u", learning_object_external_reference="c"), context=context
                )
                for _ in range(3)
            ]
            await asyncio.wait(calls)
        assert len(server.requests) == 3


@pytest.mark.parametrize("kind", KINDS)
async def test_a_finished_task_is_not_kept(kind: str) -> None:
    """Nor what it returned: not even until the garbage collector comes."""

    class Result:
        pass

    async with serving(always(answer())) as server:
        transport = KINDS[kind](server.url)
        await transport.open()

        async def work() -> Result:
            await send(transport)
            return Result()

        gc.collect()
        gc.disable()
        try:
            left = [weakref.ref(await asyncio.create_task(work())) for _ in range(5)]
            await asyncio.sleep(0)
            assert [each() for each in left] == [None] * 5
        finally:
            gc.enable()
        await transport.close()


def _header(options: dict[str, Any]) -> None:
    options["headers"]["X-Added"] = "yes"


def _one_more(options: dict[str, Any]) -> None:
    options["headers"].add("X-Added", "yes")


def _copy(options: dict[str, Any]) -> None:
    options["headers"] = options["headers"].copy()
    _header(options)


def _middleware(options: dict[str, Any]) -> None:
    async def add(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["X-Added"] = "yes"
        return await handler(request)

    options["middlewares"] = (add,)


def _query(options: dict[str, Any]) -> None:
    options["params"] = {"added": "yes"}


def _cookie(options: dict[str, Any]) -> None:
    options["cookies"] = {"added": "yes"}


@pytest.mark.parametrize("request_of", [get, lambda: post(b"{}")], ids=["get", "post"])
@pytest.mark.parametrize("change", [_header, _one_more, _copy, _middleware, _query, _cookie])
async def test_what_a_replaced_method_changes_is_sent(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, Any]], None],
    request_of: Callable[[], Any],
) -> None:
    """Once for each request: nothing that it is given is given to the next."""
    ask: Any = aiohttp.ClientSession._request  # pyright: ignore[reportPrivateUsage]

    async def replaced(self: Any, method: str, url: Any, **options: Any) -> Any:
        change(options)
        return await ask(self, method, url, **options)

    async with serving(always(answer())) as server:
        transport = AiohttpTransport(server.url)
        await transport.open()
        await send(transport, request_of())  # what was prepared before is not used any more
        monkeypatch.setattr(aiohttp.ClientSession, "_request", replaced)
        for _ in range(2):
            assert (await send(transport, request_of())).body == BODY
        await transport.close()
    for received in server.requests[1:]:
        told = [value for name, value in received.headers if name == "X-Added"]
        told += [f"cookie {value}" for name, value in received.headers if name == "Cookie"]
        told += ["query"] * received.line.count(b"?added=yes ")
        assert told in (["yes"], ["cookie added=yes"], ["query"])
        assert received.header("user-agent") == HEADERS["User-Agent"]


async def test_time_limits_of_a_replaced_method_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    ask: Any = aiohttp.ClientSession._request  # pyright: ignore[reportPrivateUsage]

    async def replaced(self: Any, method: str, url: Any, **options: Any) -> Any:
        return await ask(self, method, url, **{**options, "timeout": aiohttp.ClientTimeout(sock_read=0.1)})

    monkeypatch.setattr(aiohttp.ClientSession, "_request", replaced)
    async with serving(slow) as server:
        transport = AiohttpTransport(server.url)
        await transport.open()
        with pytest.raises(Exception, match="APITimeoutError"):
            await send(transport)
        await transport.close()


async def test_a_cookie_jar_and_a_version_given_to_every_session_are_used() -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    init = aiohttp.ClientSession.__init__

    def extended(self: aiohttp.ClientSession, **options: Any) -> None:
        changed: dict[str, Any] = {**options, "cookie_jar": jar, "version": aiohttp.HttpVersion10}
        init(self, **changed)

    async with serving(always(answer(BODY, "200 OK", "Set-Cookie: a=b"))) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aiohttp.ClientSession, "__init__", extended)
            _, second = await requested(server)
    assert second.line.endswith(b"HTTP/1.0")
    assert second.header("cookie") == "a=b"


async def _reads(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    response = await handler(request)
    assert await response.read() == BODY
    return response


def _tracing() -> aiohttp.TraceConfig:
    async def read(_session: Any, _context: Any, told: aiohttp.TraceRequestEndParams) -> None:
        assert await told.response.text() == BODY.decode()

    tracing = aiohttp.TraceConfig()
    tracing.on_request_end.append(read)
    return tracing


@pytest.mark.parametrize("own", [True, False], ids=["our-session", "their-session"])
@pytest.mark.parametrize("kind", ["middlewares", "trace_configs"])
async def test_a_body_that_was_read_by_others_is_there(every_session: Add, kind: str, own: bool) -> None:
    """As programs do that log what comes."""
    added: Any = {kind: (_reads,) if kind == "middlewares" else [_tracing()]}
    async with serving(always(answer())) as server:
        if own:
            every_session(**added)
            await requested(server)
            return
        async with aiohttp.ClientSession(**added) as theirs:
            transport = AiohttpTransport(server.url, session=theirs)
            await transport.open()
            assert (await send(transport)).body == BODY
            await transport.close()


async def test_requests_of_a_middleware_on_the_same_connection_are_read_as_they_ask(every_session: Add) -> None:
    """A HEAD has no body, whatever it declares; a time limit is theirs alone, and starts anew with each byte."""
    brief = aiohttp.ClientTimeout(total=None, sock_read=0.3)
    asked: list[str] = []

    async def ask(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if request.url.path != "/token" and not asked:
            asked.append("")
            async with request.session.head(request.url.with_path("/token")):
                pass
            async with request.session.get(request.url.with_path("/token"), timeout=brief) as told:
                asked.append(json.loads(await told.read())["data"]["id"])
            await asyncio.sleep(0.4)
        return await handler(request)

    async def script(peer: Peer) -> None:
        while received := await peer.request():
            if received.line.startswith(b"HEAD"):
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n")
            elif b"/token" in received.line:
                whole = answer()
                for part in (whole[:-10], whole[-10:-5], whole[-5:]):
                    await asyncio.sleep(0.15)
                    await peer.send(part)
            else:
                await peer.send(answer())

    every_session(middlewares=(ask,))
    async with serving(script) as server:
        await requested(server, 3)
    assert asked == ["", "x"]
    assert [len(peer.requests) for peer in server.peers] == [5]


async def test_a_cancelled_upload_gives_its_socket_back_at_once(connect_to: Opener) -> None:
    """What nobody wants any more is not sent on, however long the server takes to read it."""
    began, over = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        began.set()
        await over.wait()  # and reads no more, so that the client's buffers fill

    process = psutil.Process()
    async with serving(script) as server:
        transport = await connect_to(server.url)
        sending = asyncio.create_task(send(transport, post(b"x" * 20_000_000)))
        await asyncio.wait_for(began.wait(), 10)
        await asyncio.sleep(0.1)
        before = process.num_fds()
        sending.cancel()
        await asyncio.wait([sending])
        async with asyncio.timeout(20):
            while process.num_fds() >= before:
                await asyncio.sleep(0.01)
        over.set()
    assert sending.cancelled()


async def test_after_close_nothing_is_sent(connect_to: Opener) -> None:
    async with serving(always(answer())) as server:
        transport = await connect_to(server.url)
        await transport.close()
        for fresh in (False, True):
            with pytest.raises(Exception, match="ClientClosedError"):
                await send(transport, get(new_connection=fresh))
        assert not server.peers
