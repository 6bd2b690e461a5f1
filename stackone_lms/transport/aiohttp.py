"""A transport through a plain `aiohttp.ClientSession`, so that what users mock, trace and extend is used and works."""

from __future__ import annotations

import asyncio
import io
import math
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any, TypeAlias, cast
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from ..errors import ClientClosedError, ConfigurationError
from ..threads import run_in_kept_thread
from .aiohttp_internals import ContextFreeConnector, HttpProcessingError, session_middlewares
from .base import PRIVATE_CA, Request, Response, ThisProcess, TimeLimits, Transport, TransportError
from .connections import (
    HEAD_LIMITS,
    KEEP_ALIVE,
    READ_BUFFER,
    ProxyLogin,
    Resolver,
    check_head,
    read_on,
    readable,
    whole,
)
from .errors import ServerRoute, translate
from .proxies import Proxy

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)

SessionFactory: TypeAlias = Callable[[], aiohttp.ClientSession | Awaitable[aiohttp.ClientSession]]
"""Makes a session, on the event loop that it is used on."""


class _DroppedError(Exception):
    """Stands for the two aiohttp exceptions on which aiohttp would silently send the request again."""

    def __init__(self, original: aiohttp.ClientConnectionError) -> None:
        super().__init__()
        self.original = original


class _Request(aiohttp.ClientRequest):
    """A request that remembers which connection it went over, and tells when it has one.

    Attributes:
        limits: The time limits of its call, until they were told of the connection.
        wire: The connection.
        since: When that was handed out, on the clock of `time.monotonic`.
    """

    limits: TimeLimits | None = None
    wire: asyncio.Transport | None = None
    since = 0.0


class _Connector(ContextFreeConnector):
    """A pool that hands out only connections on which nothing has happened since they came back to it.

    What the server sent meanwhile is an answer to something else, or a hang-up: found here, it costs no request.
    A forked child leaves the connections alone: to close one there would take it out of the epoll that it shares with
    its parent, which then would wait for its answers in vain.
    """

    def __init__(self, login: ProxyLogin | None, **options: Any) -> None:
        super().__init__(**options)
        self.login = login
        self.process = ThisProcess.id
        self.known: WeakKeyDictionary[Any, tuple[Callable[[], Any], float]] = WeakKeyDictionary()
        self.distrusted = 0.0
        """Connections that were handed out before this, on the clock of `time.monotonic`, are not handed out again."""

    async def connect(self, req: Any, *args: Any, **options: Any) -> Any:
        """Return a connection of the pool, or a new one."""
        # Once only: a middleware may send a request again, which was sent then.
        limits, req.limits = getattr(req, "limits", None), None
        if limits is not None:
            limits.connecting()
        while True:
            make = partial(super().connect, req, *args, **options)
            connection = await (make() if self.login is None else self.login.connect(make))
            protocol: Any = connection.protocol
            has_more, since = self.known.get(protocol, (None, math.inf))
            new = has_more is None
            if has_more is None:
                has_more = readable(protocol.transport)
            # What comes first over TLS are session tickets: no answer to anything.
            spoke = has_more if not new or protocol.transport.get_extra_info("sslcontext") is None else bool
            if since >= self.distrusted and not protocol.should_close and not spoke():
                break
            connection.close()
            if new:
                raise aiohttp.ServerDisconnectedError("it spoke before it was asked")
        req.since = time.monotonic()
        self.known[protocol] = has_more, req.since
        req.wire = protocol.transport
        if limits is not None:
            limits.progress()
        return connection

    @property
    def closed(self) -> bool:
        """Whether it was closed, or belongs to another process."""
        return self.process != ThisProcess.id or super().closed

    def __del__(self, *args: Any) -> None:
        if self.process == ThisProcess.id:
            super().__del__(*args)


