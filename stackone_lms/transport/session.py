"""A session of our own: aiohttp's, with connections, requests and answers that do nothing twice.

`ClientSession` itself stays aiohttp's and runs every request, so that whatever replaces or extends it sees them. Ours
are only the classes that it takes as arguments. They rely on more than is documented of it: see `check`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import CodeType, FunctionType
from typing import Any, cast

import aiohttp
import aiohttp.client
from aiohttp import http_writer
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import BaseConnector, Connection
from aiohttp.helpers import TimerNoop, noop
from multidict import CIMultiDict
from yarl import URL

from . import aiohttp_internals as private
from .base import SecretBytes, ThisProcess
from .connections import (
    KEEP_ALIVE,
    READ_BUFFER,
    Connector,
    connected,
    request_line,
)

__all__ = ["UNUSABLE", "Prepared", "SessionResponse", "check", "make", "replaced", "watched"]


def _original(function: Any) -> Any:
    # None for what was put in its place before this module was imported.
    plain = isinstance(function, FunctionType) and function.__code__.co_filename == aiohttp.client.__file__
    return function if plain else None


_Session = aiohttp.client.ClientSession  # whatever may stand for it in `aiohttp` already
_ASK, _REQUEST, _INIT = map(_original, (_Session._request, _Session.request, _Session.__init__))  # pyright: ignore[reportPrivateUsage]


def replaced() -> bool:
    """Tell whether a function of somebody else stands where sessions send requests."""
    return _Session._request is not _ASK or _Session.request is not _REQUEST  # pyright: ignore[reportPrivateUsage]


def watched() -> bool:
    """Tell whether anything of somebody else stands in `aiohttp.ClientSession`, or for it.

    Mocks (aioresponses, vcrpy) replace its `_request` and mean to see every request; tracing and error reporting
    (OpenTelemetry, Sentry) replace its `__init__`, to add their hooks to each session.
    """
    return replaced() or _Session.__init__ is not _INIT or aiohttp.ClientSession is not _Session


_no_timer = TimerNoop()
_serialize: Callable[[str, Any], bytes] = getattr(http_writer, "_serialize_headers", None)  # type: ignore[assignment]


class Prepared(CIMultiDict[str]):
    """All headers of a GET, the same for many, which nobody changes.

    Attributes:
        written: What follows the request line.
        key: What the connector calls the server that they are for.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:  # pyright: ignore[reportInconsistentConstructor]
        super().__init__(headers)
        self.written = SecretBytes(_serialize("", self)[2:])
        self.key: Any = None

    def __repr__(self) -> str:
        return "<Prepared>"


class SessionResponse(aiohttp.ClientResponse):
    """A response that keeps its connection until it is released.

    aiohttp gives a connection to the next request as soon as the last byte is in. Here the bytes behind it, and the
    answer itself, are looked at before.
    """

    def _response_eof(self) -> None:
        pass

    def _notify_content(self) -> None:
        # What it notes for those who read on is expensive, and there is nothing more to read.
        if self.content and self.content.is_eof():
            self._released = True
        else:
            super()._notify_content()


