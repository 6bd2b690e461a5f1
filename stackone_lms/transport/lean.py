"""A transport with less between a call and the wire: aiohttp's connector and parser, without its session.

Connections are made by aiohttp (names, TLS, proxies) and answers are read by its parser; requests are written here.
What is mocked, traced or hooked in aiohttp's sessions does not see them.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping

import aiohttp
from yarl import URL

from ..errors import ClientClosedError, ConfigurationError, ConnectionLostError
from . import private
from .base import ExchangeError, Reply, Request, Secret, Transport, Watch
from .foreign import translate
from .wire import KEEP_ALIVE, Connector, read_now, read_on

_KEPT_HEADS = 1024
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


class LeanTransport(Transport):
    """Exchanges over connections of an `aiohttp.TCPConnector`, with requests of its own making.

    Args:
        origin: Scheme, host and port, such as `https://api.stackone.com`.
        ssl_context: Makes the TLS settings when they are first needed; None for aiohttp's defaults.
        proxy: Proxy URL, or None.

    Raises:
        ConfigurationError: It cannot be used with the aiohttp that is installed.
    """

    def __init__(
        self,
        origin: str,
        *,
        ssl_context: Callable[[], ssl.SSLContext] | None = None,
        proxy: str | None = None,
    ) -> None:
        if private.UNUSABLE is not None:
            raise ConfigurationError(f"the lean transport cannot be used: {private.UNUSABLE}")
        self._origin, self._make_ssl, self._proxy = origin, ssl_context, proxy
        self._secure = URL(origin).scheme == "https"
        self._connector: Connector | None = None
        self._idle: deque[private.Protocol] = deque()
        self._sweeping: asyncio.TimerHandle | None = None
        self._heads: dict[int, tuple[Mapping[str, str], str]] = {}
        self._host = self._before_path = ""
        self._end: str = "\r\n"

    async def open(self) -> None:
        """Make the connector."""
        settings: ssl.SSLContext | bool = True
        if self._make_ssl is not None and self._secure:
            settings = await asyncio.to_thread(self._make_ssl)  # reading CA files takes milliseconds
        # No limit here: whatever waits inside aiohttp gets CancelledError when the connector closes.
        self._connector = Connector(limit=0, ssl=settings)
        private.prepare(self._connector)
        self._request = private.describe(self._origin, settings, self._proxy)
        self._host = self._request.headers["Host"]
        if self._proxy is not None and not self._secure:
            # Without TLS there is no tunnel, and the proxy is told in each request where to go. RFC 9112 section 3.2.2.
            proxy = URL(self._proxy)
            self._before_path = str(self._request.url.origin())
            if proxy.user:
                given = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
                self._end = Secret(f"Proxy-Authorization: {given}\r\n\r\n")

    async def exchange(self, request: Request, watch: Watch) -> Reply:
        """Send one request and read its answer."""
        line: private.Protocol | None = None
        try:
            line = None if request.fresh else self._take()
            if line is None:
                line = await self._connect()
            wire = line.transport
            if wire is None:
                raise ExchangeError(ConnectionLostError("the connection was closed"), sent=False)
            wire.write(self._written(request))
            watch.progress()
            status, headers, content = await line.answer()
            watch.progress()
            body, whole = read_now(status, headers, content, request.max_body), True
            if body is None:
                body, whole = await read_on(status, content, request.max_body, watch)
            if whole and not request.fresh and line.rest():
                self._keep(line)
            else:
                line.hang_up()
            return Reply(status, headers, body, line.hang_up)
        except ExchangeError as error:
            failed = error
        except (
            TimeoutError,
            aiohttp.ClientError,
            aiohttp.EofStream,
            private.HttpProcessingError,
            OSError,
            RuntimeError,
            ValueError,
        ) as error:
            failed = translate(error)
        except BaseException:
            if line is not None:
                line.hang_up()
            raise
        # Raised outside the handlers, so that no foreign exception hangs on it as context.
        if line is not None:
            line.hang_up()
        raise failed

    # Connections

    async def _connect(self) -> private.Protocol:
        if self._connector is None:
            raise ExchangeError(ClientClosedError("the transport is closed"), sent=False, most=0)
        line = await private.connect(self._connector, self._request)
        if line is None:
            message = "the server hung up, or spoke first, before a request was sent"
            raise ExchangeError(ConnectionLostError(message), sent=False)
        return line

    def _take(self) -> private.Protocol | None:
        # The one used last is the least likely to be dead, and those that are not needed can expire.
        while self._idle:
            line = self._idle.pop()
            if line.resume():
                return line
            line.hang_up()
        return None

    def _keep(self, line: private.Protocol) -> None:
        self._idle.append(line)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        now = time.monotonic()
        while self._idle and now - self._idle[0].since >= KEEP_ALIVE:
            self._idle.popleft().hang_up()
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
        for line in idle:
            line.abort()
        if connector is not None:
            await connector.close()

    # Requests

    def _written(self, request: Request) -> bytes:
        method, query, body = request.method, request.query, request.body
        target = f"{self._before_path}{request.path}?{query}" if query else self._before_path + request.path
        if not (target.isascii() and target.isprintable()) or " " in target:
            raise ValueError("the URL is not percent-encoded")
        head, end = self._head(request.headers), self._end
        if request.fresh:
            end = Secret(f"{end[:-2]}Connection: close\r\n\r\n")
        if body is None:
            length = "" if method == "GET" else "Content-Length: 0\r\n"
            return f"{method} {target} HTTP/1.1\r\n{head}{length}{end}".encode()
        return f"{method} {target} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n{end}".encode() + body

    def _head(self, headers: Mapping[str, str]) -> str:
        # A client has one headers mapping for each of its views: they are few and reused by every call.
        kept = self._heads.get(id(headers))
        if kept is None or kept[0] is not headers:
            lines = {"Host": self._host, **headers}
            if any(_CONTROL.search(name) or _CONTROL.search(value) for name, value in lines.items()):
                raise ValueError("a header holds control characters")
            if len(self._heads) >= _KEPT_HEADS:
                self._heads.clear()
            text = Secret("".join([f"{name}: {value}\r\n" for name, value in lines.items()]))
            kept = self._heads[id(headers)] = (headers, text)
        return kept[1]
