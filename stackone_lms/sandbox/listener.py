"""The socket side: the only module of the sandbox that needs aiohttp."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from aiohttp import web

from .app import App, wants_heartbeat
from .problems import Problem
from .recording import Received, ServerResponse

_LARGEST_BODY = 32 * 1024 * 1024
_LONGEST_LINE = 64 * 1024
_GRACE = 0.5


@dataclass(frozen=True, slots=True)
class ResponseTiming:
    """How fast answers are.

    Attributes:
        latency: Seconds before each answer: the bounds to draw from.
        heartbeat_interval: Seconds between the newlines that are sent meanwhile, if the request wants them.
        heartbeat_status: Status of an answer whose newlines have begun; None for the true one.
    """

    latency: tuple[float, float]
    heartbeat_interval: float
    heartbeat_status: int | None


class Listener:
    """Serves an app on a TCP port of the running loop."""

    def __init__(
        self,
        app: Callable[[], App],
        timing: ResponseTiming,
        rng: Random,
        record: Callable[[Received], None],
        count: Callable[[int], None],
    ) -> None:
        self._app = app
        self._timing = timing
        self._rng = rng
        self._record = record
        self._count = count
        self._in_flight = 0
        self._server: web.Server | None = None
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port."""
        self._server = web.Server(
            self._handle,
            request_factory=_make_request,
            handler_cancellation=True,
            access_log=None,
            lingering_time=_GRACE,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        self._listening = await asyncio.get_running_loop().create_server(self._server, host, port, backlog=1024)
        bound: int = self._listening.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening; requests under way get half a second."""
        server, listening = self._server, self._listening
        self._server = self._listening = None
        if server is None or listening is None:
            return
        await _accept_no_more(listening)
        listening.close()
        await _turns()
        server.pre_shutdown()
        await server.shutdown(_GRACE)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._in_flight += 1
        try:
            received, answer = await self._answer(request, self._app())
            low, high = self._timing.latency
            if high:
                wait = low + (high - low) * self._rng.random()
                if answer.body and wants_heartbeat(received):
                    return await self._send_with_heartbeats(request, answer, wait)
                await asyncio.sleep(wait)
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.BaseRequest, app: App) -> tuple[Received, ServerResponse]:
        path, _, query = request.raw_path.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.method, path, query, headers, b"")
        self._record(received)
        try:
            if request.body_exists:
                received.body = await request.read()
            answer = app.answer(received, self._in_flight)
        except web.HTTPRequestEntityTooLarge:
            answer = app.answer(received, self._in_flight, Problem(413))
        received.status = answer.status
        self._count(answer.status)
        return received, answer

    async def _send_with_heartbeats(
        self, request: web.BaseRequest, answer: ServerResponse, wait: float
    ) -> web.StreamResponse:
        interval = self._timing.heartbeat_interval
        if wait < interval:
            await asyncio.sleep(wait)
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        response = web.StreamResponse(status=self._timing.heartbeat_status or answer.status, headers=answer.headers)
        await asyncio.sleep(interval)
        await response.prepare(request)
        while wait >= interval:
            await response.write(b"\n")
            wait -= interval
            await asyncio.sleep(min(wait, interval))
        await response.write_eof(answer.body)
        return response


async def _accept_no_more(listening: asyncio.Server) -> None:
    # asyncio forgets a socket that it has accepted and not yet made a transport of when its server closes.
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # loops that wait for completion, as on Windows
        for sock in listening.sockets:
            loop.remove_reader(sock)
    await _turns()


async def _turns() -> None:
    for _ in range(2):  # the transport is made, and its handler hears of it
        await asyncio.sleep(0)


def _make_request(*parts: Any) -> web.BaseRequest:
    options: dict[str, Any] = {"loop": asyncio.get_running_loop(), "client_max_size": _LARGEST_BODY}
    return web.BaseRequest(*parts, **options)
