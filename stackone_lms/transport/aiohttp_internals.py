# pyright: reportPrivateUsage=false
"""What this package takes of aiohttp beside its documented names, all in one place, and whether it is there.

Without it (`UNUSABLE` tells why) everything works through a plain `aiohttp.ClientSession`, at more cost.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from types import FunctionType, coroutine
from typing import Any, TypeVar, cast

import aiohttp
import aiohttp.client
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import BaseConnector, Connection
from aiohttp.http import HttpResponseParser
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from .base import ThisProcess
from .connections import HEAD_LIMITS, KEEP_ALIVE, READ_BUFFER, readable, whole
from .proxies import Proxy

__all__ = [
    "NAMES",
    "UNUSABLE",
    "Connector",
    "ContextFreeConnector",
    "HttpProcessingError",
    "Protocol",
    "check",
    "connect",
    "describe",
    "session_middlewares",
    "session_replaced",
    "whole_body",
]

R = TypeVar("R")

NAMES = (
    "_request",
    "_middlewares",
    "_factory",
    "_create_connection",
    "_release",
    "_key",
    "_protocol",
    "_lines",
    "_eof",
    "_exception",
    "_buffer",
)
"""All private names of aiohttp that are used, here and nowhere else."""

BEGIN, END = (3, 14, 4), (3, 15)
"""The aiohttp versions that this was written and tested for: from the first, before the second."""

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_TRUSTED = 0.001  # seconds; a connection given back so recently is not asked whether something came in since
_cut = "the connection ended inside the answer"


@coroutine
def _without_context(steps: Coroutine[Any, Any, R]) -> Generator[Any, Any, R]:
    """Run a coroutine in an empty context, and in the present task: another one would come a turn of the loop later."""
    context, go_on, given = Context(), steps.send, None
    while True:
        try:
            waited_for = context.run(go_on, given)
        except StopIteration as done:
            return cast("R", done.value)
        go_on, given = steps.send, None
        try:
            given = yield waited_for
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as error:  # noqa: BLE001 (it is for the coroutine)
            go_on, given = steps.throw, error


class _ContextFreeHandler(ResponseHandler):
    """A connection that can be read on without the contextvars of the call that goes on reading it."""

    def resume_reading(self, *args: Any, **options: Any) -> None:
        Context().run(super().resume_reading, *args, **options)


class ContextFreeConnector(aiohttp.TCPConnector):
    """A connector that keeps the contextvars of calls (a request, a span) out of what outlives them.

    asyncio has each reader of a socket, and each timer, hold those of the code that set it up. With an aiohttp that has
    other names for what is overridden here, they are held as long as a connection.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType]
        factory: Any = partial(_ContextFreeHandler, asyncio.get_running_loop())
        self._factory = factory

    async def _create_connection(self, *args: Any, **options: Any) -> ResponseHandler:
        return await _without_context(super()._create_connection(*args, **options))

    def _release(self, *args: Any, **options: Any) -> None:
        Context().run(super()._release, *args, **options)  # it sets the timer that empties the pool