class _Answer(SessionResponse):
    """The response to a request with prepared headers, which nobody traces."""

    def __init__(self, request: _Request) -> None:
        self.method = request.method
        self._real_url = self._url = request.url
        self._request_info = request.request_info
        self._cache, self._traces = {}, []
        session: Any = request.session
        self._timer, self._loop, self._session = _no_timer, request.loop, session
        self._resolve_charset = session._resolve_charset

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Wait for the head of the answer."""
        self._closed, self._connection = False, connection
        self._protocol = protocol = cast("private.Protocol", connection.protocol)
        try:
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, content = await protocol.read()
        except private.HttpProcessingError as error:
            raise aiohttp.ClientResponseError(
                self.request_info, (), status=error.code, message=error.message, headers=error.headers
            ) from error
        self.version, self.status, self.reason = message.version, message.code, message.reason
        self._headers, self._raw_headers, self.content = message.headers, message.raw_headers, content
        return self

    def release(self) -> Any:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        self._closed = self._released = True
        if connection is not None:
            connection.release()
        return noop()


class _Request(ClientRequest):
    """A request; with prepared headers, its headers are not looked for, joined and written again."""

    def __init__(
        self,
        method: str,
        url: URL,
        *,
        params: Any = None,
        headers: Any = None,
        skip_auto_headers: Any = None,
        data: Any = None,
        cookies: Any = None,
        auth: Any = None,
        version: Any = None,
        compress: Any = None,
        chunked: Any = None,
        expect100: bool = False,
        loop: Any = None,
        response_class: Any = None,
        proxy: URL | None = None,
        proxy_auth: Any = None,
        timer: Any = None,
        session: Any = None,
        ssl: Any = True,
        proxy_headers: Any = None,
        traces: Any = None,
        trust_env: bool = False,
        server_hostname: str | None = None,
        **more: Any,
    ) -> None:
        if type(headers) is Prepared and proxy is None:
            self.method, self.url, self.original_url = method, url, url
            self.headers, self.version = headers, version
            self.loop, self._session, self._timer = loop, session, timer
            self._ssl, self.server_hostname = ssl, server_hostname
            self.response_class, self._traces = response_class, traces
            self.chunked = self.compress = self.length = self.proxy = self.proxy_auth = self.proxy_headers = None
            return
        super().__init__(
            method,
            url,
            params=params,
            headers=headers,
            skip_auto_headers=skip_auto_headers,
            data=data,
            cookies=cookies,
            auth=auth,
            version=version,
            compress=compress,
            chunked=chunked,
            expect100=expect100,
            loop=loop,
            response_class=response_class,
            proxy=proxy,
            proxy_auth=proxy_auth,
            timer=timer,
            session=session,
            ssl=ssl,
            proxy_headers=proxy_headers,
            traces=traces,
            trust_env=trust_env,
            server_hostname=server_hostname,
            **more,
        )

    @property
    def connection_key(self) -> Any:
        """What the connector calls the server."""
        headers: Any = self.headers
        if type(headers) is not Prepared:
            return super().connection_key
        if headers.key is None:
            headers.key = super().connection_key
        return headers.key

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Write the request."""
        headers, line = self.headers, cast("private.Protocol", conn.protocol)
        if type(headers) is not Prepared or line.writing_paused:
            return await super().send(conn)
        cast("Any", line.transport).write(request_line(self.method, self.url.raw_path_qs) + headers.written)
        return _Answer(self)


class _Pool(Connector):
    """A pool that hands out only connections on which nothing has happened since they came back to it."""

    @property
    def closed(self) -> bool:
        """Whether it was closed, or belongs to another process."""
        return self._closed or self._process != ThisProcess.id

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Connection:  # noqa: ASYNC109 (aiohttp's signature)
        """Return a connection that was given back, or a new one."""
        if not traces and not req.proxy:
            key = req.connection_key
            idle: Any = self._conns.get(key)
            while idle:
                # The one used last is the least likely to be dead, and those that are not needed can expire.
                protocol, _ = idle.pop()
                if not idle:
                    del self._conns[key]
                if protocol.resume():
                    self._acquired.add(protocol)
                    connected(timeout)
                    return Connection(self, key, protocol, self._loop)
                protocol.close()
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = cast("private.Protocol", connection.protocol)
            new = not protocol.idle
            if protocol.resume():
                connected(timeout)
                return connection
            connection.close()
            if new:
                raise aiohttp.ServerDisconnectedError("it spoke before it was asked")

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        if should_close or self._closed or not protocol.rest():
            super()._release(key, protocol, should_close=True)
        elif self._force_close or self._cleanup_handle is None:
            super()._release(key, protocol)
        else:
            self._acquired.discard(protocol)
            self._conns[key].append((protocol, protocol.since))


def make(*, ssl: Any, force_close: bool) -> aiohttp.ClientSession:
    """Return a session, which takes `Prepared` headers if it keeps connections and nobody watches it."""
    options: dict[str, Any] = {"force_close": True} if force_close else {"keepalive_timeout": KEEP_ALIVE}
    # No limit here: whatever waits inside aiohttp gets CancelledError when the session closes.
    pool = _Pool(limit=0, ssl=ssl, **options)
    private.prepare(pool)
    session: Any = aiohttp.ClientSession(
        connector=pool,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=READ_BUFFER,
        request_class=_Request,
        response_class=SessionResponse,
        trust_env=False,
    )
    session._retry_connection = False  # aiohttp would send idempotent requests a second time of its own accord
    if not (force_close or watched()):
        vars(session)["_prepare_headers"] = _as_they_are
    return cast("aiohttp.ClientSession", session)


