"""What the lean transport takes of aiohttp beside its documented names, all in one place, and whether it is there."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp import helpers, streams
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import BaseConnector, Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from .connections import (
    KEEP_ALIVE,
    READ_BUFFER,
    Connector,
    readable,
)
from .connections import whole as whole_of_any

__all__ = [
    "UNUSABLE",
    "HttpProcessingError",
    "Protocol",
    "check",
    "connect",
    "describe",
    "prepare",
    "whole",
]

BEGIN, END = (3, 14, 4), (3, 15)
"""The aiohttp versions that this was written and tested for: from the first, before the second."""

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_TRUSTED = 0.001  # seconds; a connection given back so recently is not asked whether something came in since
_timer = TimerNoop()
_receive = ResponseHandler.data_received
_EMPTY: Any = getattr(streams, "EMPTY_PAYLOAD", None)
_WITHOUT_BODY: Any = getattr(helpers, "EMPTY_BODY_STATUS_CODES", None)


class Protocol(ResponseHandler, asyncio.BufferedProtocol):
    """A connection: aiohttp's protocol and parser, reading into one buffer and tolerating nothing that comes unasked.

    asyncio reads every time into new bytes of 256 KiB, which the C library borrows from the system and gives back:
    that is a third of what a request costs. What is in the buffer is used up before the next read, so all
    connections of a loop can share it.

    Attributes:
        idle: Whether no request is under way, so that nothing may come.
        since: When it was last given back, on the clock of `time.monotonic`.
        forget: Tells the connector that it is closed.
        has_more: Tells whether something stands in the socket that the event loop has not read yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: memoryview) -> None:
        super().__init__(loop)
        self._shared = buffer
        self._asked: Any = None
        self.idle = False
        self.since = 0.0
        self.has_more: Callable[[], Any] | None = None
        self.forget: Callable[[], None] | None = None

    def listen(self) -> None:
        """Begin to take what comes for answers. One parser reads all answers of a connection."""
        self.set_response_params(timer=_timer, read_until_eof=True, read_bufsize=READ_BUFFER)

    def set_response_params(
        self,
        *,
        timer: Any = None,
        skip_payload: bool = False,
        read_until_eof: bool = False,
        auto_decompress: bool = True,
        read_timeout: float | None = None,
        read_bufsize: int = READ_BUFFER,
        timeout_ceil_threshold: float = 5,
        max_line_size: int = 8190,
        max_field_size: int = 8190,
        max_headers: int = 128,
        **more: Any,
    ) -> None:
        """Begin an answer, as sessions do before each request: with the last one's parser, if that reads alike."""
        # All names are spelled out, since CPython compares each that is not with every one that is.
        limits = (read_bufsize, max_line_size, max_field_size, max_headers)
        asked: Any = (type(timer), skip_payload, read_until_eof, auto_decompress, read_timeout, limits)
        if self._parser is None or asked != self._asked or more:
            self._asked = asked
            super().set_response_params(
                timer=timer,
                skip_payload=skip_payload,
                read_until_eof=read_until_eof,
                auto_decompress=auto_decompress,
                read_timeout=read_timeout,
                read_bufsize=read_bufsize,
                timeout_ceil_threshold=timeout_ceil_threshold,
                max_line_size=max_line_size,
                max_field_size=max_field_size,
                max_headers=max_headers,
                **more,
            )

    def rest(self) -> bool:
        """Let nothing come any more, since no request is under way; False if it has to be closed instead.

        What comes now ends the connection: an answer that is late, or one that nobody asked for.
        """
        wire, parser = self.transport, self._parser
        # The answer may be here before the whole request is away: what is left of it would precede the next one.
        if self.should_close or wire is None or wire.get_write_buffer_size():
            return False
        try:
            # Does nothing if the last answer ended the bytes that came, else shows the beginning of another.
            if parser is None or parser.feed_eof() is not None or getattr(parser, "_lines", None):
                return False
        except Exception:  # noqa: BLE001 (whatever it makes of half an answer)
            return False
        if self.has_more is None:
            self.has_more = readable(wire)
        self.idle = True
        self.since = time.monotonic()
        return True

    def resume(self) -> bool:
        """Let answers come again; False if it was closed meanwhile, something came in, or it rested too long."""
        if not self.idle:
            return self.is_connected() and not self.should_close
        wire = self.transport
        if wire is None or wire.is_closing():
            return False
        rested = time.monotonic() - self.since
        if rested >= KEEP_ALIVE or (rested > _TRUSTED and self.has_more is not None and self.has_more()):
            return False
        self.idle = False
        return True

    def hang_up(self) -> None:
        """Close, at once."""
        self.abort()
        if self.forget is not None:
            self.forget()
            self.forget = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read into."""
        return self._shared

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        if self.idle:
            self.abort()
        else:
            self._take(bytes(self._shared[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take what an event loop read into a buffer of its own, or what the parser had put aside."""
        if self.idle:
            self.abort()
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        # As aiohttp's own, without what is only there for its read timeout and for WebSockets.
        parser = self._parser
        if parser is None or self._upgraded or self._read_timeout or self._skip_payload:
            _receive(self, data)
            return
        try:
            messages, self._upgraded, _ = parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 (as aiohttp's own)
            if self.transport is not None:
                self.transport.close()
            refused = HttpProcessingError()
            if isinstance(error, HttpProcessingError):
                refused = HttpProcessingError(code=error.code, message=error.message)
            self.set_exception(refused, error)
            return
        for message, content in messages:
            if message.should_close:
                self._should_close = True
            self._payload = content
            self.feed_data((message, _EMPTY if message.code in _WITHOUT_BODY else content))

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading. Bodies say so at every step, nearly always without having paused it."""
        if self._reading_paused:
            super().resume_reading(resume_parser)


def prepare(connector: Connector) -> None:
    """Let `connector` make connections of the class above."""
    factory: Any = partial(Protocol, asyncio.get_running_loop(), memoryview(bytearray(READ_BUFFER)))
    connector._factory = factory  # pyright: ignore[reportPrivateUsage]


def whole(content: aiohttp.StreamReader) -> bytes | None:
    """Return a body that is here to its end, else None. What the public methods do besides is not needed then."""
    if type(content) is not aiohttp.StreamReader:
        return whole_of_any(content)
    if not content._eof or content._exception is not None:  # pyright: ignore[reportPrivateUsage]
        return None
    chunks = content._buffer  # pyright: ignore[reportPrivateUsage]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def describe(origin: str, ssl: Any, proxy: str | None) -> ClientRequest:
    """Return what a connector wants to know of a request, the same for all requests to one server."""
    loop = asyncio.get_running_loop()
    return ClientRequest("GET", URL(origin), loop=loop, ssl=ssl, proxy=None if proxy is None else URL(proxy))


async def connect(connector: Connector, request: ClientRequest) -> Protocol | None:
    """Return a new connection, to be ended by its `hang_up`; None if the server spoke first, or hung up.

    Raises:
        aiohttp.ClientError: There is none to be had.
    """
    connection = await connector.connect(request, [], _NO_TIMEOUT)
    protocol: Any = connection.protocol
    forget = partial(connector._release, connection._key, protocol, should_close=True)  # pyright: ignore[reportPrivateUsage]
    # A Connection would be closed by the garbage collector, with a warning, also in a forked child.
    connection._protocol = None  # pyright: ignore[reportPrivateUsage]
    if not protocol.resume():
        protocol.abort()
        forget()
        return None
    protocol.forget = forget
    protocol.listen()
    return cast("Protocol", protocol)


def check() -> str | None:
    """Return why the lean transport cannot be used with this aiohttp, None if it can."""
    version = tuple(int(n) for n in re.findall(r"[0-9]+", aiohttp.__version__)[:3])
    if not BEGIN <= version < END:
        low, high = (".".join(map(str, v)) for v in (BEGIN, END))
        return f"aiohttp {aiohttp.__version__} is not from {low} to {high} (exclusive)"
    try:
        missing = _missing()
    except Exception as error:  # noqa: BLE001 (whatever an aiohttp of another make does)
        missing = f"a parser that works ({type(error).__name__})"
    return f"aiohttp {aiohttp.__version__} lacks {missing}" if missing else None


def _missing() -> str | None:
    for name, found in {
        "EMPTY_PAYLOAD": _EMPTY,
        "EMPTY_BODY_STATUS_CODES": _WITHOUT_BODY,
    }.items():
        if found is None:
            return name
    signatures: list[tuple[Any, set[str]]] = [
        (BaseConnector.connect, {"req", "traces", "timeout"}),
        (BaseConnector._release, {"key", "protocol", "should_close"}),  # pyright: ignore[reportPrivateUsage]
        (ClientRequest, {"method", "url", "loop", "ssl", "proxy"}),
        (ResponseHandler, {"loop"}),
        (ResponseHandler.set_response_params, {"timer", "read_until_eof", "read_bufsize"}),
        (ResponseHandler.resume_reading, {"resume_parser"}),
    ]
    for function, names in signatures:
        lacking = names - inspect.signature(function).parameters.keys()
        if lacking:
            return f"{min(lacking)}= of {function.__qualname__}"
    uses: list[tuple[Any, str]] = [
        (aiohttp.TCPConnector._create_direct_connection, "_factory"),  # pyright: ignore[reportPrivateUsage]
        (aiohttp.TCPConnector._start_tls_connection, "_factory"),  # pyright: ignore[reportPrivateUsage]
        (Connection.__init__, "_key"),
        (Connection.__del__, "_protocol"),
        (ResponseHandler.pause_reading, "pause_reading"),
        (ResponseHandler.data_received, "_skip_payload"),
        (aiohttp.StreamReader.feed_eof, "resume_reading"),
        (aiohttp.StreamReader.feed_eof, "_eof"),
        (aiohttp.StreamReader.exception, "_exception"),
        (aiohttp.StreamReader.feed_data, "_buffer"),
    ]
    for function, name in uses:
        if name not in function.__code__.co_names:
            return f"{name} in {function.__qualname__}"
    return None if _reads_two_answers() else "a parser that tells where an answer ends"


def _reads_two_answers() -> bool:
    heard: list[tuple[int, str | None, bytes, bool]] = []
    protocol = Protocol(cast("asyncio.AbstractEventLoop", object()), memoryview(bytearray(64)))
    wire: Any = _Wire()
    protocol.transport, protocol.has_more = wire, bool
    protocol.listen()
    for text, more in ((b"one", b""), (b"two", b"HTTP/1.1 200 OK\r\nX")):
        protocol.data_received(b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 3\r\n\r\n" + text + more)
        try:
            protocol.read().send(None)
        except StopIteration as done:
            message, content = done.value
            rests = protocol.rest() and protocol.resume()
            heard.append((message.code, message.headers.get("x-a"), content.read_nowait(), rests))
    return heard == [(200, "b", b"one", True), (200, "b", b"two", False)]


class _Wire:
    """The least of an asyncio transport."""

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False


UNUSABLE = check()
"""Why this cannot be used with the aiohttp that is installed; None if it can."""
