"""A transport with less between a call and the wire: aiohttp's connector and parser, without its session.

Connections are made by aiohttp (names, TLS, proxies) and answers are read by its parser; requests are written here.
What is mocked, traced or hooked in aiohttp's sessions does not see them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from functools import partial
from typing import Any

import aiohttp
from yarl import URL

from ..errors import ClientClosedError, ConfigurationError, ConnectionLostError
from ..threads import run_in_kept_thread
from . import aiohttp_internals as internals
from .base import PRIVATE_CA, LazyTransport, Request, Response, SecretBytes, TimeLimits, Transport, TransportError
from .connections import (
    KEEP_ALIVE,
    ProxyLogin,
    Resolver,
    check_head,
    read_on,
)
from .errors import ServerRoute, translate
from .proxies import Proxy

log = logging.getLogger("stackone_lms")

_told: set[str] = set()
_KEPT_HEADS = 1024
_VISIBLE = bytes(range(ord("!"), ord("~") + 1))
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


_Head = tuple[Mapping[str, str], SecretBytes, SecretBytes]
"""Headers, their bytes, and the same as the end of a request without a body."""


class LeanTransport(Transport):
    """Exchanges over connections of an `aiohttp.TCPConnector`, with requests of its own making.

    Args:
        origin: Scheme, host and port, such as `https://api.stackone.com`.
        ssl_context: Makes the TLS settings when they are first needed; None for aiohttp's defaults.
        proxy: The proxy, or None.
        private_ca: What messages say of certificates that are not trusted.

    Raises:
        ConfigurationError: It cannot be used with the aiohttp that is installed.
    """

    def __init__(
        self,
        origin: str,
        *,
        ssl_context: Callable[[], ssl.SSLContext] | None = None,
        proxy: Proxy | None = None,
        private_ca: str = PRIVATE_CA,
    ) -> None:
        if internals.UNUSABLE is not None:
            raise ConfigurationError(f"the lean transport cannot be used: {internals.UNUSABLE}")
        self._origin, self._make_ssl, self._proxy = origin, ssl_context, proxy
        self._route = ServerRoute(proxy, private_ca)
        self._login: ProxyLogin | None = None
        self._secure = URL(origin).scheme == "https"
        self._connector: internals.Connector | None = None
        self._idle: deque[internals.Protocol] = deque()
        self._sweeping: asyncio.TimerHandle | None = None
        self._heads: dict[int, _Head] = {}
        self._host = self._before_path = ""
        self._last = b""

    async def open(self) -> None:
        """Make the connector."""
        settings: ssl.SSLContext | bool = True
        if self._make_ssl is not None and self._secure:
            settings = await run_in_kept_thread(self._make_ssl)  # reading CA files takes milliseconds
        # No limit here: whatever waits inside aiohttp gets CancelledError when the connector closes.
        self._connector = internals.Connector(limit=0, ssl=settings, resolver=Resolver())
        self._request = internals.describe(self._origin, settings, self._proxy)
        self._host = self._request.headers["Host"]
        proxy = self._proxy
        if proxy is None:
            return
        if self._secure:
            self._login = ProxyLogin(proxy)
            return
        # Without TLS there is no tunnel, and the proxy is told in each request where to go. RFC 9112 section 3.2.2.
        self._before_path = str(self._request.url.origin())
        if proxy.authorization is not None:
            self._last = SecretBytes(b"".join((b"Proxy-Authorization: ", proxy.authorization.encode(), b"\r\n")))

    async def send(self, request: Request, limits: TimeLimits) -> Response:
        """Send one request and read its answer."""
        connection: internals.Protocol | None = None
        try:
            data = memoryview(self._written(request))  # a view, since tracebacks with local variables show bytes
            connection = None if request.new_connection else self._take()
            if connection is None:
                limits.connecting()
                connection = await self._connect()
                limits.progress()
            wire = connection.transport
            if wire is None:
                raise TransportError(ConnectionLostError("the connection was closed"), request_sent=False)
            wire.write(data)
            message, content = await connection.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, content = await connection.read()
            status, headers = message.code, message.headers
            body = internals.whole_body(content)
            complete = body is not None
            # First of all, since nothing may come any more. Whatever is wrong with the answer closes it all the same.
            parked = complete and not request.new_connection and connection.park()
            body = check_head(status, headers, body, request.max_body)
            if body is None:
                limits.progress()
                body, complete = await read_on(status, content, request.max_body, limits)
                parked = complete and not request.new_connection and connection.park()
            if parked:
                self._idle.append(connection)
                if self._sweeping is None:
                    # Without the contextvars of the call: it goes on long after it.
                    self._sweeping = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._sweep, context=Context())
            else:
                connection.close()
            return Response(status, headers, body, connection.close)
        except TransportError as error:
            failed = error
        except (
            TimeoutError,
            aiohttp.ClientError,
            aiohttp.EofStream,
            internals.HttpProcessingError,
            OSError,
            RuntimeError,
            ValueError,
        ) as error:
            failed = translate(error, self._route, connected=connection is not None)
        except BaseException:
            if connection is not None:
                if limits.fired:
                    self._drop_idle(connection.since)
                connection.close()
            raise
        # Raised outside the handlers, so that no foreign exception hangs on it as context.
        if connection is not None:
            connection.close()
        raise failed

    # Connections

    async def _connect(self) -> internals.Protocol:
        if self._connector is None:
            raise TransportError(ClientClosedError("the transport is closed"), request_sent=False, max_retries=0)
        make = partial(internals.connect, self._connector, self._request)
        connection = await (make() if self._login is None else self._login.connect(make))
        if connection is None:
            message = "the server hung up, or spoke first, before a request was sent"
            raise TransportError(ConnectionLostError(message), request_sent=False)
        return connection

    def _take(self) -> internals.Protocol | None:
        # The one used last is the least likely to be dead, and those that are not needed can expire.
        while self._idle:
            connection = self._idle.pop()
            if connection.unpark():
                return connection
            connection.close()
        return None

    def _drop_idle(self, since: float) -> None:
        # One that was used no longer ago has brought nothing in time: what is idle for longer may be as dead.
        while self._idle and self._idle[0].since <= since:
            self._idle.popleft().close()

    def _sweep(self) -> None:
        self._sweeping = None
        now = time.monotonic()
        while self._idle and now - self._idle[0].since >= KEEP_ALIVE:
            self._idle.popleft().close()
        if self._idle:
            delay = KEEP_ALIVE - (now - self._idle[0].since)
            self._sweeping = asyncio.get_running_loop().call_later(delay, self._sweep)

    async def close(self) -> None:
        """Close all connections."""
        connector, self._connector = self._connector, None
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        idle, self._idle = self._idle, deque()
        for connection in idle:
            connection.abort()
        if connector is not None:
            await connector.close()

    # Requests

    def _written(self, request: Request) -> bytes:
        method, query, body = request.method, request.query, request.body
        target = f"{request.path}?{query}" if query else request.path
        first = f"{method} {self._before_path}{target} HTTP/1.1\r\n".encode()
        if first.translate(None, _VISIBLE) != b"  \r\n":
            raise ValueError("the URL is not percent-encoded")
        # A client has one headers mapping for each of its views: they are few and reused by every call.
        kept = self._heads.get(id(request.headers))
        if kept is None or kept[0] is not request.headers:
            if len(self._heads) >= _KEPT_HEADS:
                self._heads.clear()
            kept = self._heads[id(request.headers)] = self._head(request.headers)
        if method == "GET" and body is None and not request.new_connection:
            return SecretBytes(first + kept[2])
        length = b"" if method == "GET" and body is None else b"Content-Length: %d\r\n" % len(body or b"")
        end = b"Connection: close\r\n\r\n" if request.new_connection else b"\r\n"
        return SecretBytes(b"".join((first, kept[1], length, self._last, end, body or b"")))

    def _head(self, headers: Mapping[str, str]) -> _Head:
        lines = {"Host": self._host, **headers}
        if any(_CONTROL.search(name) or _CONTROL.search(value) for name, value in lines.items()):
            raise ValueError("a header holds control characters")
        head = SecretBytes(
            "".join([part for name, value in lines.items() for part in (name, ": ", value, "\r\n")]).encode()
        )
        return headers, head, SecretBytes(head + self._last + b"\r\n")


class AutoTransport(Transport):
    """Exchanges over a lean transport, but through aiohttp's session while somebody watches sessions.

    Args:
        lean: The lean transport.
        session: Makes the transport that uses a session, when it is first needed.
    """

    def __init__(self, lean: LeanTransport, session: Callable[[], Transport]) -> None:
        self._lean, self._session = lean, LazyTransport(session)

    async def open(self) -> None:
        """Get ready."""
        await self._lean.open()

    def send(self, request: Request, limits: TimeLimits) -> Coroutine[Any, Any, Response]:
        """Send one request and read its answer."""
        return (
            self._through_session(request, limits) if internals.session_replaced() else self._lean.send(request, limits)
        )

    async def _through_session(self, request: Request, limits: TimeLimits) -> Response:
        return await (await self._session.open()).send(request, limits)

    async def close(self) -> None:
        """Close both."""
        try:
            await self._lean.close()
        finally:
            await self._session.close()


def choose(lean: Callable[[], LeanTransport], session: Callable[[], Transport]) -> Transport:
    """Return the best transport for the aiohttp that is installed.

    Args:
        lean: Makes the lean transport.
        session: Makes the one that uses a session.
    """
    if internals.UNUSABLE is None:
        return AutoTransport(lean(), session)
    if internals.UNUSABLE not in _told:
        _told.add(internals.UNUSABLE)
        log.warning("the lean transport is not used: %s", internals.UNUSABLE)
    return session()