def _as_they_are(headers: Any) -> CIMultiDict[str]:
    return headers if type(headers) is Prepared else CIMultiDict(headers or ())


def _used() -> list[tuple[type[object], str, set[str]]]:
    """Return methods of aiohttp, and the names in them that what is here takes the place of, or builds on."""
    return [
        (
            _Session,
            "_request",
            {
                "_retry_connection",
                "_prepare_headers",
                "_request_class",
                "connect",
                "set_response_params",
                "send",
                "start",
            },
        ),
        (BaseConnector, "_get", {"_conns", "_acquired", "popleft", "is_connected", "Connection"}),
        (BaseConnector, "_release", {"_force_close", "_cleanup_handle", "_release_acquired", "append"}),
        (BaseConnector, "_release_acquired", {"_acquired", "discard", "_release_waiter"}),
        (aiohttp.ClientResponse, "start", {"_closed", "_protocol", "_connection", "on_eof", "_response_eof"}),
        (aiohttp.ClientResponse, "release", {"_released", "_notify_content", "_closed"}),
    ]


def check() -> str | None:
    """Return why this cannot be used with the aiohttp that is installed, None if it can."""
    if private.UNUSABLE is not None:
        return private.UNUSABLE
    lacking = _missing()
    return f"aiohttp {aiohttp.__version__} lacks {lacking}" if lacking else None


def _missing() -> str | None:
    if _serialize is None:
        return "_serialize_headers"
    for owner, name, names in _used():
        code = getattr(getattr(owner, name, None), "__code__", None)
        lacking = names - (_names(code) if isinstance(code, CodeType) else set[str]())
        if lacking:
            return f"{min(lacking)} in {owner.__name__}.{name}"
    try:
        works = _gets_an_answer()
    except Exception as error:  # noqa: BLE001 (whatever an aiohttp of another make does)
        return f"what a request and its answer need ({error!r:.100})"
    return None if works else "a request and an answer that work"


def _gets_an_answer() -> bool:
    """Send a request over a wire that leads nowhere, and read an answer that was never sent."""
    world: Any = _World()
    protocol = private.Protocol(world, memoryview(bytearray(64)))
    wire: Any = world
    protocol.transport, protocol.has_more = wire, bool
    protocol.listen()
    options: dict[str, Any] = {"version": aiohttp.HttpVersion11, "response_class": SessionResponse, "timer": _no_timer}
    headers = Prepared({"Host": "x"})
    request = _Request("GET", URL("http://x/y"), headers=headers, loop=world, session=world, traces=[], **options)
    connection = Connection(world, request.connection_key, protocol, world)
    try:
        answer: Any = _run(request.send(connection))
        protocol.data_received(b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 3\r\n\r\none")
        _run(answer.start(connection))
        found = answer.status, answer.headers.get("x-a"), private.whole(answer.content), answer._body, answer.url.path
        answer.release()
    finally:
        connection._protocol = None  # pyright: ignore[reportPrivateUsage] (or it would tell that it was never closed)
    sent = b"GET /y HTTP/1.1\r\nHost: x\r\n\r\n"
    return (found, world.sent, world.released) == ((200, "b", b"one", None, "/y"), [sent], [protocol])


def _run(steps: Coroutine[Any, Any, Any]) -> Any:
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits")


class _World:
    """The least of an event loop, of its transport, of a connector, and of a session."""

    _resolve_charset = None
    force_close = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.released: list[Any] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def get_debug(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def _release(self, key: Any, protocol: Any, **_: Any) -> None:
        self.released.append(protocol)


def _names(code: CodeType) -> set[str]:
    inner = [_names(const) for const in code.co_consts if isinstance(const, CodeType)]
    return {*code.co_names, *code.co_freevars, *code.co_varnames}.union(*inner)


UNUSABLE = check()
"""Why this cannot be used with the aiohttp that is installed; None if it can."""
