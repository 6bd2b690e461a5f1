"""The default transport: `aiohttp.ClientSession`, so that what users mock, trace and extend keeps working."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, cast

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ..errors import ProtocolError, ResponseTooLargeError
from .base import ExchangeError, Reply, Request, Transport, Watch
from .foreign import lost, translate

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error answer that are read; the rest is not worth the wait."""

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_READ_BUFFER = 256 * 1024
_DECODED = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_KEEP_ALIVE = 10.0  # seconds; shorter than servers' usual 15 and more, so that few connections die in our hands


_watch: ContextVar[Watch] = ContextVar("_watch")


class _StaleAnswerError(Exception):
    """Bytes stood on the connection before the request was sent: an answer to something else."""


class _DroppedError(Exception):
    """Stands for the two aiohttp exceptions on which aiohttp would silently send the request again."""

    def __init__(self, original: aiohttp.ClientConnectionError) -> None:
        super().__init__()
        self.original = original


class _Response(aiohttp.ClientResponse):
    """A response that knows its connection after releasing it, and refuses one that is out of step."""

    wire: asyncio.Transport | None = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        _watch.get().progress()
        protocol = connection.protocol
        self.wire = protocol.transport
        # Nothing can have come in yet for a request without a body: no turn of the loop since it was written.
        if protocol.should_close and self.method == "GET":
            raise _StaleAnswerError
        return await super().start(connection)


async def _no_hidden_retry(
    request: aiohttp.ClientRequest,
    handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
) -> aiohttp.ClientResponse:
    # aiohttp sends idempotent requests a second time after these two (client.py, _retry_connection).
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _DroppedError(error) from None


def make_ssl_context(ca_bundle: str | None, client_cert: tuple[str, str | None] | None) -> ssl.SSLContext:
    """Return a context that trusts the system's CAs and those in `ca_bundle`, and shows `client_cert`."""
    context = ssl.create_default_context()
    if ca_bundle is not None:
        context.load_verify_locations(cafile=ca_bundle)
    if client_cert is not None:
        context.load_cert_chain(*client_cert)
    return context


