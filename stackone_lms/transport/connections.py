"""What both transports do with a connection: see whether it is quiet, and read an answer from it under guard."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult

from ..errors import ProtocolError, ResponseTooLargeError, printable
from ..threads import run_in_kept_thread
from .base import MAX_HEADER, MAX_HEADERS, TimeLimits, TransportError
from .errors import refused_password
from .proxies import Proxy

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error answer that are read; the rest is not worth the wait."""
READ_BUFFER = 256 * 1024
"""Bytes that are read at once."""
HEAD_LIMITS: dict[str, Any] = {
    "max_line_size": MAX_HEADER,
    "max_field_size": MAX_HEADER,
    "max_headers": MAX_HEADERS + 2,
}
"""Of an answer, for aiohttp's parsers; the one in Python counts the status line and the empty line as headers, too."""
KEEP_ALIVE = 10.0
"""Seconds; shorter than servers' usual 15 and more, so that few connections die in our hands."""

C = TypeVar("C")

_DECODED = frozenset({"", "identity", "gzip", "deflate"})
"""The encodings that aiohttp decodes without more packages."""


class Resolver(AbstractResolver):
    """Looks names up with the system's resolver, in a thread of the package's own."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            OSError: It has none, or cannot be looked up.
        """
        lookup = partial(_addresses, host, port, family)
        try:
            looking = run_in_kept_thread(lookup)
        except RuntimeError:
            raise OSError("the interpreter ends, and starts no thread for it any more") from None
        return [
            ResolveResult(hostname=host, host=address, port=port, family=found, proto=0, flags=_NUMERIC)
            for found, address in await looking
        ]

    async def close(self) -> None:
        """Do nothing: the threads are kept."""


_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[tuple[int, str]]:
    # AI_ADDRCONFIG leaves out families that this machine has no address of; Windows then does not know localhost.
    flags = 0 if sys.platform == "win32" and host.rstrip(".").lower() == "localhost" else socket.AI_ADDRCONFIG
    found: list[tuple[int, str]] = []
    for of, _, _, _, address in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags):
        if of == socket.AF_INET6 and len(address) == 4 and address[3]:  # link-local: the interface belongs to it
            found.append((of, socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]))
        elif of in {socket.AF_INET, socket.AF_INET6}:
            found.append((of, str(address[0])))
    return found


class ProxyLogin:
    """Has one connection try the password of a proxy before all others do, and none for a while once it is refused.

    A bulk fetch would else try a wrong one a hundred times, and directories lock accounts after a few.

    Args:
        proxy: The proxy.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._trying = asyncio.Lock()
        self._accepted = proxy.authorization is None
        self._refused_at: float | None = None

    async def connect(self, make: Callable[[], Coroutine[Any, Any, C]]) -> C:
        """Make a connection, when it is its turn.

        Args:
            make: Makes one.

        Raises:
            TransportError: The password was refused within the last five minutes.
        """
        if self._accepted:
            return await self._made(make)
        async with self._trying:
            # It may have been accepted, or refused, meanwhile.
            if not self._accepted and self._refused_at is not None:
                ago = time.monotonic() - self._refused_at
                if ago < _LOGIN_PAUSE:
                    raise refused_password(f"the proxy {self._proxy.url} refused the connection: 407, {ago:.0f} s ago")
            if not self._accepted:
                return await self._made(make)
        return await self._made(make)

    async def _made(self, make: Callable[[], Coroutine[Any, Any, C]]) -> C:
        try:
            connection = await make()
        except aiohttp.ClientHttpProxyError as error:
            if error.status == 407:
                self._accepted, self._refused_at = False, time.monotonic()
            raise
        self._accepted = True
        return connection


_LOGIN_PAUSE = 300.0


def readable(wire: asyncio.BaseTransport) -> Callable[[], Any]:
    """Return a function that tells whether something stands in a socket that the event loop has not read yet."""
    sock = wire.get_extra_info("socket")
    if not hasattr(select, "poll"):  # Windows; eventlet takes it away
        return lambda: select.select([sock], [], [], 0)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return partial(poll.poll, 0)


def whole(content: aiohttp.StreamReader) -> bytes | None:
    """Return a body that is here to its end, else None."""
    return content.read_nowait(-1) if content.is_eof() and content.exception() is None else None


def check_head(status: int, headers: Mapping[str, str], body: bytes | None, most: int) -> bytes | None:
    """Return as much of a body as is wanted if it is here to its end; None if the rest has to be waited for.

    Args:
        status: HTTP status code.
        headers: Headers, found in any case.
        body: The whole body, or None.
        most: Bytes that a success may have; of an error only the first 64 KiB count.

    Raises:
        TransportError: The body cannot be used.
    """
    failing = status >= 400
    if not failing:
        if status == 101:
            raise TransportError(
                ProtocolError("the server switched protocols unasked"), request_sent=True, max_retries=0
            )
        encoding = headers.get(hdrs.CONTENT_ENCODING)
        if encoding is not None and encoding.strip().lower() not in _DECODED:
            message = f"the answer's Content-Encoding was not asked for: {printable(encoding, 40)}"
            raise TransportError(ProtocolError(message), request_sent=True, max_retries=0)
    if body is not None:
        if failing:
            return body[:MAX_ERROR_BODY]
        if len(body) > most:
            raise too_large(most)
        return body
    if not failing:
        declared = headers.get(hdrs.CONTENT_LENGTH, "")
        if declared.isdecimal() and len(declared) < 20 and int(declared) > most:
            raise too_large(most)
    return None


async def read_on(status: int, content: aiohttp.StreamReader, most: int, limits: TimeLimits) -> tuple[bytes, bool]:
    """Return the body as it comes, and whether that is all of it: an error's is cut at 64 KiB, or where it breaks off.

    Raises:
        TransportError: It is larger than `most`.
        aiohttp.ClientError: It breaks off.
    """
    cut = status >= 400
    if cut:
        most = MAX_ERROR_BODY
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in content.iter_any():
            limits.progress()
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                break
    except (aiohttp.ClientError, OSError):
        if not cut:
            raise
        return b"".join(chunks), False
    if size > most and not cut:
        raise too_large(most)
    return b"".join(chunks)[:most], size <= most


def too_large(most: int) -> TransportError:
    """Return the failure of an answer that is larger than allowed."""
    error = ResponseTooLargeError(f"the answer is larger than {most} bytes (max_body)")
    return TransportError(error, request_sent=True, max_retries=0)