class Connector(ContextFreeConnector):
    """A connector that makes connections of `Protocol`, and leaves them alone in a forked child.

    To close one in the child would take it out of the epoll that the child shares with the parent, which then would
    wait for its answers in vain.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.process = ThisProcess.id
        factory: Any = partial(Protocol, asyncio.get_running_loop(), memoryview(bytearray(READ_BUFFER)))
        self._factory = factory

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        if self.process == ThisProcess.id:
            super()._release(key, protocol, should_close=should_close)

    def __del__(self, *args: Any) -> None:
        if self.process == ThisProcess.id:
            super().__del__(*args)


class Protocol(ResponseHandler, asyncio.BufferedProtocol):
    """A connection: aiohttp's parser, reading into one buffer and tolerating nothing that comes unasked.

    asyncio reads every time into new bytes of 256 KiB, which the C library borrows from the system and gives back:
    that is a third of what a request costs. What is in the buffer is used up before the next read, so all
    connections of a loop can share it.

    Until `start` it is aiohttp's own, so that a proxy's answer to CONNECT is read as ever.

    Attributes:
        idle: Whether no request is under way, so that nothing may come.
        since: When it was last parked, on the clock of `time.monotonic`.
        on_release: Tells the connector that it is closed.
        has_more: Tells whether something stands in the socket that the event loop has not read yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: memoryview) -> None:
        super().__init__(loop)
        self.loop, self.shared = loop, buffer
        self.parser: Any = None
        self.content: aiohttp.StreamReader | None = None
        self.last = self.paused = self.idle = False
        self.since = 0.0
        self.has_more: Callable[[], Any] | None = None
        self.on_release: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to take what comes for answers. One parser reads all answers of a connection."""
        self.parser = HttpResponseParser(
            cast("Any", self),
            self.loop,
            READ_BUFFER,
            payload_exception=aiohttp.ClientPayloadError,
            read_until_eof=True,
            **HEAD_LIMITS,
        )

    def park(self) -> bool:
        """Let nothing come any more, since no request is under way; False if it has to be closed instead.

        What comes now ends the connection: an answer that is late, or one that nobody asked for.
        """
        wire, parser = self.transport, self.parser
        # The answer may be here before the whole request is away: what is left of it would precede the next one.
        if self.last or self.should_close or wire is None or wire.get_write_buffer_size():
            return False
        try:
            # Does nothing if the last answer ended the bytes that came, else shows the beginning of another.
            if parser.feed_eof() is not None or getattr(parser, "_lines", None):
                return False
        except Exception:  # noqa: BLE001 (whatever it makes of half an answer)
            return False
        if self.has_more is None:
            self.has_more = readable(wire)
        self.idle = True
        self.since = time.monotonic()
        return True

    def unpark(self) -> bool:
        """Let answers come again; False if it was closed meanwhile, something came in, or it was parked too long."""
        wire = self.transport
        if wire is None or wire.is_closing():
            return False
        parked = time.monotonic() - self.since
        if parked >= KEEP_ALIVE or (parked > _TRUSTED and self.has_more is not None and self.has_more()):
            return False
        self.idle = False
        return True

    def close(self) -> None:
        """Close, at once."""
        self.abort()
        on_release, self.on_release = self.on_release, None
        if on_release is not None:
            on_release()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read into."""
        return self.shared

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(bytes(self.shared[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take what an event loop read into a buffer of its own, or what the parser had put aside."""
        parser = self.parser
        if parser is None:
            super().data_received(data)
            return
        if self.idle:
            self.abort()
            return
        try:
            messages, _, _ = parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 (whatever the parser makes of what a server sends)
            self._refuse(error)
            return
        for message, content in messages:
            if message.should_close:
                self.last = True
            self.content = content
            self.feed_data((message, content))

    def _refuse(self, error: Exception) -> None:
        if self.transport is not None:
            self.transport.close()
        refused = HttpProcessingError()
        if isinstance(error, HttpProcessingError):
            refused = HttpProcessingError(code=error.code, message=error.message)
        if self.content is not None and not self.content.is_eof() and self.content.exception() is None:
            self.content.set_exception(aiohttp.ClientPayloadError(_cut), error)
        self.set_exception(refused, error)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wake who waits for an answer, or for the rest of one."""
        parser, content = self.parser, self.content
        if content is not None and not content.is_eof() and content.exception() is None:
            try:
                parser.feed_eof()  # where no length is declared, this is the end of the body
            except Exception as error:  # noqa: BLE001 (as above)
                content.set_exception(aiohttp.ClientPayloadError(_cut), error)
        super().connection_lost(exc)

    def pause_reading(self) -> None:
        """Read no more, since nobody takes what is here."""
        if self.parser is None:
            super().pause_reading()
            return
        self.paused = True
        self.parser.pause_reading()
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading. Bodies say so at every step, nearly always without having paused it."""
        if self.parser is None:
            super().resume_reading(resume_parser)
        elif self.paused:
            self.paused = False
            if resume_parser:
                self.data_received(b"")  # what the parser had put aside
            if not self.paused and self.transport is not None:
                Context().run(self.transport.resume_reading)


def describe(origin: str, ssl: Any, proxy: Proxy | None) -> ClientRequest:
    """Return what a connector wants to know of a request, the same for all requests to one server."""
    options: dict[str, Any] = {}
    if proxy is not None:
        options["proxy"] = URL(proxy.url)
        if proxy.authorization is not None:
            options["proxy_headers"] = {hdrs.PROXY_AUTHORIZATION: proxy.authorization}
    return ClientRequest("GET", URL(origin), loop=asyncio.get_running_loop(), ssl=ssl, **options)


async def connect(connector: Connector, request: ClientRequest) -> Protocol | None:
    """Return a new connection, to be ended by its `close`; None if the server spoke first, or hung up.

    Raises:
        aiohttp.ClientError: There is none to be had.
    """
    connection = await connector.connect(request, [], _NO_TIMEOUT)
    protocol: Any = connection.protocol
    on_release = partial(connector._release, connection._key, protocol, should_close=True)
    # A Connection would be closed by the garbage collector, with a warning, also in a forked child.
    connection._protocol = None
    protocol.on_release = on_release
    if not protocol.is_connected() or protocol.should_close:
        protocol.close()
        return None
    protocol.start()
    return cast("Protocol", protocol)


def whole_body(content: aiohttp.StreamReader) -> bytes | None:
    """Return a body that is here to its end, else None: as `whole`, in a quarter of the time."""
    if type(content) is not aiohttp.StreamReader:
        return whole(content)
    if not content._eof or content._exception is not None:
        return None
    chunks = content._buffer
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


# Sessions

_Session = aiohttp.client.ClientSession  # whatever may stand for it in `aiohttp` already


def _original(name: str) -> Any:
    # None for what was put in its place before this module was imported.
    function: Any = vars(_Session).get(name)
    plain = isinstance(function, FunctionType) and function.__code__.co_filename == aiohttp.client.__file__
    return function if plain else None


_ask, _public_ask, _init = map(_original, ("_request", "request", "__init__"))


def session_replaced() -> bool:
    """Tell whether anything of somebody else stands in `aiohttp.ClientSession`, or for it.

    Mocks (aioresponses, vcrpy) replace its `_request` and mean to see every request; tracing and error reporting
    (OpenTelemetry, Sentry) replace its `__init__`, to add their hooks to each session.
    """
    return (
        _Session._request is not _ask
        or _Session.request is not _public_ask
        or _Session.__init__ is not _init
        or aiohttp.ClientSession is not _Session
    )


def session_middlewares(session: aiohttp.ClientSession) -> tuple[aiohttp.ClientMiddlewareType, ...] | None:
    """Return the middlewares that a session was made with; None if this aiohttp does not tell.

    Those that are given with a request take their place.
    """
    return getattr(session, "_middlewares", None)


# The check


def check() -> str | None:
    """Return why this cannot be used with the aiohttp that is installed, None if it can."""
    version = tuple(int(n) for n in re.findall(r"[0-9]+", aiohttp.__version__)[:3])
    if not BEGIN <= version < END:
        low, high = (".".join(map(str, v)) for v in (BEGIN, END))
        return f"aiohttp {aiohttp.__version__} is not from {low} to {high} (exclusive)"
    try:
        missing = _missing_name() or _missing_argument() or _missing_behaviour()
    except Exception as error:  # noqa: BLE001 (whatever an aiohttp of another make does)
        missing = f"what a connection needs ({error!r:.100})"
    return f"aiohttp {aiohttp.__version__} lacks {missing}" if missing else None


def _missing_name() -> str | None:
    """Look for what only shows when there is an event loop, by name."""
    uses: list[tuple[type[object], str]] = [
        (_Session, "_request"),
        (_Session, "_middlewares"),
        (BaseConnector, "_factory"),
        (BaseConnector, "_create_connection"),
        (aiohttp.TCPConnector, "_factory"),
        (Connection, "_release"),
        (aiohttp.StreamReader, "pause_reading"),
        (aiohttp.StreamReader, "resume_reading"),
    ]
    for owner, name in uses:
        codes = [f.__code__ for f in vars(owner).values() if isinstance(f, FunctionType)]
        if not any(name in code.co_names for code in codes):
            return f"{name} in {owner.__name__}"
    return None


def _missing_argument() -> str | None:
    signatures: list[tuple[Any, set[str]]] = [
        (BaseConnector.connect, {"req", "traces", "timeout"}),
        (BaseConnector._release, {"key", "protocol", "should_close"}),
        (ClientRequest, {"method", "url", "loop", "ssl", "proxy", "proxy_headers"}),
        (ResponseHandler.resume_reading, {"resume_parser"}),
    ]
    for function, names in signatures:
        lacking = names - inspect.signature(function).parameters.keys()
        if lacking:
            return f"{min(lacking)}= of {function.__qualname__}"
    return None


def _missing_behaviour() -> str | None:
    begin, whole = b"HTTP/1.1 200 OK\r\nX", b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 3\r\n\r\none"
    protocol = _opened()
    if [_answer(protocol, whole), _answer(protocol, whole)] != [(200, "b", b"one", True)] * 2:
        return "answers that are read to their end"
    if _answer(protocol, whole + begin)[-1]:
        return "a parser that tells where an answer ends"
    if _answer(_opened(), begin + b": x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")[-1]:
        return "connections that are closed when they should be"
    protocol = _opened()
    protocol.data_received(whole[:-1])
    _, content = _run(protocol.read())
    protocol.connection_lost(None)
    if whole_body(content) is not None or not isinstance(content.exception(), aiohttp.ClientPayloadError):
        return "answers that are known to be cut"
    for data in (b"", b"no HTTP\r\n\r\n"):
        protocol = _opened()
        protocol.data_received(data)
        protocol.connection_lost(None)
        if not isinstance(protocol.exception(), HttpProcessingError if data else aiohttp.ServerDisconnectedError):
            return "connections that are known to be lost"
    return None if _lets_go() else "connections that can be taken out of their pool"


def _opened() -> Protocol:
    protocol, world = Protocol(cast("Any", _World()), memoryview(bytearray(64))), cast("Any", _World())
    protocol.transport, protocol.has_more = world, bool
    protocol.start()
    return protocol


def _answer(protocol: Protocol, data: bytes) -> tuple[int, str | None, bytes | None, bool]:
    protocol.data_received(data)
    message, content = _run(protocol.read())
    return message.code, message.headers.get("x-a"), whole_body(content), protocol.park() and protocol.unpark()


def _lets_go() -> bool:
    world, key = _World(), object()
    protocol: Any = _opened()
    connection = Connection(cast("Any", world), cast("Any", key), protocol, cast("Any", world))
    try:
        found = connection._key is key and connection.protocol is protocol
    finally:
        connection._protocol = None  # or it would tell that it was never closed
    return found and connection.protocol is None


def _run(steps: Coroutine[Any, Any, Any]) -> Any:
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits")


class _World:
    """The least of an event loop and of its transport."""

    def get_debug(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


UNUSABLE = check()
"""Why this cannot be used with the aiohttp that is installed; None if it can."""