class _Exchange:
    """One request over a session: sent once, and its connection closed if need be.

    Args:
        session: The session.
        limits: The time limits of the call.
    """

    def __init__(self, session: aiohttp.ClientSession, limits: TimeLimits) -> None:
        self._session, self._limits = session, limits
        self._sent: aiohttp.ClientRequest | None = None
        self._response: aiohttp.ClientResponse | None = None

    async def send(self, method: str, url: URL, **options: Any) -> aiohttp.ClientResponse:
        """Send the request, and return the answer when its head is here."""

        # No method: mocks copy all arguments, and with a method what it belongs to.
        async def without_hidden_retry(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            # aiohttp sends idempotent requests a second time after these two exceptions.
            self._sent = request
            if isinstance(request, _Request):
                request.limits = self._limits
            try:
                return await handler(request)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                raise _DroppedError(error) from None

        # A request's own middlewares replace the session's, so theirs are called from ours.
        theirs = session_middlewares(self._session)
        middlewares = None if theirs is None else (without_hidden_retry, *theirs)
        self._response = await self._session.request(method, url, middlewares=middlewares, **options)
        return self._response

    @property
    def connected(self) -> bool:
        """Whether the request may have had a connection."""
        return not isinstance(self._sent, _Request) or self._sent.wire is not None

    def close_connection(self) -> None:
        """Close the connection, at once, though aiohttp may have put it back into its pool."""
        if self._response is not None:
            self._response.close()
        sent, connector = self._sent, self._session.connector
        if isinstance(sent, _Request) and sent.wire is not None:
            if self._limits.fired and isinstance(connector, _Connector):
                # It has brought nothing in time: what is idle for longer may be as dead.
                connector.distrusted = max(connector.distrusted, sent.since)
            sent.wire.abort()


def make_ssl_context(
    ca_bundle: str | None, client_cert: tuple[str, str | None] | None, trusted: Collection[str] = ()
) -> ssl.SSLContext:
    """Return TLS settings.

    Args:
        ca_bundle: PEM file of CAs to trust besides the others.
        client_cert: Files of the certificate to show, and of its key.
        trusted: Files and folders of CAs to trust instead of the system's. Those are found by truststore where that is
            installed (the extra `tls`), which asks macOS and Windows themselves, else where OpenSSL looks.
    """
    if trusted:
        files, folders = ([place for place in trusted if Path(place).is_dir() is kind] for kind in (False, True))
        places: list[dict[str, Any]] = [{"cafile": file} for file in files] + [{"capath": folder} for folder in folders]
        context = ssl.create_default_context(**places[0])
        for place in places[1:]:
            context.load_verify_locations(**place)
    else:
        context = _system_context()
    if ca_bundle is not None:
        context.load_verify_locations(cafile=ca_bundle)
    if client_cert is not None:
        context.load_cert_chain(*client_cert)
    return context


def _system_context() -> ssl.SSLContext:
    try:
        import truststore  # noqa: PLC0415 (an extra)
    except ImportError:
        return ssl.create_default_context()
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class AiohttpTransport(Transport):
    """Sends requests through one `aiohttp.ClientSession`, by its documented methods.

    Args:
        origin: Scheme, host and port, such as `https://api.stackone.com`.
        ssl_context: Makes the TLS settings when they are first needed; None for aiohttp's defaults.
        proxy: The proxy, or None.
        private_ca: What messages say of certificates that are not trusted.
        session: A session to use, which stays the caller's to close; None makes one.
        session_factory: Makes the session, which is closed with the transport.

    Raises:
        ConfigurationError: From `open`: what the factory made is no open `aiohttp.ClientSession`.
    """

    def __init__(
        self,
        origin: str,
        *,
        ssl_context: Callable[[], ssl.SSLContext] | None = None,
        proxy: Proxy | None = None,
        private_ca: str = PRIVATE_CA,
        session: aiohttp.ClientSession | None = None,
        session_factory: SessionFactory | None = None,
    ) -> None:
        url = URL(origin)
        self._scheme, self._authority = url.scheme, cast("str", url.host_port_subcomponent)
        self._make_ssl, self._own = ssl_context, session is None and session_factory is None
        self._factory, self._closes = session_factory, session is None
        self._route = ServerRoute(proxy, private_ca, session=not self._own)
        self._login: ProxyLogin | None = None
        self._proxy: dict[str, Any] = {} if proxy is None else {"proxy": proxy.url}
        self._proxy_authorization = None if proxy is None else proxy.authorization
        if self._proxy_authorization is not None and self._scheme == "https":
            self._proxy["proxy_headers"] = {hdrs.PROXY_AUTHORIZATION: self._proxy_authorization}
        self._session = session
        self._single_use: aiohttp.ClientSession | None = None
        self._ssl: ssl.SSLContext | bool = True
        self._timeouts: dict[float | None, aiohttp.ClientTimeout] = {}
        self._headers: dict[int, tuple[Mapping[str, str], CIMultiDict[str]]] = {}

    async def open(self) -> None:
        """Make the session."""
        if self._make_ssl is not None and self._scheme == "https":
            self._ssl = await run_in_kept_thread(self._make_ssl)  # reading CA files takes milliseconds
        if self._route.proxy is not None and self._scheme == "https":
            self._login = ProxyLogin(self._route.proxy)
        if self._factory is not None:
            self._session = await _session_of(self._factory)
        elif self._session is None:
            self._session = self._make_session(keepalive_timeout=KEEP_ALIVE)

    def _make_session(self, **options: Any) -> aiohttp.ClientSession:
        # No limit here: whatever waits inside aiohttp gets CancelledError when the session closes.
        return aiohttp.ClientSession(
            connector=_Connector(self._login, limit=0, ssl=self._ssl, resolver=Resolver(), **options),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            timeout=_NO_TIMEOUT,
            read_bufsize=READ_BUFFER,
            **HEAD_LIMITS,
            trust_env=False,
        )

    async def send(self, request: Request, limits: TimeLimits) -> Response:
        """Send one request and read its answer."""
        failed: TransportError | None = None
        exchange = _Exchange(self._session_for(request), limits)
        try:
            response = await exchange.send(
                request.method,
                URL.build(
                    scheme=self._scheme,
                    authority=self._authority,
                    path=request.path,
                    query_string=request.query,
                    encoded=True,
                ),
                headers=self._headers_of(request).copy(),  # others may change them
                data=_payload(request.body),
                allow_redirects=False,
                raise_for_status=False,
                timeout=_NO_TIMEOUT if self._own else self._timeout(limits.connect),
                ssl=self._ssl,
                **self._proxy,
            )
            limits.progress()
            status, headers, content = response.status, response.headers, response.content
            now = whole(content)
            if now == b"" and content.total_bytes:  # read already, by a middleware or by tracing
                now = await response.read()
            body, complete = check_head(status, headers, now, request.max_body), True
            if body is None:
                body, complete = await read_on(status, content, request.max_body, limits)
            if complete:
                response.release()
            else:
                exchange.close_connection()
            return Response(status, headers, body, exchange.close_connection)
        except TransportError as error:
            failed = error
        except _DroppedError as error:
            failed = translate(error.original, self._route, connected=exchange.connected)
        except (
            TimeoutError,
            aiohttp.ClientError,
            HttpProcessingError,
            OSError,
            RuntimeError,
            ValueError,
        ) as error:
            failed = translate(error, self._route, connected=exchange.connected)
        except BaseException:
            exchange.close_connection()
            raise
        # Raised outside the handlers, so that no foreign exception hangs on it as context.
        exchange.close_connection()
        raise failed

    def _session_for(self, request: Request) -> aiohttp.ClientSession:
        if self._session is None:
            raise TransportError(ClientClosedError("the transport is closed"), request_sent=False, max_retries=0)
        if not request.new_connection or not self._own:
            return self._session
        # A pool may hold many dead connections: a retry gets one that nobody has used.
        self._single_use = self._single_use or self._make_session(force_close=True)
        return self._single_use

    def _headers_of(self, request: Request) -> CIMultiDict[str]:
        # A client has one headers mapping for each of its views: they are few and reused by every call.
        headers = request.headers
        kept = self._headers.get(id(headers))
        if kept is None or kept[0] is not headers:
            if len(self._headers) > 1024:
                self._headers.clear()
            whole = CIMultiDict({"Host": self._authority, **headers} if self._own else headers)
            if self._proxy_authorization is not None and self._scheme == "http":
                whole[hdrs.PROXY_AUTHORIZATION] = self._proxy_authorization
            kept = self._headers[id(headers)] = (headers, whole)
        return kept[1]

    def _timeout(self, connect: float | None) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get(connect)
        if timeout is None:
            if len(self._timeouts) > 64:
                self._timeouts.clear()
            # Not `connect`: the time for a place in a pool that is not ours does not count, there it may be long.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect, ceil_threshold=float("inf"))
            self._timeouts[connect] = timeout
        return timeout

    async def close(self) -> None:
        """Close the session, if it was made here."""
        ours = (self._session, self._single_use) if self._closes else ()
        self._session = self._single_use = None
        for session in ours:
            if session is not None:
                await session.close()


def is_session(value: object) -> bool:
    """Tell whether a value is an `aiohttp.ClientSession`, or may be one, where a mock stands for the class."""
    kind: Any = aiohttp.ClientSession
    return not isinstance(kind, type) or isinstance(value, kind)


async def _session_of(factory: SessionFactory) -> aiohttp.ClientSession:
    made: Any = factory()
    if isawaitable(made):
        made = await made
    if not is_session(made):
        raise ConfigurationError(f"session_factory must return an aiohttp.ClientSession, not {type(made).__name__}")
    if made.closed is True:
        raise ConfigurationError("session_factory returned a session that is closed; it must make a new one")
    return cast("aiohttp.ClientSession", made)


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp warns of bytes that are longer than this.
    return io.BytesIO(body) if body is not None and len(body) > 2**20 else body
