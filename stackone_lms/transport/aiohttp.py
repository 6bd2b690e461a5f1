"""The default transport: `aiohttp.ClientSession`, so that what users mock, trace and extend keeps working."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast
from weakref import WeakKeyDictionary

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ..errors import ClientClosedError
from . import aiohttp_internals as private
from . import session as sessions
from .base import Request, Response, TimeLimits, Transport, TransportError
from .connections import (
    KEEP_ALIVE,
    READ_BUFFER,
    Connector,
    Timed,
    check_head,
    connected,
    read_on,
    readable,
    whole,
)
from .errors import translate

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)


class _DroppedError(Exception):
    """Stands for the two aiohttp exceptions on which aiohttp would silently send the request again."""

    def __init__(self, original: aiohttp.ClientConnectionError) -> None:
        super().__init__()
        self.original = original


class _Connector(Connector):
    """A pool that hands out only connections on which nothing has happened since they came back to it.

    What the server sent meanwhile is an answer to something else, or a hang-up: found here, it costs no request.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._known: WeakKeyDictionary[Any, Callable[[], Any]] = WeakKeyDictionary()

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109 (aiohttp's signature)
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol: Any = connection.protocol
            has_more = self._known.get(protocol)
            if has_more is None:
                self._known[protocol] = readable(protocol.transport)
            if not protocol.should_close and not (has_more and has_more()):
                connected(timeout)
                return connection
            connection.close()
            if has_more is None:
                raise aiohttp.ServerDisconnectedError("it spoke before it was asked")


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
        self._host_header = cast("str", url.host_port_subcomponent)
        self._make_ssl, self._proxy, self._own = ssl_context, proxy, session is None
        self._quick = session is None and sessions.UNUSABLE is None
        self._session = session
        self._fresh: aiohttp.ClientSession | None = None
        self._ssl: ssl.SSLContext | bool = True
        self._timeouts: dict[float | None, aiohttp.ClientTimeout] = {}
        self._headers: dict[int, tuple[Mapping[str, str], CIMultiDict[str], sessions.Prepared | None]] = {}

    async def open(self) -> None:
        """Make the session."""
        if self._make_ssl is not None and self._scheme == "https":
            self._ssl = await asyncio.to_thread(self._make_ssl)  # reading CA files takes milliseconds
        if self._session is None:
            self._session = self._make_session(force_close=False)

    def _make_session(self, *, force_close: bool) -> aiohttp.ClientSession:
        if self._quick:
            return sessions.make(ssl=self._ssl, force_close=force_close)
        keep_alive: dict[str, Any] = {"force_close": True} if force_close else {"keepalive_timeout": KEEP_ALIVE}
        return aiohttp.ClientSession(
            connector=_Connector(limit=0, ssl=self._ssl, **keep_alive),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            read_bufsize=READ_BUFFER,
            response_class=sessions.SessionResponse,
            trust_env=False,
        )

    async def send(self, request: Request, limits: TimeLimits) -> Response:
        """Send one request and read its answer."""
        failed: TransportError | None = None
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._send(request, limits)
            return await _read(response, request.max_body, limits)
        except TransportError as error:
            failed = error
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

    def _send(self, request: Request, limits: TimeLimits) -> Awaitable[aiohttp.ClientResponse]:
        session = self._session
        if session is None:
            raise TransportError(ClientClosedError("the transport is closed"), request_sent=False, max_retries=0)
        if request.new_connection and self._own:
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
        ask: Callable[..., Awaitable[aiohttp.ClientResponse]] = session.request
        if self._own and not sessions.replaced():
            limits.connecting()
            timeout: aiohttp.ClientTimeout = Timed(limits)
            if self._quick:
                ask = session._request  # pyright: ignore[reportPrivateUsage] (all that `request` does is to call it)
        else:
            # Whatever it does, it may not hand the limits on. So it is told when to give up connecting.
            timeout = self._timeout(limits.connect)
        return ask(
            request.method,
            url,
            headers=self._prepared(request),
            data=_payload(request.body),
            allow_redirects=False,
            timeout=timeout,
            proxy=self._proxy,
            ssl=self._ssl,
            # A request's own middlewares replace the session's, so theirs are called from ours.
            middlewares=None if self._quick else (_no_hidden_retry, *getattr(session, "_middlewares", ())),
        )

    def _prepared(self, request: Request) -> CIMultiDict[str]:
        # A client has one headers mapping for each of its views: they are few and reused by every call.
        headers = request.headers
        kept = self._headers.get(id(headers))
        if kept is None or kept[0] is not headers:
            if len(self._headers) > 1024:
                self._headers.clear()
            whole = CIMultiDict({"Host": self._host_header, **headers} if self._own else headers)
            quick = sessions.Prepared(whole) if self._quick else None
            kept = self._headers[id(headers)] = (headers, whole, quick)
        if kept[2] is None or sessions.watched():
            return kept[1].copy()  # others may change them
        return kept[2] if request.method == "GET" and request.body is None else kept[1]

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
        ours = (self._session, self._fresh) if self._own else ()
        self._session = self._fresh = None
        for session in ours:
            if session is not None:
                await session.close()


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp warns of bytes that are longer than this.
    return io.BytesIO(body) if body is not None and len(body) > 2**20 else body


async def _read(response: aiohttp.ClientResponse, most: int, limits: TimeLimits) -> Response:
    status, headers, content = response.status, response.headers, response.content
    now = getattr(response, "_body", None)  # read already, by a middleware or by tracing
    if now is None:
        now = (private.whole if private.UNUSABLE is None else whole)(content)
    body, complete = check_head(status, headers, now, most), True
    if body is None:
        limits.progress()
        body, complete = await read_on(status, content, most, limits)
    connection = response.connection
    wire = None if connection is None else connection.transport
    if complete:
        response.release()
    else:
        response.close()
    return Response(status, headers, body, *(() if wire is None else (wire.abort,)))