class AiohttpTransport(Transport):
    """Exchanges over one `aiohttp.ClientSession`, made on the first use.

    Args:
        origin: Scheme, host and port, such as `https://api.stackone.com`.
        ssl_context: Makes the TLS settings when they are first needed; None for aiohttp's defaults.
        proxy: Proxy URL, or None.
        session: A session to use, which stays the caller's to close; None makes one.
    """

    def __init__(
        self,
        origin: str,
        *,
        ssl_context: Callable[[], ssl.SSLContext] | None = None,
        proxy: str | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        url = URL(origin)
        self._scheme, self._host, self._port = url.scheme, cast("str", url.raw_host), url.explicit_port
        self._make_ssl, self._proxy, self._own = ssl_context, proxy, session is None
        self._session = session
        self._fresh: aiohttp.ClientSession | None = None
        self._ssl: ssl.SSLContext | bool = True
        self._timeouts: dict[float | None, aiohttp.ClientTimeout] = {}
        self._headers: dict[int, tuple[Mapping[str, str], CIMultiDict[str]]] = {}
        self._middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = (_no_hidden_retry,)

    async def open(self) -> None:
        """Make the session."""
        if self._make_ssl is not None and self._scheme == "https":
            self._ssl = await asyncio.to_thread(self._make_ssl)  # reading CA files takes milliseconds
        if self._session is None:
            self._session = self._make_session(force_close=False)
        else:
            # A request's own middlewares replace the session's, so theirs are called from ours.
            self._middlewares += tuple(getattr(self._session, "_middlewares", ()))

    def _make_session(self, *, force_close: bool) -> aiohttp.ClientSession:
        keep_alive: dict[str, Any] = {"force_close": True} if force_close else {"keepalive_timeout": _KEEP_ALIVE}
        return aiohttp.ClientSession(
            # No limit here: whatever waits inside aiohttp gets CancelledError when the session closes.
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl, **keep_alive),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            read_bufsize=_READ_BUFFER,
            response_class=_Response,
            trust_env=False,
        )

    async def exchange(self, request: Request, watch: Watch) -> Reply:
        """Send one request and read its answer."""
        failed: ExchangeError | None = None
        response: aiohttp.ClientResponse | None = None
        if self._own:
            _watch.set(watch)
        else:
            watch.progress()
        try:
            response = await self._send(request, watch)
            watch.progress()
            return await _read(response, request.max_body, watch)
        except ExchangeError as error:
            failed = error
        except _StaleAnswerError:
            failed = lost("an answer to something else stood on the connection")
        except _DroppedError as error:
            failed = translate(error.original)
        except (TimeoutError, aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:
            failed = translate(error)
        except BaseException:
            if response is not None:
                response.close()
            raise
        # Raised outside the handlers, so that no foreign exception hangs on it as context.
        if response is not None:
            response.close()
        raise failed

    def _send(self, request: Request, watch: Watch) -> Awaitable[aiohttp.ClientResponse]:
        session = cast("aiohttp.ClientSession", self._session)
        if request.fresh and self._own:
            # A pool may hold many dead connections: a retry gets one that nobody has used.
            session = self._fresh = self._fresh or self._make_session(force_close=True)
        url = URL.build(
            scheme=self._scheme,
            host=self._host,
            port=self._port,
            path=request.path,
            query_string=request.query,
            encoded=True,
        )
        return session.request(
            request.method,
            url,
            headers=self._prepared(request.headers),
            data=request.body,
            allow_redirects=False,
            timeout=_NO_TIMEOUT if self._own else self._timeout(watch.connect),
            proxy=self._proxy,
            ssl=self._ssl,
            middlewares=self._middlewares,
        )

    def _prepared(self, headers: Mapping[str, str]) -> CIMultiDict[str]:
        # A client has one headers mapping for each of its views: they are few and reused by every call.
        kept = self._headers.get(id(headers))
        if kept is None or kept[0] is not headers:
            if len(self._headers) > 1024:
                self._headers.clear()
            kept = self._headers[id(headers)] = (headers, CIMultiDict(headers))
        return kept[1]

    def _timeout(self, connect: float | None) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get(connect)
        if timeout is None:
            if len(self._timeouts) > 64:
                self._timeouts.clear()
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect, ceil_threshold=float("inf"))
            self._timeouts[connect] = timeout
        return timeout

    async def close(self) -> None:
        """Close the session, if it is our own."""
        sessions = (self._session, self._fresh) if self._own else (self._fresh,)
        self._session = self._fresh = None
        for session in sessions:
            if session is not None:
                await session.close()


async def _read(response: aiohttp.ClientResponse, most: int, watch: Watch) -> Reply:
    status, headers, content = response.status, response.headers, response.content
    failing = status >= 400
    if failing:
        most = MAX_ERROR_BODY
    elif status == 101:
        raise ExchangeError(ProtocolError("the server switched protocols unasked"), sent=True, most=0)
    encoding = headers.get("Content-Encoding")
    if encoding is not None and encoding.strip().lower() not in _DECODED and not failing:
        raise ExchangeError(ProtocolError("the answer's Content-Encoding was not asked for"), sent=True, most=0)
    body = content.read_nowait(-1) if content.is_eof() and content.exception() is None else None
    if body is None:
        declared = headers.get("Content-Length", "")
        if not failing and declared.isdecimal() and len(declared) < 20 and int(declared) > most:
            raise too_large(most)
        body = await _stream(content, most, watch, cut=failing)
        if failing and not content.at_eof():
            response.close()
    elif len(body) > most:
        if not failing:
            raise too_large(most)
        body = body[:most]
    wire = getattr(response, "wire", None)
    response.release()
    return Reply(status, headers, body, wire.abort) if wire is not None else Reply(status, headers, body)


async def _stream(content: aiohttp.StreamReader, most: int, watch: Watch, *, cut: bool) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in content.iter_any():
        watch.progress()
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            if not cut:
                raise too_large(most)
            break
    return b"".join(chunks)[:most]


def too_large(most: int) -> ExchangeError:
    """Return the failure of an answer that is larger than allowed."""
    error = ResponseTooLargeError(f"the answer is larger than {most} bytes (max_body)")
    return ExchangeError(error, sent=True, most=0)
